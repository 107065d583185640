"""The shape of the code: imports run one way, files stay small, tests test something."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "musicvae_jax"

# A module imports from its own layer and from those above it in this list.
LAYERS = (
    ("config", "figures", "files", "types", "rng"),
    ("codec",),
    ("data",),
    ("models",),
    ("objectives",),
    ("inference",),
    ("training",),
    ("evaluation",),
    ("analysis",),
    ("experiments",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
SOURCES = sorted((*PACKAGE.rglob("*.py"), *(ROOT / "experiments").rglob("*.py")))
# The package's own `__init__` names what every layer offers; nothing inside the package imports it.
LAYERED = [path for path in SOURCES if path != PACKAGE / "__init__.py"]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
HEAVY = {"jax", "jaxlib", "flax", "optax", "orbax", "distrax", "chex"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def layer_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "experiments" if parts[0] == "experiments" else parts[1]


def imports(path: Path, source: str | None = None) -> Iterator[tuple[str, str]]:
    """(file and line, absolute dotted name) of everything that a file imports, also inside functions."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text() if source is None else source, str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield f"{relative(path)}:{node.lineno}", alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{relative(path)}:{node.lineno}", f"{module}.{alias.name}"


def is_wrong(layer: str, name: str) -> bool:
    top, *rest = name.split(".")
    if top == "musicvae_jax" and layer != "experiments":  # scripts may import the public names
        return not rest or RANK.get(rest[0], len(LAYERS)) > RANK[layer]
    return top in {"experiments", "tests"} and top != layer


def test_imports_run_one_way():
    assert {layer_of(path) for path in LAYERED} == set(RANK)
    assert not [found for path in LAYERED for found in imports(path) if is_wrong(layer_of(path), found[1])]


def test_configs_import_types_alone_and_codecs_nothing_of_jax():
    of_config = [found for path in (PACKAGE / "config").glob("*.py") for found in imports(path)]
    ours = [found for found in of_config if found[1].startswith("musicvae_jax.")]
    assert {name.split(".")[1] for _, name in ours} == {"config", "types"}
    light = [path for path in LAYERED if layer_of(path) in ("config", "codec", "figures", "types")]
    assert not [found for path in light for found in imports(path) if found[1].split(".")[0] in HEAVY]


def test_relative_and_nested_imports_are_seen():
    source = "from ..data import windows\ndef f():\n    import jax.numpy as jnp\n    from . import score\n"
    names = [name for _, name in imports(PACKAGE / "codec" / "midi.py", source)]
    assert names == ["musicvae_jax.data.windows", "jax.numpy", "musicvae_jax.codec.score"]
    assert is_wrong("codec", names[0]) and not is_wrong("data", names[0])


def test_files_are_small_and_none_is_a_drawer():
    assert not {relative(path): lines for path in SOURCES if (lines := len(path.read_text().splitlines())) > 300}
    assert not [relative(path) for path in (*SOURCES, *TESTS) if path.stem in {"utils", "util", "helpers", "misc"}]


def test_every_test_tests():
    for path in (path for path in TESTS if path.name.startswith("test_")):
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
