"""What the preparation of a folder survives."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from musicvae_jax.data.datasets import midi_folder
from musicvae_jax.data.datasets.folder_files import Item
from musicvae_jax.data.datasets.folder_pieces import Outcome, read_item
from tests.data.folder_music import make_music, records_of, refusals_of
from tests.data.midi_bytes import make_folder

ROOT = Path(__file__).parents[2]
PREPARE = (
    "import sys; from musicvae_jax.data.datasets import prepare as p; p('midi_folder', sys.argv[1], path=sys.argv[2])"
)


def misfortune(item: Item) -> list[Outcome]:
    """Reads an item, but for two."""
    if "002" in item.name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "003" in item.name:
        time.sleep(60)
    return read_item(item)


def test_a_file_that_kills_or_stops_its_reader_costs_itself(tmp_path, ready, monkeypatch) -> None:
    folder = make_music(tmp_path / "music", number=8)
    monkeypatch.setattr(midi_folder, "read_item", misfortune)
    monkeypatch.setattr(midi_folder, "TIMEOUT", 1.0)
    builder = ready(folder)
    assert refusals_of(builder) == {"deep/2/piece 002.mid": "crashed", "deep/0/piece 003.mid": "timeout"}
    assert len(records_of(builder)) == 6


def test_a_killed_preparation_starts_again(tmp_path, ready) -> None:
    folder = make_folder(tmp_path / "music", 400, 64)
    command = [sys.executable, "-c", PREPARE, tmp_path / "data", folder]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True) as process:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in tmp_path.glob("data/**/*.spool")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    (place,) = (tmp_path / "data" / "midi_folder").iterdir()
    assert [path.name.startswith("incomplete") for path in place.iterdir() if path.is_dir()] == [True]
    builder = ready(folder)
    assert [path.name for path in place.iterdir() if path.is_dir()] == ["1.0.0"]
    assert not list(place.glob("**/*.spool")) and len(records_of(builder)) == 400
