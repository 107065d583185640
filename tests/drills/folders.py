"""Names that a file may have, disks that are full, and archives that are not what was asked for."""

import os
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from musicvae_jax.analysis.audio import write_wav
from musicvae_jax.analysis.page import save_figure
from musicvae_jax.codec import write_midi, write_musicxml, write_score
from musicvae_jax.config import UserError
from musicvae_jax.data.datasets import pop909
from musicvae_jax.data.datasets.pop909_songs import ORIGINAL
from musicvae_jax.data.prepare import prepare
from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.metrics import MetricWriter
from musicvae_jax.training.workdir import write_text
from tests.data.folder_music import make_many_files, records_of
from tests.data.melodies import random_melody
from tests.disk import largest_file
from tests.drills.held import Held, attempt
from tests.training.runs import make_state

NAMES: tuple[bytes, ...] = (
    *(b"M\xfcller.mid", b"\xff\xfe.mid", b"\\xff.mid", b"\xff.mid", b"\xed\xa0\x80.mid", b"\xc3\x28.mid"),
    *(b"x" * 251 + b".mid", "é".encode() * 125 + b".mid", b"a\nb.mid", b"a\tb.mid", b"\x01\x7f.mid", b"\r.mid"),
    *(b"-rf.mid", b"--help.mid", b"~.mid", b"$(x).mid", b"`x`.mid", b"%s%d.mid", b"*.mid", b"?.mid", b"'\".mid"),
    *(b" .mid", b"a b .mid", b"a.MID", b"a.mid.mid", b"..mid", b".hidden.mid", b"#2.mid", b"a#2.mid", b"CON.mid"),
    *("\u202egnp.mid".encode(), "\u200b.mid".encode(), "\U0001f3b5.mid".encode(), "ℵ٤.mid".encode(), b"{0}[1].mid"),
)


def make_names(folder: Path, seed: int, number: int) -> list[bytes]:
    """Different pieces, each under another name; the first names are listed, the others drawn."""
    rng, names = random.Random(f"names {seed}"), dict.fromkeys(NAMES[:number])
    while len(names) < number:
        drawn = bytes(rng.choice((rng.randrange(1, 256), rng.randrange(32, 127))) for _ in range(rng.randint(1, 60)))
        names[drawn.replace(b"/", b"_") + rng.choice((b".mid", b".MIDI", b".midi"))] = None
    made = make_many_files(folder / "made", number, 32)
    music = folder / "music"
    music.mkdir()
    for name, path in zip(names, sorted(made.rglob("*.mid")), strict=True):
        path.rename(music / os.fsdecode(name))
    return list(names)


def hostile_names(folder: Path, seed: int, number: int) -> Iterator[Held]:
    """A folder of such names is prepared, and every piece is in the data set."""
    names = make_names(folder, seed, number)
    found: list[int] = []

    def read() -> str:
        builder = prepare("midi_folder", str(folder / "data"), path=str(folder / "music"), num_processes=1)
        found.append(len(records_of(builder)) + sum(builder.info.metadata["refused"].values()))
        return "read"

    result = attempt("names in prepare", "", read)
    whole = result.held and found[0] == number
    for name in names:
        yield result._replace(name=repr(name), held=whole, listed=name in NAMES)


def _save_checkpoint(folder: Path) -> None:
    checkpoints = Checkpoints(folder, clean=True)
    checkpoints.save("latest", 1, make_state(1 + len(folder.name)), {}, {})
    checkpoints.wait()


def _write_metrics(folder: Path) -> None:
    writer = MetricWriter(folder)
    writer.write(1, {"loss": 1.0})
    writer.close()


def _draw(path: Path) -> None:
    from matplotlib.figure import Figure

    save_figure(Figure(), path)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "checkpoint": _save_checkpoint,
    "metrics": _write_metrics,
    "small file": lambda folder: write_text(folder / "a.json", "x" * 3000),
    "MIDI": lambda folder: write_midi(random_melody(0, 30), folder / "a.mid"),
    "MusicXML": lambda folder: write_musicxml(random_melody(0, 30), folder / "a.mxl"),
    "ABC": lambda folder: write_score(random_melody(0, 30), folder / "a.abc"),
    "sound": lambda folder: write_wav(np.zeros((1, 9000), np.float32), folder / "a.wav"),
    "picture": lambda folder: _draw(folder / "a.png"),
    "data set": lambda folder: prepare("midi_folder", str(folder / "data"), path=str(folder / "music")),
}


def full_disks(folder: Path, seed: int, number: int) -> Iterator[Held]:
    """Everything that writes meets a full disk: one error, and no file that is half-written."""
    jnp.zeros(1).block_until_ready()  # what JAX writes once, it has written
    for count in range(number):
        rng, place = random.Random(f"disk {seed} {count}"), folder / f"{count}"
        name = list(WRITERS)[count % len(WRITERS)]
        size = rng.choice((0, 1, 40, 200, 1000, 4000, 20_000))
        make_many_files(place / "music", 16 if name == "data set" else 0, 100)
        place.mkdir(exist_ok=True)

        def write(name: str = name, place: Path = place, size: int = size) -> str:
            try:
                with largest_file(size):
                    WRITERS[name](place)
            except (UserError, OSError):
                left = [path for path in place.rglob("*") if path.is_file() and "music" not in path.parts]
                torn = [path for path in left if path.name not in {".lock", "metrics.jsonl"}]
                assert name == "checkpoint" or not torn, f"half-written: {torn}"  # its next run removes what is left
                raise
            return "written"

        yield attempt("full disks", f"{count}, {name} in {size} bytes", write)


def wrong_archives(folder: Path, seed: int, number: int) -> Iterator[Held]:
    """A download that is damaged, hostile or of other songs is refused, removed, and nothing of it stays."""
    for count in range(number):
        rng, place = random.Random(f"archive {seed} {count}"), folder / f"{count}"
        place.mkdir()
        archive = place / "songs.zip"
        names = ("r/POP909/001/001.mid", "../out.mid", "/tmp/out.mid", "r/a.mid", "s/b.mid", "r/" + "x" * 300 + ".mid")
        method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
        with zipfile.ZipFile(archive, "w", method) as file:
            for name in rng.sample(names, rng.randint(0, 4)):
                file.writestr(name, rng.choice((b"MThd", b"\0" * 2**22, rng.randbytes(300))))
        data = bytearray(archive.read_bytes())
        for _ in range(rng.choice((0, 1, 5, 30))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        archive.write_bytes(bytes(data[: rng.choice((len(data), len(data), rng.randrange(len(data) + 1)))]))

        def unpack(archive: Path = archive) -> str:
            try:
                pop909._unpack(ORIGINAL, archive)
            except (UserError, OSError):
                assert not list(archive.parent.iterdir()), f"it left {list(archive.parent.iterdir())}"
                raise
            raise AssertionError("it was taken")

        yield attempt("wrong downloads", f"{count}", unpack)


FOLDERS: dict[str, Callable[[Path, int, int], Iterator[Held]]] = {
    "names": hostile_names,
    "disks": full_disks,
    "archives": wrong_archives,
}
