"""The shape of the code: imports run one way, files stay small, tests test something."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "musicvae_jax"

# Coarse order of the layers: a module imports from its own layer and from those to its left.
LAYERS = (
    ("config", "files", "types", "rng"),
    ("codec",),
    ("data",),
    ("models",),
    ("objectives",),
    ("training",),
    ("evaluation",),
    ("analysis",),
    ("experiments",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
SOURCES = sorted(path for path in (*PACKAGE.rglob("*.py"), *(ROOT / "experiments").rglob("*.py")))
# The package's own `__init__` names what every layer offers; nothing inside the package imports it.
LAYERED = [path for path in SOURCES if path != PACKAGE / "__init__.py"]
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def layer_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "experiments" if parts[0] == "experiments" else parts[1]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, source: str | None = None) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of everything a file imports, imports inside functions included."""
    source = path.read_text() if source is None else source
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(source, str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


@pytest.mark.parametrize("path", LAYERED, ids=relative)
def test_imports_run_one_way(path):
    layer = layer_of(path)
    assert layer in RANK, f"{relative(path)} belongs to no layer of {LAYERS}"
    wrong = []
    for line, name in imports(path):
        top, *rest = name.split(".")
        if top == "musicvae_jax":
            if layer == "experiments":  # scripts may import the public names
                continue
            if not rest or rest[0] not in RANK:
                wrong.append(f"{relative(path)}:{line} imports {name}: import the module that defines it")
            elif RANK[rest[0]] > RANK[layer]:
                wrong.append(f"{relative(path)}:{line} imports {name}, but {layer} comes before {rest[0]}")
        elif top in {"experiments", "tests"} and top != layer:
            wrong.append(f"{relative(path)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", [path for path in LAYERED if layer_of(path) == "codec"], ids=relative)
def test_codec_imports_nothing_of_jax(path):
    heavy = {"jax", "jaxlib", "flax", "optax", "orbax", "distrax", "chex"}
    assert not [(line, name) for line, name in imports(path) if name.split(".")[0] in heavy]


def test_files_are_small():
    assert SOURCES
    long = {relative(path): lines for path in SOURCES if (lines := len(path.read_text().splitlines())) > 500}
    assert not long, f"split these: {long}"


def test_no_file_is_a_drawer():
    assert not [relative(path) for path in (*SOURCES, *TESTS) if path.stem in {"utils", "util", "helpers", "misc"}]


@pytest.mark.parametrize("path", [path for path in TESTS if path.name.startswith("test_")], ids=relative)
def test_every_test_tests(path):
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text(), str(path)))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")
    ]
    assert functions, f"{relative(path)} holds no test"
    assert not [function.name for function in functions if all(map(_does_nothing, function.body))]


def _does_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)  # a docstring or `...`
    )


def test_relative_and_nested_imports_are_seen():
    source = "from ..data import windows\ndef f():\n    import jax.numpy as jnp\n    from . import score\n"
    names = [name for _, name in imports(PACKAGE / "codec" / "midi.py", source)]
    assert names == ["musicvae_jax.data.windows", "jax.numpy", "musicvae_jax.codec.score"]
