"""Damaged music files, made from good ones, and the outcome of reading them.

``python -m tests.codec.damage FOLDER`` reads each file of a folder, prints each outcome as a line of JSON, and ends
itself if one file takes over `SECONDS` of CPU time. It is a process of its own, so that the parent can see a crash.
"""

import contextlib
import importlib.util
import itertools
import json
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from musicvae_jax.codec import MelodyCodec, MusicError, Part, Score, check_score, read_whole, select_track, write_abc
from musicvae_jax.codec.midi import write_midi
from musicvae_jax.codec.musicxml_file import pack
from musicvae_jax.codec.musicxml_write import musicxml_text
from tests.codec import damage_abc, damage_midi, damage_xml
from tests.codec.music import score_of

SECONDS = 5.0
MEGABYTES = 500
FOLDER = None  # stands for the content of a folder

_SPECIAL = {"mid": damage_midi.KINDS, "abc": damage_abc.KINDS, "musicxml": damage_xml.KINDS, "mxl": damage_xml.ARCHIVES}


class Damaged(NamedTuple):
    """A file that must be refused by name or read as a valid score."""

    kind: str  # of damage, e.g. "midi truncated"
    name: str
    content: bytes | None


def good_files() -> dict[str, list[bytes]]:
    """Undamaged files of each suffix: some written by this package, some of music21."""
    spec = importlib.util.find_spec("music21")
    assert spec and spec.origin
    root = Path(spec.origin).parent
    melody = [(240 * step, 240, 60 + 5 * step % 12, 60 + step, 0) for step in range(32)]
    bass = [(960 * step, 960, 40 + step, 90, 1) for step in range(8)]
    parts = (Part("Flûte", 73), Part("Bass", 43))
    metres = [(1920 * measure, 4, 4) for measure in range(4)]
    score = score_of(sorted(melody + bass, key=lambda row: (row[0], row[2])), metres, fifths=2, title="T", parts=parts)
    with tempfile.TemporaryDirectory() as folder:
        write_midi(score, Path(folder) / "a.mid")
        ours = (Path(folder) / "a.mid").read_bytes()
    midi = [root / "midi" / "testPrimitive" / f"test{number:02}.mid" for number in (1, 5, 9)]
    book = (root / "corpus" / "airdsAirs" / "book1.abc").read_text("latin-1")
    tunes = [f"X:{tune}".encode() for tune in book.split("\nX:")[1:4]]
    chorale = root / "corpus" / "bach" / "bwv66.6.mxl"
    xml = [root / "corpus" / "demos" / name for name in ("multiple-verses.xml", "two-voices.xml")]
    text = musicxml_text(score)
    return {
        "mid": [ours, *(path.read_bytes() for path in midi)],
        "abc": [write_abc(score_of(melody, metres)).encode(), *tunes],
        "musicxml": [text, *(path.read_bytes() for path in xml)],
        "mxl": [pack(text), chorale.read_bytes()],
    }


def damaged_files(seed: int = 0, most: dict[str, int] | None = None) -> Iterator[Damaged]:
    """Over 700 files with unique names, a function of the seed; per suffix at most `most` of each kind of damage."""
    good = good_files()
    for suffix, files in good.items():
        rng = random.Random(f"{seed} {suffix}")
        kinds: dict[str, Iterator[bytes | None]] = {
            "truncated": _truncated(files, rng),
            "bits flipped": _flipped(files, rng),
            "bytes moved": _moved(files, rng),
            "random bytes": iter([rng.randbytes(size) for size in (1, 13, 300, 50_000)]),
            "empty": iter([b"", b"\0" * 100, b" \r\n\t"]),
            "a folder": iter([FOLDER]),
            "another kind of file": _other(good, suffix),
        }
        kinds |= {kind: make() for kind, make in _SPECIAL[suffix].items()}
        for kind, contents in kinds.items():
            for number, content in enumerate(itertools.islice(contents, most[suffix] if most else None)):
                yield Damaged(f"{suffix} {kind}", f"{suffix} {kind} {number}.{suffix}".replace(" ", "_"), content)


def _truncated(files: list[bytes], rng: random.Random) -> Iterator[bytes]:
    for data in files:
        for _ in range(7):
            yield data[: rng.randrange(len(data))]
        yield data[:-1]


def _flipped(files: list[bytes], rng: random.Random) -> Iterator[bytes]:
    for data in files:
        for flips in (1, 1, 2, 3, 5, 10, 30, 100):
            broken = bytearray(data)
            for _ in range(flips):
                broken[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            yield bytes(broken)


def _moved(files: list[bytes], rng: random.Random) -> Iterator[bytes]:
    """Parts cut out, doubled, and moved."""
    for data in files:
        start, stop, target = (rng.randrange(len(data)) for _ in range(3))
        start, stop = min(start, stop), max(start, stop)
        yield data[:start] + data[stop:]
        yield data[:stop] + data[start:]
        rest = data[:start] + data[stop:]
        yield rest[:target] + data[start:stop] + rest[target:]


def _other(good: dict[str, list[bytes]], suffix: str) -> Iterator[bytes]:
    for other, files in good.items():
        if other != suffix:
            yield files[0]
    yield "Dies sind nur Wörter.\n".encode() * 20
    yield b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def outcome_of(path: Path) -> str:
    """ "read" if valid scores were read, the reason of the refusal, or "WRONG: ..."; scores are also encoded."""
    refusals: list[MusicError] = []
    try:
        scores = read_whole(path, refusals, drums=True, sustain=True)
    except MusicError as error:
        refusals.append(error)
        scores = []
    for refusal in refusals:
        if not refusal.source.startswith(str(path)) or not refusal.place or not refusal.detail:
            return f"WRONG: refused without source, place or detail: {refusal}"
    for score in scores:
        check_score(score)
        _check_more(score)
        try:
            MelodyCodec().encode(select_track(score, "skyline"))
        except MusicError:
            continue
    return "read" if scores else refusals[0].reason if refusals else "WRONG: nothing read, nothing refused"


def _check_more(score: Score) -> None:
    """Checks chords, phrase ends, parts and tempo against the description of `Score`."""
    onset, duration, root, classes = score.chords.astype(int).T
    assert (np.diff(onset) > 0).all() and (duration > 0).all() and ((onset >= 0) & (onset < score.end)).all()
    assert ((root >= -1) & (root < 12)).all() and ((classes > 0) & (classes < 1 << 12)).all()
    assert (np.diff(score.phrase_ends) > 0).all() and ((score.phrase_ends > 0) & (score.phrase_ends <= score.end)).all()
    assert all(0 <= part.program <= 127 for part in score.parts)
    assert 0 < score.tempo < np.inf and (score.fifths is None or -7 <= score.fifths <= 7)


def main(folder: Path) -> None:
    """Reads every file of a folder; see the top of this file."""
    resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30,) * 2)  # protects the machine; the parent checks MEGABYTES
    paths = sorted(folder.iterdir())
    for path in paths:
        print(json.dumps({"start": path.name}), flush=True)
        _reset_peak()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # its signal is not handled and ends the process
        before = time.process_time()
        try:
            outcome = outcome_of(path)
        except Exception as error:  # noqa: BLE001 (the sweep looks for these)
            outcome = f"WRONG: {type(error).__name__}: {error}"[:300]
        seconds = time.process_time() - before
        signal.setitimer(signal.ITIMER_PROF, 0)
        result = {"name": path.name, "outcome": outcome, "seconds": seconds, "megabytes": _peak()}
        print(json.dumps(result), flush=True)


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Peak memory of this process since the last reset, in MB."""
    # getrusage would include the parent's peak.
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**20  # bytes on macOS
    return int(status.read_text().split("VmHWM:")[1].split()[0]) // 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]))
