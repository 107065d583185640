"""What of a checkpoint is on disk when writing it went wrong."""

import os
import subprocess
import sys
from pathlib import Path

from musicvae_jax.training.checkpoint import Checkpoints
from tests.training.runs import make_state

FULL_DISK = """
import sys, resource
from pathlib import Path
from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.workdir import WorkdirError
from tests.training.runs import make_state
checkpoints = Checkpoints(Path(sys.argv[1]))
checkpoints.save("latest", 1, make_state(), {}, {})
checkpoints.wait()
resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
try:
    checkpoints.save("latest", 2, make_state(), {}, {})
    checkpoints.wait()
except WorkdirError as error:
    print(error)
    sys.exit(7)
"""


def test_a_full_disk_is_named_and_spares_the_checkpoint_before(tmp_path):
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 7, result.stderr
    assert "cannot write the checkpoint of step 2" in result.stdout and "MiB free" in result.stdout
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.latest_step() == 1
    checkpoints.restore(make_state())


def test_only_the_run_that_trains_deletes_what_was_left_half_written(tmp_path):
    """A reader must not: it would delete what the run is writing."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("latest", 1, make_state(), {}, {})
    checkpoints.close()
    half = tmp_path / "checkpoints" / "latest" / "2.orbax-checkpoint-tmp-0"
    half.mkdir()
    for before, clean in ((1, False), (3, True)):
        checkpoints = Checkpoints(tmp_path, clean=clean)
        assert checkpoints.latest_step() == before
        checkpoints.save("latest", before + 2, make_state(), {}, {})
        checkpoints.close()
        assert half.exists() != clean
