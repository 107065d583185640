"""Folders of runs with damaged checkpoints and small files."""

import dataclasses
import json
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import numpy as np

from musicvae_jax.evaluation.figures import read_evaluation
from musicvae_jax.evaluation.fitted_priors import FittedPrior, load_prior, save_prior
from musicvae_jax.evaluation.load import load_workdir
from musicvae_jax.evaluation.tables import evaluation_text
from musicvae_jax.evaluation.trained import TrainedVAE
from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.metrics import MetricWriter, read_metrics, train_seconds
from musicvae_jax.training.monitor import CollapseMonitor
from musicvae_jax.training.state import make_model, start_state, state_shapes
from musicvae_jax.training.workdir import read_config, read_metres
from tests.drills.held import Held, attempt
from tests.tiny import replace
from tests.untrained import LEVELS_CONFIG, write_workdir

RESULT = Path(__file__).resolve().parents[2] / "experiments" / "results" / "folk-basic-seed1.test.json"
CONFIG = replace(LEVELS_CONFIG, data={"measures": 2}, local={"dim": 0}, fine={"dim": 0})


def make_run(folder: Path) -> dict[int, float]:
    """A run with the latest checkpoints of steps 1 and 2 and the best of step 1; step -> sum of its parameters."""
    write_workdir(folder, CONFIG)
    vae = load_workdir(folder)
    shutil.rmtree(folder / "checkpoints")
    sums = {}
    with closing(Checkpoints(folder)) as checkpoints:
        for step in (1, 2):
            params = jax.tree.map(lambda leaf, step=step: leaf + step, vae.variables["params"])
            state = start_state(CONFIG, params)._replace(step=jax.numpy.asarray(step))
            sums[step] = _sum(params)
            for kind in ("latest", "best")[: 3 - step]:
                checkpoints.save(kind, step, state, {"next_batch": step}, {"objective": 1.0})
    figures = {"nll": 1.0, "kl": 1.0, "objective": 2.0, "kl_per_phrase": 1.0, "perplexity": 2.0, "perplexity_elbo": 3.0}
    validation = {f"validation.{name}": value for name, value in figures.items()}
    rows = [{"step": step, "loss": 2.0 / step, "step_seconds": 0.1} for step in range(1, 9)]
    rows[3:3] = [{"step": 3, **validation}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return sums


def _sum(tree: Any) -> float:
    return float(sum(np.abs(np.asarray(leaf, np.float64)).sum() for leaf in jax.tree.leaves(tree)))


def damaged_checkpoints(folder: Path, seed: int, number: int) -> Iterator[Held]:
    """Loads a run from which a random part of its checkpoints is damaged."""
    sums = make_run(folder / "run")
    for count in range(number):
        rng, copy = random.Random(f"checkpoint {seed} {count}"), folder / "copy"
        shutil.copytree(folder / "run", copy, symlinks=True)
        done = [_damage(copy / "checkpoints", rng) for _ in range(rng.choice((1, 1, 1, 2, 5)))]
        kind = rng.choice(("latest", "best"))

        def load(copy: Path = copy, kind: str = kind) -> str:
            vae = load_workdir(copy, kind)
            found = _sum(vae.variables["params"])
            assert found in sums.values(), f"other parameters: {found}"
            return f"step {vae.step}"

        yield attempt("damaged checkpoints", f"{count}, {kind}: {', '.join(done)}", load)
        shutil.rmtree(copy)


def _damage(folder: Path, rng: random.Random) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if not files:
        return "nothing left"
    path = rng.choice(files)
    name, data = path.relative_to(folder).as_posix(), path.read_bytes()
    place = rng.randrange(len(data) + 1)
    ways: dict[str, Callable[[], Any]] = {
        "deleted": path.unlink,
        "truncated": lambda: path.write_bytes(data[:place]),
        "emptied": lambda: path.write_bytes(b""),
        "flipped": lambda: path.write_bytes(data[:place] + bytes([(data[place : place + 1] or b"\0")[0] ^ 0x10])),
        "one bit": lambda: path.write_bytes(_one_bit(data, place)),
        "zeroed": lambda: path.write_bytes(bytes(len(data))),
        "random": lambda: path.write_bytes(rng.randbytes(len(data))),
        "longer": lambda: path.write_bytes(data + rng.randbytes(99)),
        "another's": lambda: path.write_bytes(rng.choice(files).read_bytes()),
        "a folder": lambda: _in_its_place(path, path.mkdir),
        "a link to itself": lambda: _in_its_place(path, lambda: path.symlink_to(path)),
        "its folder deleted": lambda: shutil.rmtree(path.parent),
        "its folder doubled": lambda: shutil.copytree(path.parent, path.parent.with_name(f"{path.parent.name}0")),
        "stray": lambda: (path.parent / rng.choice(("7", "x", "-1", "00", "3.orbax-checkpoint-tmp-1"))).mkdir(
            exist_ok=True
        ),
        "its step renamed": lambda: _rename_step(folder, name),
    }
    way = rng.choice(list(ways))
    try:
        ways[way]()
    except OSError as error:
        return f"{name} {way}, but {error.strerror}"
    return f"{name} {way}"


def _in_its_place(path: Path, make: Callable[[], None]) -> None:
    path.unlink()
    make()


def _one_bit(data: bytes, place: int) -> bytes:
    broken = bytearray(data or b"\0")
    broken[place % len(broken)] ^= 1 << (place % 8)
    return bytes(broken)


def _rename_step(folder: Path, name: str) -> None:
    kind, step, *_ = name.split("/")
    (folder / kind / step).rename(folder / kind / f"{int(step) + 3}")


_VALUES: tuple[Any, ...] = (None, True, -1, 0, 1e308, float("nan"), "", "x" * 5000, "4/4", [], {}, [[]], 10**400, "\0")


def damaged_files(folder: Path, seed: int, number: int) -> Iterator[Held]:
    """Reads small files of a run of which one is damaged."""
    run = folder / "small"
    make_run(run)
    vae = load_workdir(run)
    save_prior(_prior(vae), run, "m")
    shutil.copyfile(RESULT, run / "evaluation.test.json")
    readers: dict[str, Callable[[], Any]] = {
        "config.json": lambda: read_config(run),
        "metres.json": lambda: read_metres(run),
        "metrics.jsonl": lambda: _read_metrics(run / "metrics.jsonl"),
        "evaluation.test.json": lambda: evaluation_text(read_evaluation(run / "evaluation.test.json")),
        "priors/m/config.json": lambda: load_prior(vae, run, "m"),
        "priors/m/fit.json": lambda: load_prior(vae, run, "m"),
        "priors/m/bases.npz": lambda: load_prior(vae, run, "m"),
    }
    for count in range(number):
        rng = random.Random(f"file {seed} {count}")
        name = list(readers)[count % len(readers)]
        path = run / name
        before = path.read_bytes()
        done = _damage_text(path, before, rng)

        def read(name: str = name) -> str:
            readers[name]()
            return "read"

        yield attempt("small files of a run", f"{count}, {name}: {done}", read)
        if path.is_dir():
            path.rmdir()
        path.write_bytes(before)


def _prior(vae: TrainedVAE) -> FittedPrior:
    """A prior of random parameters."""
    config = replace(vae.config, prior={"base": "mixture", "modes": 2}).fitted
    model, rng = make_model(config, vae.codec.fields), np.random.default_rng(0)
    shapes = state_shapes(config, model).params
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(leaf.dtype), shapes)
    return FittedPrior(dataclasses.replace(vae, config=config, model=model, variables={"params": params}), {}, {})


def _read_metrics(path: Path) -> None:
    """As a run that resumes does."""
    CollapseMonitor(CONFIG, read_metrics(path))
    train_seconds(path)
    MetricWriter(path.parent, 10).close()


def _damage_text(path: Path, data: bytes, rng: random.Random) -> str:
    place = rng.randrange(len(data) + 1)
    ways: dict[str, Callable[[], bytes]] = {
        "truncated": lambda: data[:place],
        "one bit": lambda: _one_bit(data, place),
        "random bytes": lambda: data[:place] + rng.randbytes(9) + data[place:],
        "not UTF-8": lambda: data[:place] + b"\xff\xfe" + data[place:],
        "deep": lambda: b"[" * 200_000,
        "deep inside": lambda: data[:place] + b'{"a":' * 5000 + data[place:],
        "empty": lambda: b"",
        "zeros": lambda: bytes(len(data)),
        "another value": lambda: _another_value(data, rng),
        "another JSON": lambda: json.dumps(rng.choice(_VALUES)).encode(),
        "a long number": lambda: b"9" * 5000,
        "twice": lambda: data + data,
    }
    way = rng.choice([*ways, "another value", "another value", "a folder"])
    if way == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(ways[way]())
    return way


def _another_value(data: bytes, rng: random.Random) -> bytes:
    """A JSON document, or line of one, in which a value, a key or the absence of one is new."""
    lines = data.splitlines() if data.count(b'{"step"') > 1 else [data]
    number = rng.randrange(len(lines))
    try:
        tree = json.loads(lines[number])
    except ValueError:
        return _one_bit(data, rng.randrange(len(data)))
    here = tree
    while isinstance(here, dict) and here:
        key = rng.choice(list(here))
        if isinstance(here[key], dict) and rng.random() < 0.8:
            here = here[key]
            continue
        way = rng.randrange(4)
        if way == 0:
            del here[key]
        elif way == 1:
            here[f"{key}x"] = here.pop(key)
        else:
            here[key] = rng.choice(_VALUES)
        break
    lines[number] = json.dumps(tree).encode()
    return b"\n".join(lines)
