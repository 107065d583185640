"""Spreading a step over devices; every mode gives the same numbers."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from musicvae_jax.config import Config, ConfigError, TrainConfig
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.training.state import TrainState, init_params, start_state
from musicvae_jax.training.step import AXIS, Metrics
from musicvae_jax.types import Batch

Rows = TypeVar("Rows")  # a tree of arrays with a leading axis of rows
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


@dataclasses.dataclass(frozen=True)
class Parallel:
    """A one-axis mesh over the devices of all processes, and how a step runs on it.

    Attributes:
        mesh: ``num_devices`` devices of every process, in process order.
        mode: ``"jit"`` (jit of shard_map) or ``"pmap"``.
    """

    mesh: Mesh
    mode: str

    @property
    def replicated(self) -> NamedSharding:
        """The sharding of arrays that are replicated over all devices."""
        return NamedSharding(self.mesh, PartitionSpec())

    def shard(self, batch: Batch) -> Batch:
        """Puts the rows of a global batch that this process has onto its devices, in order.

        For pmap the leading axis becomes [device, row].
        """
        if self.mode == "pmap":
            batch = jax.tree.map(lambda leaf: leaf.reshape(len(self.mesh.local_devices), -1, *leaf.shape[1:]), batch)
        return self.shard_rows(batch)

    def shard_rows(self, batch: Rows) -> Rows:
        """`shard` of any arrays with one leading axis in every mode, for functions jitted without `spread`."""
        sharding = NamedSharding(self.mesh, PartitionSpec(AXIS))
        return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), batch)

    def init(self, config: Config, model: MusicVAE) -> TrainState:
        """The state before the first step, replicated. It is made under jit, so that it can be donated."""
        params = init_params(model, config.data.measures, config.train.seed)
        return jax.jit(partial(start_state, config), out_shardings=self.replicated)(params)

    def spread(self, device_step: Step) -> Any:
        """The jitted or pmapped step over all devices, of a replicated state and a sharded batch.

        The state is donated, so it cannot be used afterwards.
        """
        if self.mode == "pmap":
            return jax.pmap(
                device_step,
                axis_name=AXIS,
                in_axes=(None, 0),
                out_axes=(None, None),
                devices=list(self.mesh.devices),
                donate_argnums=0,
            )
        sharded = jax.shard_map(
            device_step,
            mesh=self.mesh,
            in_specs=(PartitionSpec(), PartitionSpec(AXIS)),
            out_specs=PartitionSpec(),
            check_vma=False,  # the step itself averages gradients over the axis, as under pmap
        )
        return jax.jit(sharded, donate_argnums=0)


def make_parallel(config: TrainConfig) -> Parallel:
    """The mesh of a config: ``num_devices`` of every process, or as many as divide its rows of a microbatch.

    Raises:
        ConfigError: there are fewer devices, or they do not divide the batch.
    """
    local = jax.local_device_count()
    if config.num_devices > local:
        raise ConfigError(f"TrainConfig.num_devices = {config.num_devices}: this process has {local} devices")
    rows = config.batch_size // (jax.process_count() * config.accumulate)
    num_devices = config.num_devices or _most_devices(rows)
    devices: list[Any] = []
    for process in range(jax.process_count()):
        own = [device for device in jax.devices() if device.process_index == process]
        devices += own[:num_devices]
    share = len(devices) * config.accumulate
    if config.batch_size % share:
        raise ConfigError(
            f"TrainConfig.batch_size = {config.batch_size}: allowed is a multiple of {len(devices)} devices x "
            f"accumulate = {config.accumulate}, e.g. {max(1, round(config.batch_size / share)) * share}"
        )
    return Parallel(_mesh(devices), config.parallel)


def make_local_parallel(rows: int) -> Parallel:
    """A mesh of this process alone, such as for an evaluation: as many of its devices as divide the rows."""
    return Parallel(_mesh(jax.local_devices()[: _most_devices(rows)]), "jit")


def everywhere() -> NamedSharding:
    """The sharding of arrays that are replicated over the devices of this process."""
    return NamedSharding(_mesh(jax.local_devices()), PartitionSpec())


def _most_devices(rows: int) -> int:
    """The largest number of local devices that divides a number of rows."""
    return max(number for number in range(1, jax.local_device_count() + 1) if rows % number == 0)


def _mesh(devices: list[Any]) -> Mesh:
    return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


def check_platform(config: Config) -> None:
    """Raises `ConfigError` for a float64 model where JAX would silently compute in float32."""
    if config.model.dtype == "float64" and not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise ConfigError("ModelConfig.dtype = 'float64' needs JAX_ENABLE_X64=1; without it JAX computes in float32")
