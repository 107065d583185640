"""From many notes at once to one melody: is it monophonic, which track, or the skyline."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from musicvae_jax.codec.check import place_of
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.score import DURATION, ONSET, TRACK, Part, Score


def part_of(score: Score, track: int) -> Part:
    """What plays a track; a track beyond the score's parts is a piano's."""
    return score.parts[track] if track < len(score.parts) else Part()


def known_parts(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The parts as `Score.parts` holds them: without the nameless pianos at the end, which go without saying."""
    known = list(parts)
    while known and known[-1] == Part():
        known.pop()
    return tuple(known)


def find_polyphony(notes: np.ndarray) -> int | None:
    """The first note that sounds together with others, or None in a melody.

    A melody has one onset at a time, and a note may sound into the next onset (legato) but not into the one after.

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
    """One melody out of a score, or all of it: a melody is track 0, with the part it had; a skyline is a piano's.

    Args:
        score: all tracks.
        track: ``""`` takes the score as it is; ``"auto"`` takes a score that is a melody already and refuses others;
            ``"skyline"`` takes the highest note at each onset of all tracks and cuts it at the next onset; a number
            takes that track, and so does the name of a part, in any case, where one part alone has it.

    Raises:
        MusicError: "polyphonic", listing the tracks, or "track" when there is no such track or word.
    """
    if track == "":
        return score
    present, counts = np.unique(score.notes[:, TRACK], return_counts=True)
    listing = ", ".join(
        f"{number} {part_of(score, number).name}".rstrip() + f" ({count} notes)"
        for number, count in zip(present.tolist(), counts.tolist(), strict=True)
    )
    if track == "auto":
        found = find_polyphony(score.notes)
        if len(present) > 1:
            detail = f"{len(present)} tracks have notes: {listing}; pass --track N or --track skyline"
            raise MusicError(score.source, "tracks", "polyphonic", detail)
        if found is not None:
            place = place_of(score, int(score.notes[found, ONSET]))
            detail = f"notes sound together in the only track, {listing}; pass --track skyline"
            raise MusicError(score.source, place, "polyphonic", detail)
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
    found = find_polyphony(chosen)
    if found is not None:
        place = place_of(score, int(chosen[found, ONSET]))
        detail = f"notes sound together in track {track}; tracks: {listing}; pass another --track N or --track skyline"
        raise MusicError(score.source, place, "polyphonic", detail)
    return dataclasses.replace(score, notes=chosen, parts=known_parts([part_of(score, int(track))]))


def _skyline(notes: np.ndarray) -> np.ndarray:
    """The highest note at each onset, cut at the next onset."""
    last = np.ones(len(notes), bool)  # sorted by (onset, pitch): the last of an onset is its highest
    last[:-1] = notes[1:, ONSET] != notes[:-1, ONSET]
    top = notes[last].copy()
    room = np.diff(top[:, ONSET].astype(np.int64), append=np.iinfo(np.int32).max)
    top[:, DURATION] = np.minimum(top[:, DURATION], room)
    top[:, TRACK] = 0
    return top
