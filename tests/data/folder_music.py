"""Folders of music for tests, and what a prepared data set of a folder holds."""

import json
from pathlib import Path

import numpy as np

from musicvae_jax.codec import write_abc, write_midi, write_musicxml
from tests.data.melodies import random_melody


def make_music(folder: Path, first: int = 0, number: int = 20) -> Path:
    """Writes different pieces, numbered from `first`: MIDI, some MusicXML and ABC, two folders deep."""
    for seed in range(first, first + number):
        melody = random_melody(seed, 6 + seed % 5)
        suffix = {0: "musicxml", 1: "abc"}.get(seed % 5, "mid")
        path = folder / "deep" / f"{seed % 3}" / f"piece {seed:03}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == "mid":
            write_midi(melody, path)
        elif suffix == "abc":
            path.write_text(write_abc(melody))
        else:
            write_musicxml(melody, path)
    return folder


def make_many_files(folder: Path, number: int, num_notes: int) -> Path:
    """Writes different MIDI files fast, a thousand per subfolder."""
    for seed in range(number):
        path = folder / f"{seed // 1000:03}" / f"{seed:06}.mid"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_midi_bytes(seed, num_notes))
    return folder


def _midi_bytes(seed: int, num_notes: int) -> bytes:
    """A MIDI file of eighths with random pitches."""
    pitches = np.random.default_rng(seed).integers(48, 84, num_notes)
    notes = b"".join(b"\x00\x90%c\x50\x81\x70\x80%c\x00" % (pitch, pitch) for pitch in pitches.tolist())
    track = notes + b"\x00\xff\x2f\x00"
    header = b"MThd" + (6).to_bytes(4) + (0).to_bytes(2) + (1).to_bytes(2) + (480).to_bytes(2)
    return header + b"MTrk" + len(track).to_bytes(4) + track


def records_of(builder) -> dict[str, dict]:
    """id -> record, with its split, of all splits."""
    found = {}
    for split in builder.info.splits:
        for record in builder.as_data_source(split):
            found[record["id"].decode()] = {"split": split, **record}
    return found


def refusals_of(builder) -> dict[str, str]:
    """file -> reason."""
    entries = json.loads(Path(builder.data_path, "refusals.json").read_text("utf-8"))
    assert sum(builder.info.metadata["refused"].values()) == len(entries)
    return {entry["file"]: entry["reason"] for entry in entries}
