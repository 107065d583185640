"""Tracks: what plays them, and how one melody is chosen out of several."""

import dataclasses
import re
from collections.abc import Iterable

import numpy as np

from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.score import DURATION, ONSET, TRACK, Part, Score

# General MIDI programs. The first word found in a name counts: "bass clarinet" is a clarinet, "Bass" a voice.
_PROGRAMS = {
    "piccolo": 72, "flute": 73, "flauto": 73, "recorder": 74, "oboe": 68, "english horn": 69, "clarinet": 71,
    "bassoon": 70, "fagott": 70, "horn": 60, "corno": 60, "trumpet": 56, "tromba": 56, "trombone": 57, "tuba": 58,
    "saxophone": 65, "timpani": 47, "harp": 46, "harpsichord": 6, "cembalo": 6, "celesta": 8, "organ": 19,
    "guitar": 24, "lute": 24, "violino": 40, "violin": 40, "violoncello": 42, "cello": 42, "viola": 41,
    "contrabass": 43, "double bass": 43, "continuo": 6, "piano": 0, "soprano": 52, "alto": 52, "tenor": 52,
    "bass": 52, "voice": 52, "choir": 52, "vocal": 52,
}  # fmt: skip


def program_of(name: str) -> int:
    """The program of a named instrument or voice; 0 (a piano) for an unknown name."""
    name = name.lower()
    return next((program for word, program in _PROGRAMS.items() if re.search(rf"\b{word}s?\b", name)), 0)


def part_of(score: Score, track: int) -> Part:
    """The part of a track; a track without one is a piano."""
    return score.parts[track] if track < len(score.parts) else Part()


def known_parts(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The parts without nameless pianos at the end, as `Score.parts` holds them."""
    known = list(parts)
    while known and known[-1] == Part():
        known.pop()
    return tuple(known)


def find_polyphony(notes: np.ndarray) -> int | None:
    """The first note that sounds together with others; None in a melody.

    A melody has one onset at a time; a note may last beyond the next onset (legato), but not beyond the one after.

    Args:
        notes: int[note, 5], sorted by onset.
    """
    onset = notes[:, ONSET].astype(np.int64)
    end = onset + notes[:, DURATION]
    together = np.zeros(len(notes), bool)
    together[:-1] |= onset[:-1] == onset[1:]
    together[:-2] |= end[:-2] > onset[2:]
    return int(together.argmax()) if together.any() else None


def select_track(score: Score, track: str | int = "auto") -> Score:
    """One melody of a score, as track 0.

    Args:
        score: all tracks.
        track: ``""`` keeps the whole score; ``"auto"`` takes a score that is a melody and refuses others;
            ``"skyline"`` takes the highest note at each onset, cut at the next onset; a number takes that track; the
            name of exactly one part, in any case, takes its track.

    Raises:
        MusicError: "polyphonic", with the list of tracks, or "track" for an unknown track.
    """
    if track == "":
        return score
    present, counts = np.unique(score.notes[:, TRACK], return_counts=True)
    listing = ", ".join(
        f"{number} {part_of(score, number).name}".rstrip() + f" ({count} notes)"
        for number, count in zip(present.tolist(), counts.tolist(), strict=True)
    )
    if track == "auto":
        if len(present) > 1:
            allowed = "one of them (--track N), or the highest notes (--track skyline)"
            detail = f"{len(present)} tracks have notes: {listing}; allowed: {allowed}"
            raise MusicError(score.source, "tracks", "polyphonic", detail)
        _check_melody(score, score.notes, f"in the only track, {listing}; allowed: skyline (--track skyline)")
        if not present.any():
            return score
        track = int(present[0])
    if track == "skyline":
        return dataclasses.replace(score, notes=_skyline(score.notes), parts=())
    if isinstance(track, str) and track.isdecimal():
        track = int(track)
    if isinstance(track, str):
        named = [number for number, part in enumerate(score.parts) if part.name.casefold() == track.casefold()]
        track = named[0] if len(named) == 1 else track
    if isinstance(track, str) or track not in present:
        detail = f"{track!r}; allowed: auto, skyline, or a track with notes: {listing or 'none has any'}"
        raise MusicError(score.source, "tracks", "track", detail)
    chosen = score.notes[score.notes[:, TRACK] == track].copy()
    chosen[:, TRACK] = 0
    _check_melody(
        score, chosen, f"in track {track}; tracks: {listing}; allowed: another number, or skyline (--track skyline)"
    )
    return dataclasses.replace(score, notes=chosen, parts=known_parts([part_of(score, int(track))]))


def _check_melody(score: Score, notes: np.ndarray, where: str) -> None:
    found = find_polyphony(notes)
    if found is not None:
        place = score.measure_at(int(notes[found, ONSET]))
        raise MusicError(score.source, place, "polyphonic", f"notes sound together {where}")


def _skyline(notes: np.ndarray) -> np.ndarray:
    highest = np.ones(len(notes), bool)  # sorted by (onset, pitch): the last note of an onset is the highest
    highest[:-1] = notes[1:, ONSET] != notes[:-1, ONSET]
    top = notes[highest].copy()
    room = np.diff(top[:, ONSET].astype(np.int64), append=np.iinfo(np.int32).max)
    top[:, DURATION] = np.minimum(top[:, DURATION], room)
    top[:, TRACK] = 0
    return top
