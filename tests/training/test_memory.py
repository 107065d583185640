"""How malloc finds the buffers of a step."""

import os
import platform
import subprocess
import sys

import pytest


def _run(program, settings):
    """The words that a program prints in a process with these settings and no others of malloc."""
    own = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES" and name[:7] != "MALLOC_"}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=own | settings, capture_output=True, text=True, check=True).stdout.split()


# Blocks too large for the arena of a thread, allocated and freed in a thread that starts after the settings.
_ALLOCATE_TWICE = """
import ctypes, resource, threading
from musicvae_jax.training.memory import keep_freed_memory

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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are those of glibc")
@pytest.mark.parametrize("settings", [{}, {"MALLOC_ARENA_MAX": "8"}])
def test_freed_memory_is_used_again_without_the_kernel_unless_the_environment_has_settings(settings):
    keeps, pages = _run(_ALLOCATE_TWICE, settings)
    assert keeps == str(not settings)
    assert int(pages) > 1000 if settings else int(pages) < 100  # 192 MiB of pages, of whatever size


# Every other block of a row is freed: gaps of 3,000 bytes. Prints how many are set aside, where a block of 2,000 bytes
# comes from before and after, and whether the blocks that stayed are as they were.
_GAPS = """
import ctypes
from musicvae_jax.training.memory import keep_freed_memory, set_aside_gaps

libc = ctypes.CDLL(None)
libc.malloc.argtypes, libc.malloc.restype, libc.free.argtypes = [ctypes.c_size_t], ctypes.c_size_t, [ctypes.c_size_t]

keep_freed_memory()
row = [libc.malloc(3000) for _ in range(20000)]
for number, block in enumerate(row):
    ctypes.memset(block, number % 251, 3000)
for block in row[::2]:
    libc.free(block)

def lies_in_a_gap():
    block = libc.malloc(2000)
    libc.free(block)
    return min(row) <= block < max(row)

before = lies_in_a_gap()
number = set_aside_gaps()
print(number, before, lies_in_a_gap())
print(all(ctypes.string_at(row[n], 3000) == bytes([n % 251]) * 3000 for n in range(1, len(row), 2)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are those of glibc")
@pytest.mark.parametrize("settings", [{}, {"MALLOC_ARENA_MAX": "8"}])
def test_gaps_are_set_aside_if_freed_memory_is_kept_and_nothing_else_changes(settings):
    number, before, after, same = _run(_GAPS, settings)
    assert before == "True"
    assert same == "True"
    if settings:
        assert number == "0"
    else:
        assert int(number) >= 10_000
        assert after == "False"
