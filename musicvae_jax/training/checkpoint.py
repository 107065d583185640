"""Checkpoints: the training state and the data iterator's position, together, latest and best."""

import shutil
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from musicvae_jax.training.state import TrainState
from musicvae_jax.training.workdir import WorkdirError, free_space

_KINDS = ("latest", "best")


class Checkpoints:
    """Two small stores under ``WORKDIR/checkpoints``: ``latest`` to resume from, ``best`` to use.

    Orbax writes each checkpoint to a temporary folder and renames it, so that a killed run leaves whole ones only.
    """

    def __init__(self, workdir: Path, *, clean: bool = False):
        """Opens the stores.

        Args:
            workdir: the run's folder.
            clean: delete what a killed run left half written: for the one process that trains there and writes; any
                other would delete what that one is writing.
        """
        self.folder = Path(workdir).absolute() / "checkpoints"
        if clean:  # orbax would do it in the background, and not wait for it where nothing is saved
            for kind in _KINDS:
                _delete_temporary(self.folder / kind)
        self._managers = {
            kind: ocp.CheckpointManager(
                self.folder / kind,
                options=ocp.CheckpointManagerOptions(max_to_keep=1),
                item_handlers={
                    "state": ocp.StandardCheckpointHandler(),
                    "data": ocp.JsonCheckpointHandler(),
                    "metrics": ocp.JsonCheckpointHandler(),
                },
            )
            for kind in _KINDS
        }

    def save(self, kind: str, step: int, state: TrainState, data_state: Any, metrics: dict[str, float]) -> None:
        """Saves, in the background, unless that step is saved already.

        Args:
            kind: ``"latest"`` or ``"best"``.
            step: updates done.
            state: arrays that the step is known to have left finite.
            data_state: JSON of the iterator after the batch of that step.
            metrics: JSON to keep beside it.

        Raises:
            WorkdirError: if the disk is full or cannot be written; checkpoints before it stay.
        """
        if self.latest_step(kind) == step:
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(data_state), metrics=ocp.args.JsonSave(metrics)
        )
        self._guard(lambda: self._managers[kind].save(step, args=items), step)

    def wait(self) -> None:
        """Returns once everything is on disk.

        Raises:
            WorkdirError: as `save`, for a write that failed in the background.
        """
        for manager in self._managers.values():
            self._guard(manager.wait_until_finished, manager.latest_step())

    def latest_step(self, kind: str = "latest") -> int | None:
        """The step of the checkpoint of a kind, None if there is none."""
        return self._managers[kind].latest_step()

    def restore(self, like: TrainState, kind: str = "latest") -> tuple[TrainState, Any, dict[str, float]]:
        """Reads (state, data_state, metrics) back, on the devices of ``like``.

        Args:
            like: a state, or its shapes with shardings.
            kind: which checkpoint.

        Raises:
            WorkdirError: if there is none, or it is of another model; the message names the first arrays that differ.
        """
        if kind not in _KINDS:
            raise WorkdirError(f"no checkpoint {kind!r}: allowed is {' or '.join(_KINDS)}")
        step = self.latest_step(kind)
        if step is None:
            raise WorkdirError(f"{self.folder} holds no {kind!r} checkpoint yet")
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        stored = self._managers[kind].item_metadata(step)["state"]
        self._check_shapes(kind, step, stored, abstract)
        # A field without arrays need not be there: checkpoints are older than some fields of the state.
        fields = {name: tree for name, tree in abstract._asdict().items() if name in stored or jax.tree.leaves(tree)}
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(fields), data=ocp.args.JsonRestore(), metrics=ocp.args.JsonRestore()
        )
        restored = self._managers[kind].restore(step, args=items)
        return abstract._replace(**restored["state"]), restored["data"], restored["metrics"]

    def metrics(self, kind: str) -> dict[str, float]:
        """The metrics saved beside a checkpoint."""
        items = ocp.args.Composite(metrics=ocp.args.JsonRestore())
        return self._managers[kind].restore(self.latest_step(kind), args=items)["metrics"]

    def reached_preemption(self, step: int) -> bool:
        """Whether all processes of a run agree to stop after a step, because one of them was told to."""
        return self._managers["latest"].reached_preemption(step)

    def close(self) -> None:
        """Waits, and frees the background threads."""
        self.wait()
        for manager in self._managers.values():
            manager.close()

    def _check_shapes(self, kind: str, step: int, metadata: Any, abstract: TrainState) -> None:
        stored, wanted = _shapes(metadata), _shapes(abstract._asdict())
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
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda leaf: hasattr(leaf, "shape"))
    return {_name(path): tuple(leaf.shape) for path, leaf in leaves if hasattr(leaf, "shape")}


def _name(path: tuple) -> str:
    return "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)
