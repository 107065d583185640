"""Folders of music, and what preparing them leaves."""

import json
from pathlib import Path

from musicvae_jax.codec import write_abc, write_midi, write_musicxml
from tests.data.melodies import random_melody


def make_music(folder: Path, first: int = 0, number: int = 20) -> Path:
    """So many files: MIDI in a folder in a folder, some MusicXML and ABC, all different."""
    for seed in range(first, first + number):
        melody = random_melody(seed, 6 + seed % 5)
        kind = {0: "musicxml", 1: "abc"}.get(seed % 5, "mid")
        path = folder / "deep" / f"{seed % 3}" / f"piece {seed:03}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "mid":
            write_midi(melody, path)
        elif kind == "abc":
            path.write_text(write_abc(melody))
        else:
            write_musicxml(melody, path)
    return folder


def records_of(builder) -> dict[str, dict]:
    """id -> (split and record) of everything prepared."""
    found = {}
    for split in builder.info.splits:
        for record in builder.as_data_source(split):
            found[record["id"].decode()] = {"split": split, **record}
    return found


def refusals_of(builder) -> dict[str, str]:
    entries = json.loads(Path(builder.data_path, "refusals.json").read_text("utf-8"))
    assert sum(builder.info.metadata["refused"].values()) == len(entries)
    return {entry["file"]: entry["reason"] for entry in entries}
