"""Spreading one step over devices and processes; every mode gives the same numbers."""

import dataclasses
import os
import platform
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from musicvae_jax.config import Config, ConfigError, TrainConfig
from musicvae_jax.data.readers import num_cores
from musicvae_jax.training.host_memory import keep_freed_memory
from musicvae_jax.training.state import TrainState
from musicvae_jax.training.step import AXIS, Metrics
from musicvae_jax.types import Batch

Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
SpreadStep = Any  # a Step with jit's methods, such as lower


def set_up_devices() -> None:
    """Prepares JAX for a script: one host device per core on a CPU, memory that stays, a persistent compile cache.

    Call it before anything else touches JAX. On a CPU, sharding the batch over the cores is about 1.4 times faster than
    one device that uses all of them, and lets everybody's run exercise the path of several devices.
    """
    keep_freed_memory()
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", num_cores())
    if not jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "musicvae_jax" / "compilation"
        jax.config.update("jax_compilation_cache_dir", str(cache / _kind_of_machine()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _kind_of_machine() -> str:
    """A name for machines that can run each other's compiled code: a home folder may serve several kinds."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()}-{zlib.crc32(flags.encode()):08x}"


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
        """The sharding of arrays that are whole on every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def num_local_devices(self) -> int:
        return len(self.mesh.local_devices)

    def shard(self, batch: Batch) -> Batch:
        """Puts this process's rows of a global batch on its devices; rows follow the order of the devices.

        For pmap the leading axis becomes two, [device, row].
        """
        if self.mode == "pmap":
            batch = jax.tree.map(lambda leaf: leaf.reshape(self.num_local_devices, -1, *leaf.shape[1:]), batch)
        return self.shard_rows(batch)

    def shard_rows(self, batch: Batch) -> Batch:
        """`shard` with one leading axis in every mode, for a jitted function that is not a step made by `spread`."""
        sharding = NamedSharding(self.mesh, PartitionSpec(AXIS))
        return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), batch)

    def init(self, make: Callable[[], Any]) -> Any:
        """Arrays made under jit, the same on every device, so that they can be donated."""
        return jax.jit(make, out_shardings=self.replicated)()

    def spread(self, device_step: Step) -> SpreadStep:
        """The step of one device, as a compiled function of the replicated state and the sharded batch.

        The state is donated: use only what comes back.
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
            check_vma=False,  # as under pmap: the step itself averages gradients over the axis
        )
        return jax.jit(sharded, donate_argnums=0)


def make_parallel(config: TrainConfig) -> Parallel:
    """The mesh a config asks for: as many devices of every process, or all that the batch can be spread over.

    Raises:
        ConfigError: for more devices than there are, or a batch they do not divide.
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
    """A mesh for what every process does alone, such as an evaluation: of its devices as many as divide the rows."""
    return Parallel(_mesh(jax.local_devices()[: _most_devices(rows)]), "jit")


def everywhere() -> NamedSharding:
    """The sharding of arrays that are whole on every device of this process."""
    return NamedSharding(_mesh(jax.local_devices()), PartitionSpec())


def _most_devices(rows: int) -> int:
    """The largest number of this process's devices that divides a number of rows."""
    return max(number for number in range(1, jax.local_device_count() + 1) if rows % number == 0)


def _mesh(devices: list[Any]) -> Mesh:
    return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


def check_platform(config: Config) -> None:
    """Refuses a float64 model where JAX would silently compute in float32."""
    if config.model.dtype == "float64" and not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise ConfigError("ModelConfig.dtype = 'float64' needs JAX_ENABLE_X64=1; without it JAX computes in float32")
