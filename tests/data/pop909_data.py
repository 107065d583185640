"""POP909's two repositories: the folder of the real ones, if they are there, and made songs in their layout."""

import os
from pathlib import Path

import numpy as np
import pytest
import symusic

from musicvae_jax.data.datasets.pop909_songs import CORRECTED, ORIGINAL

FOLDER = Path(os.environ.get("MUSICVAE_JAX_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))
needs_pop909 = pytest.mark.skipif(
    not all((FOLDER / name).is_dir() for name in (ORIGINAL, CORRECTED)),
    reason=f"POP909 is not in {FOLDER}; MUSICVAE_JAX_DATA names another folder",
)


def write_song(folder: Path, number: str, shift: int, seed: int, corrected_name: str = "") -> None:
    """Writes the two files of a made song; the notes of the corrected file are `shift` ticks later, on the grid."""
    rng = np.random.default_rng(seed)
    performed, barred = symusic.Score(480), symusic.Score(480)
    performed.tempos.append(symusic.Tempo(0, 72.0))
    performed.time_signatures.append(symusic.TimeSignature(0, 1, 4))
    barred.time_signatures.append(symusic.TimeSignature(0, 3, 4))
    barred.key_signatures.append(symusic.KeySignature(0, 2, 0))
    merged = []
    for name, low in (("MELODY", 70), ("BRIDGE", 60), ("PIANO", 40)):
        track = symusic.Track(name=name)
        for beat in range(48):
            pitch, velocity = int(rng.integers(low, low + 10)), int(rng.integers(40, 120))
            track.notes.append(symusic.Note(960 + 480 * beat, 500, pitch, velocity))  # sounds into the next beat
            merged.append(symusic.Note(960 + 480 * beat + shift, 480, pitch, velocity))
        performed.tracks.append(track)
    chords = symusic.Track(name="chords")
    for measure in range(2, 18):
        chords.notes.extend([symusic.Note(1440 * measure, 1440, pitch, 90) for pitch in (57, 62, 66)])
    score = symusic.Track(name="piano")
    score.notes.extend(merged)
    barred.tracks.extend([score, chords])
    first = folder / ORIGINAL / "POP909" / number / f"{number}.mid"
    (first.parent / "versions").mkdir(parents=True)
    performed.dump_midi(first)
    performed.dump_midi(first.parent / "versions" / f"{number}-v1.mid")
    second = folder / CORRECTED / "POP909_processed" / (corrected_name or f"{number}.mid")
    second.parent.mkdir(parents=True, exist_ok=True)
    barred.dump_midi(second)
