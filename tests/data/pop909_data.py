"""Where POP909's two repositories are, for the tests that need them: skipped where they are not."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("MUSICVAE_JAX_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))
needs_pop909 = pytest.mark.skipif(
    not all((FOLDER / name).is_dir() for name in ("POP909-Dataset", "POP909-CL-Dataset")),
    reason=f"POP909 is not in {FOLDER}; MUSICVAE_JAX_DATA names another folder",
)
