"""Commands in README, CONTRIBUTING.md and docs/ parse, and what they name exists."""

import functools
import inspect
import itertools
import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tyro
from configs.ablations import ABLATIONS

from musicvae_jax.config.levels import ATTRIBUTE_OF
from tests.documents import FENCE, ROOT, TEXTS, inline_code

PROGRAMS = ("python", "make", "pip")


class Command(NamedTuple):
    """A command and the document that holds it."""

    document: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.document}: {shlex.join(self.words)}"


def starts_processes(word: str) -> bool:
    """Whether a word stands before a command: a launcher or a variable."""
    return word == "srun" or bool(re.match(r"[A-Z_]+=", word))


def commands() -> Iterator[Command]:
    """Every line of a shell block, of an indented block, and of inline code that starts with a program."""
    for document, broken in TEXTS.items():
        text = broken.replace("\\\n", " ")
        blocks = [block for language, block in FENCE.findall(text) if language in {"", "sh", "bash", "console"}]
        lines = [line for block in blocks for line in block.splitlines()]
        indented = [line[4:] for line in FENCE.sub("", text).splitlines() if line[:4] == "    "]
        lines += [
            line for line in (*indented, *inline_code(text)) if line.partition(" ")[0] in PROGRAMS and " " in line
        ]
        for line in lines:
            if words := tuple(itertools.dropwhile(starts_processes, shlex.split(line, comments=True))):
                yield Command(document, words)


COMMANDS = list(dict.fromkeys(commands()))
SCRIPTS = [command for command in COMMANDS if command.words[:1] == ("python",) and command.words[1] != "-m"]
OTHERS = [command for command in COMMANDS if command not in SCRIPTS]


class Parsed(BaseException):
    """The command line was accepted. (Not an Exception, so that no script catches it.)"""


def without_work(function: Callable) -> Callable:
    """A function with the same command line that does nothing."""
    if isinstance(function, functools.partial):
        return functools.partial(without_work(function.func), *function.args, **function.keywords)

    @functools.wraps(function)
    def accept(*_: Any, **__: Any) -> None:
        raise Parsed

    return accept


@pytest.fixture
def parse(monkeypatch, tmp_path):
    """Runs a script up to the point where its own parser has accepted the arguments."""
    cli, subcommands, configs = tyro.cli, tyro.extras.subcommand_cli_from_dict, tyro.extras.overridable_config_cli

    def parse_one(target: Any, *args: Any, **options: Any) -> None:
        cli(without_work(target) if inspect.isroutine(target) else target, *args, **options)
        raise Parsed

    def parse_subcommand(targets: dict[str, Callable], *args: Any, **options: Any) -> None:
        subcommands({name: without_work(target) for name, target in targets.items()}, *args, **options)

    def parse_config(*args: Any, **options: Any) -> None:
        configs(*args, **options)
        raise Parsed

    monkeypatch.setattr(tyro, "cli", parse_one)
    monkeypatch.setattr(tyro.extras, "subcommand_cli_from_dict", parse_subcommand)
    monkeypatch.setattr(tyro.extras, "overridable_config_cli", parse_config)
    monkeypatch.chdir(tmp_path)

    def run(script: str, *args: str) -> None:
        monkeypatch.setattr(sys, "argv", [script, *args])
        runpy.run_path(str(ROOT / script), run_name="__main__")

    return run


@pytest.mark.parametrize("command", SCRIPTS, ids=str)
def test_script_accepts_the_arguments(command, parse, capsys):
    script, *args = command.words[1:]
    assert (ROOT / script).is_file()
    with pytest.raises((Parsed, SystemExit)) as stop:  # fails where the script ends without parsing its arguments
        parse(script, *args)
    assert stop.type is Parsed, capsys.readouterr().err


@pytest.mark.parametrize("command", SCRIPTS, ids=str)
def test_names_of_ablations_variants_and_files_exist(command):
    script, *args = command.words[1:]
    variants = {variant for ablation in ABLATIONS.values() for variant in ablation.variants}
    if script.endswith("ablate.py"):
        assert args[0] in ABLATIONS
    labelled = args if Path(script).name.startswith("draw_") else []
    for label, _, value in (arg.partition("=") for arg in labelled if "=" in arg and not arg.startswith("-")):
        assert label
        if script.endswith("edit.py"):
            assert label in ATTRIBUTE_OF and float(value)
            continue
        for word in value.split():
            assert word in variants or re.sub(r"-seed\d+$", "", Path(word).name) in variants, word
    for arg in args:
        if arg.startswith(("docs/", "experiments/", "notebooks/")):
            assert (ROOT / arg).is_file(), arg


@pytest.mark.parametrize("command", OTHERS, ids=str)
def test_other_commands_name_what_exists(command):
    program, *args = command.words
    assert program in PROGRAMS, f"no test knows how to check {program!r}"
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        variables = re.findall(r"^([A-Z_]+) \?=", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert all(word.partition("=")[0] in (variables if "=" in word else targets) for word in args)
    elif program == "pip":
        assert args[0] == "install"
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        for word in args[1:]:
            assert word in {"-c", "-e", "."} or (ROOT / word).is_file() or word.strip(".[]") in extras, word
    else:
        module, *rest = args[1:]
        assert module in {"pytest", "ruff", "mypy"}
        assert all((ROOT / word).exists() for word in rest if "/" in word)


def test_every_script_is_shown():
    runnable = {path.name for path in (ROOT / "experiments").glob("*.py") if "__main__" in path.read_text()}
    assert runnable == {Path(command.words[1]).name for command in SCRIPTS}
    assert {"make demo", "make test"} <= {" ".join(command.words) for command in OTHERS}


@pytest.mark.parametrize(
    "command",
    [
        "experiments/train.py folk --workdir a --train.no-such-field 1",
        "experiments/train.py no-such-config --workdir a",
        "experiments/train.py folk --workdir a --levels.fine.no-such-field 1",
        "experiments/evaluate.py --workdir a --no-such-flag",
        "experiments/generate.py resample --workdir a --out b",
    ],
)
def test_a_wrong_command_is_found(command, parse):
    with pytest.raises(SystemExit) as stop:
        parse(*command.split())
    assert stop.value.code == 2


def test_flags_in_prose_exist(parse, capsys):
    """Flags in inline code without their script belong to some script."""
    shown: set[str] = set()
    helps = {(command.words[1], *(word for word in command.words[2:3] if word[0] != "-")) for command in SCRIPTS}
    for script, *word in sorted(helps):
        with pytest.raises(SystemExit):
            parse(script, *word, "--help")
        shown |= set(re.findall(r"--[a-z][\w.-]*", capsys.readouterr().out))
    named = {code.split()[0] for text in TEXTS.values() for code in inline_code(text) if code.startswith("--")}
    assert named - shown == set()
