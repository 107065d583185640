"""Memory of the host that a step frees and the next one wants again."""

import ctypes
import os
import platform

# Names of glibc's malloc.h, see mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> bool:
    """Makes glibc's allocator keep what a step has freed for the next step, and says whether it did.

    On a CPU, XLA allocates the arrays between the layers anew at every step. By default glibc gives large blocks back
    to the kernel, which zeroes every page before it hands it out again: a quarter of the processor's time of a training
    step. Kept, the memory in use stays at its peak. It goes for threads that start later, so call it first.

    Nothing happens under another C library, or where the environment has settings of its own (``MALLOC_ARENA_MAX`` and
    its like, or ``GLIBC_TUNABLES``).
    """
    own = any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ)
    if own or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # One arena, because those of other threads cannot hold blocks of over 64 MiB; none mapped apart, none given back.
    settings = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 2**26}
    return all(mallopt(name, value) == 1 for name, value in settings.items())
