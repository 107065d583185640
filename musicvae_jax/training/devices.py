"""Preparing the devices and processes of a script, before any use of JAX."""

import importlib.util
import mmap
import os
import platform
import zlib
from collections.abc import Sequence
from pathlib import Path

import jax
import jaxlib

from musicvae_jax.config import UserError
from musicvae_jax.data.readers import num_cores
from musicvae_jax.training.memory import keep_freed_memory

# By default XLA compiles and times many candidates for each fusion and matrix product: minutes before the first step of
# a transformer. Without these two searches cuBLAS still chooses among its own kernels, which need no compiling.
GPU_FLAGS = ("--xla_gpu_experimental_enable_fusion_autotuner=false", "--xla_gpu_enable_triton_gemm=false")


def set_up_devices() -> None:
    """Prepares JAX for a script: a persistent compilation cache; on a CPU one device per core, and memory that is kept;
    on an NVIDIA GPU a compiler that does not search for minutes (`GPU_FLAGS`).

    Call it before any use of JAX. On a CPU, a device per core is about 1.4 times as fast as one device with all cores.
    """
    keep_freed_memory()
    if flags := with_gpu_flags(os.environ.get("XLA_FLAGS", ""), cuda_libraries()):
        os.environ["XLA_FLAGS"] = flags
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", num_cores())
    if not jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "musicvae_jax" / "compilation"
        jax.config.update("jax_compilation_cache_dir", str(cache / _kind_of_machine()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def with_gpu_flags(flags: str, libraries: Sequence[Path]) -> str:
    """The flags of XLA with `GPU_FLAGS`, but those that the user has set, or that a library does not know.

    XLA ends a process that gives it a flag it does not know.

    Args:
        flags: XLA_FLAGS as the user set it.
        libraries: files of the code that reads the flags; none without an NVIDIA GPU's.
    """
    chosen = [flag for flag in GPU_FLAGS if libraries and flag.partition("=")[0] not in flags]
    for library in libraries if chosen else ():
        with open(library, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            chosen = [flag for flag in chosen if content.find(flag.strip("-").partition("=")[0].encode()) >= 0]
    return " ".join([flags, *chosen]).strip()


def cuda_libraries() -> list[Path]:
    """The files of XLA for CPUs and for NVIDIA GPUs; none where JAX has no CUDA plugin."""
    spec = importlib.util.find_spec("jax_plugins")
    folders = spec.submodule_search_locations if spec else None
    plugins = [path for folder in folders or () for path in Path(folder).glob("xla_cuda*/*.so")]
    return [*Path(jaxlib.__file__).parent.glob("libjax_common.so"), *plugins] if plugins else []


def join_processes() -> None:
    """Joins the processes that train one model, on one host or several (`jax.distributed.initialize`).

    Call it in each of them, before any use of JAX. Slurm, Open MPI, Kubernetes and Cloud TPU say how many there are and
    which one this is. Elsewhere the environment does: ``JAX_COORDINATOR_ADDRESS`` (host and port of process 0),
    ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID``. If one of them ends, JAX ends the others after about 100 seconds.

    Raises:
        UserError: nothing says how many processes there are.
    """
    try:
        jax.distributed.initialize(num_processes=_given("JAX_NUM_PROCESSES"), process_id=_given("JAX_PROCESS_ID"))
    except ValueError as error:
        raise UserError(
            f"{error} Start the processes with Slurm, Open MPI, Kubernetes or on Cloud TPU, or set "
            "JAX_COORDINATOR_ADDRESS=HOST:PORT, JAX_NUM_PROCESSES and JAX_PROCESS_ID in each"
        ) from error
    if jax.process_index() == 0:
        print(
            f"{jax.process_count()} processes have joined. If one ends, the others end, too, and the same commands "
            "continue the run from its last checkpoint.",
            flush=True,
        )


def _given(name: str) -> int | None:
    """The number that a variable of the environment holds, None without it."""
    value = os.environ.get(name)
    if value is not None and not value.isdecimal():
        raise UserError(f"{name} = {value!r}: allowed is a whole number")
    return None if value is None else int(value)


def _kind_of_machine() -> str:
    """The same for machines that can run each other's compiled code; they may share a home folder."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()}-{zlib.crc32(flags.encode()):08x}"
