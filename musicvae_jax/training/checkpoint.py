"""Checkpoints: the training state and the position of the data iterator, saved together; the latest and the best."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from musicvae_jax.training.state import TrainState
from musicvae_jax.training.workdir import WorkdirError, free_space

_KINDS = ("latest", "best")


class Checkpoints:
    """Two stores under ``WORKDIR/checkpoints``: ``latest`` to resume from, ``best`` to use.

    Orbax writes a checkpoint to a temporary folder and renames it, so a killed run leaves whole checkpoints only.
    """

    def __init__(self, workdir: Path, *, clean: bool = False):
        """Opens the stores.

        Args:
            workdir: the folder of the run.
            clean: delete what a killed run left half written. Only for the process that trains and writes there: any
                other process would delete what that one is writing.
        """
        self.folder = Path(workdir).absolute() / "checkpoints"
        if clean:  # orbax does it in the background, and does not wait for it where nothing is saved
            for kind in _KINDS:
                _delete_temporary(self.folder / kind)
        handlers = {"state": ocp.StandardCheckpointHandler()}
        handlers |= {"data": ocp.JsonCheckpointHandler(), "metrics": ocp.JsonCheckpointHandler()}
        options = ocp.CheckpointManagerOptions(max_to_keep=1)
        self._managers = {
            kind: ocp.CheckpointManager(self.folder / kind, options=options, item_handlers=handlers) for kind in _KINDS
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
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(data_state), metrics=ocp.args.JsonSave(metrics)
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

        Args:
            like: a state, or its shapes with shardings.
            kind: which checkpoint.

        Raises:
            WorkdirError: there is none, or it is of another model; the message names the first arrays that differ.
        """
        if kind not in _KINDS:
            raise WorkdirError(f"no checkpoint {kind!r}: allowed is {' or '.join(_KINDS)}")
        step = self.latest_step(kind)
        if step is None:
            raise WorkdirError(f"{self.folder} holds no {kind!r} checkpoint yet")
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        self._check_shapes(kind, step, abstract)
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), data=ocp.args.JsonRestore(), metrics=ocp.args.JsonRestore()
        )
        restored = self._managers[kind].restore(step, args=items)
        return restored["state"], restored["data"], restored["metrics"]

    def metrics(self, kind: str) -> dict[str, float]:
        """The metrics saved with a checkpoint."""
        items = ocp.args.Composite(metrics=ocp.args.JsonRestore())
        return self._managers[kind].restore(self.latest_step(kind), args=items)["metrics"]

    def reached_preemption(self, step: int) -> bool:
        """Whether all processes of a run agree to stop after this step, because one of them got a signal."""
        return self._managers["latest"].reached_preemption(step)

    def close(self) -> None:
        """Waits, and frees the background threads."""
        self.wait()
        for manager in self._managers.values():
            manager.close()

    def _check_shapes(self, kind: str, step: int, abstract: TrainState) -> None:
        stored, wanted = _shapes(self._managers[kind].item_metadata(step)["state"]), _shapes(abstract._asdict())
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
            raise WorkdirError(
                f"cannot write the checkpoint of step {step} to {self.folder} ({free_space(self.folder)}): {error}"
            ) from error


def _delete_temporary(folder: Path) -> None:
    for path in folder.iterdir() if folder.exists() else ():
        if ocp.utils.is_tmp_checkpoint(path):
            shutil.rmtree(path)


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shape of every array of a tree, by its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda leaf: hasattr(leaf, "shape"))
    name = partial(jax.tree_util.keystr, simple=True, separator="/")
    return {name(path): tuple(leaf.shape) for path, leaf in leaves if hasattr(leaf, "shape")}
