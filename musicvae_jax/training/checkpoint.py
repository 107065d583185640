"""Checkpoints: the training state and the position of the data iterator, saved together; the latest and the best."""

import gc
import json
import logging
import os
import shutil
import sys
import time
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from musicvae_jax.files import disk_refusal
from musicvae_jax.training.state import TrainState
from musicvae_jax.training.workdir import WorkdirError, free_space

_JSON = ("data", "figures", "checksum")  # not "metrics": orbax reads an item of that name whenever it lists checkpoints
_KINDS = {"latest": 2, "best": 1}  # how many are kept


class Checkpoints:
    """Two stores under ``WORKDIR/checkpoints``: ``latest`` to resume from, ``best`` to use.

    Orbax writes a checkpoint to a temporary folder and renames it, so a killed run leaves whole checkpoints only. The
    last two of ``latest`` are kept: where a disk has damaged one, which its checksum shows, the one before serves.
    """

    def __init__(self, workdir: Path, *, clean: bool = False):
        """Opens the stores.

        Args:
            workdir: the folder of the run.
            clean: delete what a killed run left half written, and set aside what is damaged. Only for the process that
                trains and writes there: any other process would delete what that one is writing.
        """
        self.folder = Path(workdir).absolute() / "checkpoints"
        self._clean = clean
        for logger in ("absl", "asyncio"):
            logging.getLogger(logger).addFilter(_is_not_raised)
        if clean:  # orbax does it in the background, and does not wait for it where nothing is saved
            for kind in _KINDS:
                _delete_temporary(self.folder / kind)
        handlers = {"state": ocp.StandardCheckpointHandler()}
        handlers |= {name: ocp.JsonCheckpointHandler() for name in _JSON}
        self._managers = {
            kind: ocp.CheckpointManager(
                self.folder / kind,
                options=ocp.CheckpointManagerOptions(max_to_keep=number),
                item_handlers=handlers,
            )
            for kind, number in _KINDS.items()
        }

    def save(self, kind: str, step: int, state: TrainState, data_state: Any, metrics: dict[str, float]) -> None:
        """Saves in the background; does nothing if that step is saved already.

        Args:
            kind: ``"latest"`` or ``"best"``.
            step: updates done.
            state: after that step, known to be finite.
            data_state: of the iterator after the batch of that step, as JSON.
            metrics: JSON to keep with the state.

        Raises:
            WorkdirError: the disk is full or cannot be written; earlier checkpoints stay.
        """
        if self.latest_step(kind) == step:
            return
        if jax.process_count() > 1:  # two saves at once can wait for each other for ever, at different barriers
            self.wait()
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            data=ocp.args.JsonSave(data_state),
            figures=ocp.args.JsonSave(metrics),
            checksum=ocp.args.JsonSave(checksums(state, data_state, metrics)),
        )
        self._guard(lambda: self._managers[kind].save(step, args=items), step)

    def wait(self) -> None:
        """Returns when everything is on disk; raises `WorkdirError` for a write that failed in the background."""
        for manager in self._managers.values():
            self._guard(manager.wait_until_finished, manager.latest_step())

    def latest_step(self, kind: str = "latest") -> int | None:
        """The step of the checkpoint of a kind, None if there is none."""
        return self._managers[kind].latest_step()

    def restore(self, like: TrainState, kind: str = "latest") -> tuple[TrainState, Any, dict[str, float]]:
        """Reads (state, data_state, metrics), onto the devices of ``like``.

        A damaged checkpoint is named on standard error, and another one is read in its place: an earlier one of the
        same kind, or one of the other kind.

        Args:
            like: a state, or its shapes with shardings.
            kind: which checkpoint.

        Raises:
            WorkdirError: there is none, all are damaged, or it is of another model; the message then names the first
                arrays that differ.
        """
        if kind not in _KINDS:
            raise WorkdirError(f"no checkpoint {kind!r}: allowed is {' or '.join(_KINDS)}")
        if self.latest_step(kind) is None:
            raise WorkdirError(f"{self.folder} holds no {kind!r} checkpoint yet")
        kinds = sorted(_KINDS, key=lambda name: name != kind)
        there = [(name, step) for name in kinds for step in sorted(self._managers[name].all_steps(), reverse=True)]
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        for number, (name, step) in enumerate(there):
            try:
                found = self._read(name, step, abstract)
            except _DamagedError as error:
                self._say_damaged(name, step, error)
            else:
                if number:
                    print(f"the {name!r} checkpoint of step {step} is used in its place", file=sys.stderr)
                    for damaged in there[:number] if self._clean else ():
                        self._set_aside(*damaged)
                return found
            _free_quietly()
        raise WorkdirError(f"every checkpoint in {self.folder} is damaged; restore one from a copy, or train anew")

    def metrics(self, kind: str) -> dict[str, float]:
        """The metrics saved with a checkpoint; {} without one, or if it is damaged."""
        step = self.latest_step(kind)
        if step is None:
            return {}
        try:
            items = ocp.args.Composite(figures=ocp.args.JsonRestore())
            return dict(self._managers[kind].restore(step, args=items)["figures"])
        except Exception as error:  # noqa: BLE001 -- orbax passes on whatever its storage layers raise
            self._say_damaged(kind, step, error)
            if self._clean:
                self._set_aside(kind, step)
            return {}

    def reached_preemption(self, step: int) -> bool:
        """Whether all processes of a run agree to stop after this step, because one of them got a signal."""
        return self._managers["latest"].reached_preemption(step)

    def close(self) -> None:
        """Waits, and frees the background threads."""
        self.wait()
        for manager in self._managers.values():
            manager.close()

    def _read(self, kind: str, step: int, abstract: TrainState) -> tuple[TrainState, Any, dict[str, float]]:
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), **{name: ocp.args.JsonRestore() for name in _JSON}
        )
        try:
            stored = _shapes(self._managers[kind].item_metadata(step)["state"])
        except Exception as error:
            raise _DamagedError(_line(error)) from error
        if not stored:
            raise _DamagedError("the list of its arrays is missing")
        self._check_shapes(kind, step, stored, _shapes(abstract._asdict()))
        try:
            restored = self._managers[kind].restore(step, args=items)
            parts = restored["state"], restored["data"], restored["figures"]
            right = restored["checksum"] == checksums(*parts)
        except Exception as error:
            raise _DamagedError(_line(error)) from error
        if not right:
            raise _DamagedError("its checksum is another one")
        return parts

    def _say_damaged(self, kind: str, step: int, error: Exception) -> None:
        print(f"damaged: the {kind!r} checkpoint of step {step} in {self.folder}: {_line(error)}", file=sys.stderr)

    def _set_aside(self, kind: str, step: int) -> None:
        """Renames a damaged checkpoint, so that the run can write that step again."""
        path = self.folder / kind / str(step)
        if path.exists():
            path.rename(self.folder / f"damaged-{kind}-{step}-{time.time_ns()}")
        self._managers[kind].reload()

    def _check_shapes(self, kind: str, step: int, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
        differing = sorted(name for name in stored | wanted if stored.get(name) != wanted.get(name))
        if differing:
            rows = "\n".join(
                f"  {name}: {stored.get(name, 'absent')} in the checkpoint, {wanted.get(name, 'absent')} in the model"
                for name in differing[:5]
            )
            raise WorkdirError(
                f"the {kind!r} checkpoint of step {step} in {self.folder} is of another model; "
                f"{len(differing)} arrays differ:\n{rows}"
            )

    def _guard(self, write: Any, step: int | None) -> None:
        try:
            write()
        except (OSError, ValueError, RuntimeError) as error:  # orbax passes on what its storage layers raise
            free = free_space(self.folder)
            for kind in _KINDS if self._clean else ():
                _delete_temporary(self.folder / kind, still_written=True)
            raise WorkdirError(
                f"cannot write the checkpoint of step {step} to {self.folder} ({free}): "
                f"{disk_refusal(error) or _line(error)}"
            ) from error


def _is_not_raised(record: logging.LogRecord) -> bool:
    """Whether to log something: each error of its threads orbax logs with a long traceback, and raises it later too."""
    text = f"{record.pathname} {record.getMessage()}"
    return record.levelno < logging.ERROR or not (f"{os.sep}orbax{os.sep}" in text or "OCDBT" in text)


def _free_quietly() -> None:
    """Frees what a failed read left: Python would report its unfinished coroutines in long tracebacks."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        gc.collect()
    finally:
        sys.unraisablehook = hook


class _DamagedError(Exception):
    """A checkpoint cannot be read, or is not what was written."""


def _line(error: Exception) -> str:
    """The first line of an error, which may be long."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def checksums(state: TrainState, data_state: Any, metrics: dict[str, float]) -> dict[str, int]:
    """A checksum of each part of a checkpoint (CRC-32): of all arrays in order, and of the JSON."""
    found = 0
    for leaf in jax.tree.leaves(state):  # the same on all devices
        local = leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf
        found = zlib.crc32(np.ascontiguousarray(local).view(np.uint8).data, found)
    texts = {"data": data_state, "metrics": metrics}
    return {"state": found} | {name: zlib.crc32(json.dumps(tree).encode()) for name, tree in texts.items()}


def _delete_temporary(folder: Path, *, still_written: bool = False) -> None:
    for path in folder.iterdir() if folder.exists() else ():
        if ocp.utils.is_tmp_checkpoint(path):
            shutil.rmtree(path, ignore_errors=still_written)  # what stays of it, the next run deletes


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shape of every array of a tree, by its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda leaf: hasattr(leaf, "shape"))
    name = partial(jax.tree_util.keystr, simple=True, separator="/")
    return {name(path): tuple(leaf.shape) for path, leaf in leaves if hasattr(leaf, "shape")}
