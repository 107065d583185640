"""Every notebook runs from top to bottom, names what exists, and is committed with small outputs."""

import ast
import importlib
import inspect
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

import nbformat
import pytest

from musicvae_jax import LatentAnalyzer, TrainedVAE
from tests.notebooks.execute import has_player, keep_small, outputs, read, run
from tests.scripts import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = ("01_quickstart", "02_latent_tour", "03_priors", "04_disentanglement", "05_your_own_midi", "06_ablations")
MOST_BYTES = 200_000
CLASSES = {"vae": TrainedVAE, "told": TrainedVAE, "analyzer": LatentAnalyzer}  # names of objects in the notebooks

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code(path: Path) -> list[str]:
    """The sources of the code cells."""
    return [cell.source for cell in read(path).cells if cell.cell_type == "code"]


def nodes(path: Path, kind: type) -> Iterator[Any]:
    return (node for node in ast.walk(ast.parse("\n".join(code(path)))) if isinstance(node, kind))


def is_known(node: ast.expr) -> TypeGuard[ast.Name]:
    """Whether a name is that of an object whose class is known."""
    return isinstance(node, ast.Name) and node.id in CLASSES


def imported(path: Path) -> dict[str, Any]:
    """What a notebook imports from the package and from the scripts: name -> object."""
    found: dict[str, Any] = {}
    for node in nodes(path, ast.ImportFrom):
        if node.module.split(".")[0] in {"musicvae_jax", "configs"}:
            module = importlib.import_module(node.module)
            for alias in node.names:
                found[alias.asname or alias.name] = getattr(module, alias.name)
    return found


def test_the_notebooks_are_there_in_order():
    assert tuple(path.stem for path in NOTEBOOKS) == NAMES


@every_notebook
def test_notebook_begins_alike_and_ends_in_sound(path):
    first, second, *_, last = code(path)
    assert first == code(NOTEBOOKS[0])[0]
    assert 'os.environ.get("MUSICVAE_WORKDIR"' in second
    assert "listen" in last


def test_the_first_cell_clones_and_installs_what_is_missing(tmp_path, monkeypatch):
    calls: list[list[str]] = []
    monkeypatch.setattr("subprocess.check_call", calls.append)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr(sys, "path", [*sys.path])
    first, found = code(NOTEBOOKS[0])[0], dict[str, Any]()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="set REPOSITORY"):
        exec(first, {})
    exec(first.replace('REPOSITORY = ""', 'REPOSITORY = "address"'), found)
    clone, install = calls
    assert clone[:2] == ["git", "clone"] and clone[-2:] == ["address", str(tmp_path / "musicvae-jax")]
    assert install[-1] == f"{clone[-1]}[notebooks]" and found["root"] == tmp_path / "musicvae-jax"
    monkeypatch.chdir(ROOT / "notebooks")
    exec(first, found)
    assert found["root"] == ROOT and [call[0] for call in calls[2:]] == [sys.executable]


@every_notebook
def test_names_and_arguments_exist(path):
    """Imports resolve, methods and fields of the model and the analyzer are there, and calls fit their signatures."""
    known = imported(path)
    for node in nodes(path, ast.Attribute):
        if is_known(node.value):
            owner = CLASSES[node.value.id]
            assert hasattr(owner, node.attr) or node.attr in inspect.signature(owner).parameters, ast.unparse(node)
    for node in nodes(path, ast.Call):
        function = node.func
        if isinstance(function, ast.Name) and function.id in known:
            signature, own = inspect.signature(known[function.id]), []
        elif isinstance(function, ast.Attribute) and is_known(function.value):
            signature, own = inspect.signature(getattr(CLASSES[function.value.id], function.attr)), [None]
        else:
            continue
        given = [argument for argument in node.args if not isinstance(argument, ast.Starred)]
        names = {keyword.arg: None for keyword in node.keywords if keyword.arg}
        signature.bind_partial(*own, *given, **names)


def test_a_wrong_name_is_found(tmp_path):
    wrong = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("vae.sample(2, meter='6/8')")])
    nbformat.write(wrong, tmp_path / "wrong.ipynb")
    with pytest.raises(TypeError, match="meter"):
        test_names_and_arguments_exist(tmp_path / "wrong.ipynb")


@every_notebook
def test_committed_outputs_are_small_and_of_one_run(path):
    notebook = read(path)
    kept = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in kept] == list(range(1, len(kept) + 1))
    assert path.stat().st_size < MOST_BYTES
    assert not [output for output in outputs(notebook) if output.output_type == "error" or has_player(output)]
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook))
    said = [str(output.get("text", "")) for output in outputs(notebook)]
    assert not [text for text in said if str(Path.home()) in text or str(ROOT) in text]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the kernel's client
@pytest.mark.parametrize(
    "path",
    [NOTEBOOKS[0], *(pytest.param(path, marks=pytest.mark.slow) for path in NOTEBOOKS[1:])],
    ids=lambda path: path.stem,
)
def test_notebook_runs_and_shows_pictures_and_players(path, trained_workdir, tmp_path, monkeypatch):
    workdir = shutil.copytree(trained_workdir, tmp_path / "runs/run")  # notebooks keep things with a run
    monkeypatch.setenv("MUSICVAE_WORKDIR", str(workdir))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = run(path)
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook))
    assert any(has_player(output) for output in notebook.cells[-1].outputs)
    keep_small(notebook)
    assert not any(has_player(output) for output in outputs(notebook))
    assert len(nbformat.writes(notebook)) < MOST_BYTES
