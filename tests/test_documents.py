"""README, CONTRIBUTING.md and docs/: their links, names and figures exist, their Python runs."""

import json
import re
import shlex
import statistics
from collections.abc import Iterable
from pathlib import Path

import pytest
from configs import CONFIGS

from musicvae_jax.config import Config, flat
from musicvae_jax.figures import flatten
from tests.documents import FENCE, INLINE, README, ROOT, TEXTS, inline_code
from tests.evaluation.trees import make_conditions, make_priors, make_samples

# Figures that no committed result has: they need a flag or an option of the model, or are younger than the results.
RARE_FIGURES = {
    "iwae.draws",
    "iwae.nll",
    "iwae.perplexity",
    "flow.skip_share.value",
    "onset_f1_sampled",
    "prior",
    "times_measured",
    "train_seed",
}

CONFIG_FIELDS = set(flat(Config()))
RESULTS = ROOT / "experiments/results"
FIGURES = RARE_FIGURES | {key for path in RESULTS.glob("*.test.json") for key in json.loads(path.read_text())}
FIGURES |= set(flatten({"priors": make_priors(), "samples": make_samples(), "conditions": make_conditions()}))
FIGURES |= {key for line in (RESULTS / "ablations/groups.jsonl").read_text().splitlines() for key in json.loads(line)}


def unknown(names: Iterable[str], known: set[str]) -> set[str]:
    """The names that nothing has; in ``levels.<level>.kl``, ``<level>`` stands for any part."""
    patterns = {name: re.sub("<.*?>", ".+", re.escape(name)) for name in names}
    return {name for name, pattern in patterns.items() if not any(re.fullmatch(pattern, other) for other in known)}


def test_config_fields_and_figures_in_prose_exist():
    names = (
        "codec",
        "data",
        "model",
        "levels",
        "objective",
        "train",
        "prior",
        "flow",
        "rivals",
        "iwae",
        "priors",
        "samples",
        "conditions",
    )
    parts = tuple(f"{name}." for name in names)
    dotted = {code.split(" = ")[0] for text in TEXTS.values() for code in inline_code(text) if code.startswith(parts)}
    known = CONFIG_FIELDS | FIGURES | {name.removesuffix(".value") for name in FIGURES}
    assert unknown(dotted, known) == set()


def table(text: str, first_header: str) -> list[list[str]]:
    """The cells of the table whose first header is this, without the line below the headers."""
    lines = text[text.index(f"| {first_header} |") :].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


def test_every_figure_of_the_table_exists():
    rows = table(TEXTS["docs/results.md"], "figure")[1:]
    assert unknown({name for row in rows for name in INLINE.findall(row[0])}, FIGURES) == set()


def test_the_table_of_a_level_has_its_fields():
    names = [INLINE.findall(row[0])[0] for row in table(TEXTS["docs/levels.md"], "field")[1:]]
    prefix = "levels.local."
    assert set(names) == {name.removeprefix(prefix) for name in CONFIG_FIELDS if name.startswith(prefix)}


def test_the_table_of_configs_is_complete():
    assert [row[0].strip("`") for row in table(README, "config | data")[1:]] == list(CONFIGS)


def test_results_of_the_readme_are_those_of_the_files():
    header, *rows = table(README, "config | `perplexity_elbo`")
    names = [name.strip("`") for name in header[1:-1]]
    for row in rows:
        _, _, paths = row[-1].strip("`").partition(" --result ")
        files = [Path(path) for path in shlex.split(paths)]  # one per seed
        assert files[0].name == f"{INLINE.findall(row[0])[0]}.test.json"
        runs = [json.loads((ROOT / path).read_text()) for path in files]
        results = {name: statistics.fmean(run[name] for run in runs if name in run) for name in names}
        assert all(name in runs[0] for name in names)  # rivals, which no seed changes, may be in the first file alone
        for name, cell in zip(names, row[1:-1], strict=True):
            decimals = len(cell.partition(".")[2])
            assert f"{results[name]:.{decimals}f}".removeprefix("0") == cell, f"{paths}: {name}"


@pytest.mark.parametrize("document", TEXTS)
def test_links_and_pictures_exist(document):
    text = FENCE.sub("", TEXTS[document])
    links = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'src="([^"]+)"', text)]
    for link in links:
        path, _, anchor = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings], link


def test_every_picture_is_shown():
    pictures = {path.name for path in (ROOT / "docs").glob("*.png")}
    assert {name for name in pictures if not any(name in text for text in TEXTS.values())} == set()


def test_readme_is_short():
    assert len(README.splitlines()) < 200


def test_python_of_the_readme_runs(trained_workdir, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(trained_workdir)
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    monkeypatch.chdir(tmp_path)
    blocks = [block for language, block in FENCE.findall(README) if language == "python"]
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert (tmp_path / "copy.mid").is_file()
