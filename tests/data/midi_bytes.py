"""Whole folders of MIDI files, made fast."""

from pathlib import Path

import numpy as np


def midi_bytes(seed: int, num_notes: int) -> bytes:
    """A melody of eighths in 4/4, of random pitches, as a MIDI file."""
    pitches = np.random.default_rng(seed).integers(48, 84, num_notes)
    notes = b"".join(b"\x00\x90%c\x50\x81\x70\x80%c\x00" % (pitch, pitch) for pitch in pitches.tolist())
    track = notes + b"\x00\xff\x2f\x00"
    header = b"MThd" + (6).to_bytes(4) + (0).to_bytes(2) + (1).to_bytes(2) + (480).to_bytes(2)
    return header + b"MTrk" + len(track).to_bytes(4) + track


def make_folder(folder: Path, num_files: int, num_notes: int) -> Path:
    """That many different files, a thousand to a subfolder."""
    for number in range(num_files):
        path = folder / f"{number // 1000:03}" / f"{number:06}.mid"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(midi_bytes(number, num_notes))
    return folder
