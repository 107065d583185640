"""The folk tunes, prepared once for all tests that need real music."""

import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest

from musicvae_jax.data.datasets.folk_tunes import FolkTunes
from musicvae_jax.data.prepare import prepare

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "folk_tunes"
KEEP_SECONDS = 24 * 3600


@pytest.fixture(scope="session")
def folk_data_dir() -> str:
    """A ``data_dir`` that holds the folk tunes as the code of today prepares them.

    Kept between runs below a name made of the builder's version and of the sources that decide what it writes, so that
    a test never sees records of other code.
    """
    digest = hashlib.sha256()
    for folder in ("codec", "data"):
        for path in sorted((ROOT / "musicvae_jax" / folder).rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    data_dir = CACHE / f"{FolkTunes.VERSION}-{digest.hexdigest()[:16]}"
    prepare("folk_tunes", str(data_dir))
    os.utime(data_dir)
    for other in CACHE.iterdir():
        if (
            other.stat().st_mtime < time.time() - KEEP_SECONDS
        ):  # not at once: tests of an edited tree may run beside others
            shutil.rmtree(other, ignore_errors=True)
    return str(data_dir)
