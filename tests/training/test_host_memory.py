"""Freed memory stays with the process, so that the next step need not ask the kernel for it."""

import os
import platform
import subprocess
import sys

import pytest

# Blocks too large for a thread's own arena, allocated and freed in a thread that starts after the settings.
_PROGRAM = """
import ctypes, resource, threading
from musicvae_jax.training.host_memory import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def allocate_and_free():
    blocks = [ctypes.c_void_p(libc.malloc(ctypes.c_size_t(96 << 20))) for _ in range(2)]
    for block in blocks:
        ctypes.memset(block, 1, 96 << 20)
    for block in blocks:
        libc.free(block)

def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def work():
    allocate_and_free()
    before = pages()
    allocate_and_free()
    print(keeps, pages() - before)

keeps = keep_freed_memory()
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""

glibc_only = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are those of glibc")


def _pages_of_second_round(**environment: str) -> tuple[str, int]:
    clean = {
        name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES" and not name.startswith("MALLOC_")
    }
    result = subprocess.run(
        [sys.executable, "-c", _PROGRAM], env=clean | environment, capture_output=True, text=True, check=True
    )
    keeps, pages = result.stdout.split()
    return keeps, int(pages)


@glibc_only
def test_freed_blocks_come_back_without_the_kernel() -> None:
    keeps, pages = _pages_of_second_round()
    assert keeps == "True"
    assert pages < 100


@glibc_only
def test_settings_in_the_environment_win() -> None:
    keeps, pages = _pages_of_second_round(MALLOC_ARENA_MAX="8")
    assert keeps == "False"
    assert pages > 1000  # 192 MiB of pages, of whichever size, were given back and asked for again
