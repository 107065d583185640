"""Memory of a training on a CPU, under glibc: how malloc finds the buffers of a step."""

import ctypes
import os
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8  # of mallopt(3), from glibc's malloc.h


def keep_freed_memory() -> bool:
    """Makes glibc keep freed memory for the next step; returns whether it does.

    On a CPU, XLA allocates activations anew at every step. By default glibc returns large blocks to the kernel, which
    then zeroes every page: a quarter of the processor time of a step. With this setting the process keeps its peak
    memory. It holds for threads that start later.

    Does nothing under another C library, or if the environment has ``MALLOC_*`` or ``GLIBC_TUNABLES``.
    """
    own = any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ)
    if own or not _has_glibc():
        return False
    # One arena, because the others cannot hold blocks of over 64 MiB; no separate mappings; nothing returned.
    settings = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 2**26}
    return all(_libc().mallopt(name, value) == 1 for name, value in settings.items())


def set_aside_gaps() -> int:
    """Takes the gaps that a compilation leaves in memory out of use, so that steps allocate behind them.

    The compilation of a step leaves some 70,000 gaps of all sizes, and malloc searches lists of them for every buffer
    of every step. A step then took up to 1.3 times as long as in a process that read its program from the cache.
    The pages of the gaps go back to the kernel; only addresses are lost. Call it once after a compilation.

    Returns:
        The number of blocks that now fill gaps; 0 where `keep_freed_memory` does not hold.
    """
    if not _has_glibc():
        return 0
    libc = _libc()
    libc.malloc_trim(0)
    # A block that no gap can hold lies behind all of them. Without `keep_freed_memory` it is not in the heap.
    behind = libc.malloc(2**32)
    in_heap = 0 < behind < libc.sbrk(0)
    libc.free(behind)
    number = 0
    for size in (2**exponent for exponent in range(20, 8, -1)) if in_heap else ():
        while 0 < (block := libc.malloc(size)) < behind:
            number += 1
        libc.free(block)
    return number


def _has_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"


def _libc() -> ctypes.CDLL:
    """The C library of this process, with addresses as whole numbers (None as 0)."""
    libc = ctypes.CDLL(None)
    address = ctypes.c_size_t
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], address
    libc.free.argtypes, libc.free.restype = [address], None
    libc.sbrk.argtypes, libc.sbrk.restype = [ctypes.c_ssize_t], address
    return libc
