"""The songs of POP909: a song is made of two files, one in each of two repositories.

The original repository has melody, bridge and piano as separate tracks, as played, but its metre is not real. The
corrected one (POP909-CL) has real bars, metre, key and chords, but one track for all notes, moved by a constant number
of ticks. A record has the tracks of the former in the bars of the latter.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import symusic

from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.midi import read_midi
from musicvae_jax.codec.score import DURATION, ONSET, PITCH, TRACK, Part, Score
from musicvae_jax.codec.tracks import part_of, select_track
from musicvae_jax.data.datasets.corpus import Piece, Refusal
from musicvae_jax.data.records import to_record
from musicvae_jax.data.splits import melody_signatures

ORIGINAL, CORRECTED = "POP909-Dataset", "POP909-CL-Dataset"  # folder names of the two repositories
TRACKS = ("melody", "bridge", "piano")
BIN = 20  # ticks: the corrected notes lie on a grid of 24 per quarter
CANDIDATES = 6
MIN_MATCH = 0.9  # a wrong shift matches 6-15 % of the notes, the right one at least 98 %
# Chord qualities, as semitones above the root.
QUALITIES = (
    *((0, 4, 7), (0, 3, 7), (0, 4, 7, 10), (0, 3, 7, 10), (0, 4, 7, 11), (0, 3, 7, 11)),
    *((0, 3, 6), (0, 3, 6, 10), (0, 3, 6, 9), (0, 4, 8), (0, 4, 8, 10), (0, 4, 8, 11)),
    *((0, 4, 7, 9), (0, 3, 7, 9), (0, 5, 7), (0, 2, 7), (0, 5, 7, 10), (0, 2, 7, 10)),
)
# Chords that lack notes. They count only with the root in the bass.
SHELLS = ((0,), (0, 3), (0, 4), (0, 7), (0, 3, 10), (0, 4, 10), (0, 4, 11), (0, 7, 10), (0, 7, 11))


class Song(NamedTuple):
    """The two files of a song; "" if a file is missing."""

    id: str
    original: str
    corrected: str


class Join(NamedTuple):
    """How the tracks fit the bars."""

    shift: int  # ticks to add to the original's onsets
    match: float  # share of the original's notes that the corrected file has at that shift
    bin_shift: int  # the shift before refinement: the middle of its bin


def find_songs(original: Path, corrected: Path) -> list[Song]:
    """All songs of the two repositories, by number. One file name has a space: ``"043 .mid"``."""
    first = {path.stem: str(path) for path in original.glob("POP909/*/*.mid") if path.stem == path.parent.name}
    second = {path.stem.strip(): str(path) for path in corrected.glob("POP909_processed/*.mid")}
    numbers = sorted(first.keys() | second.keys())
    return [Song(f"pop909/{number}", first.get(number, ""), second.get(number, "")) for number in numbers]


def read_song(song: Song) -> Piece | Refusal:
    """The record of a song, with the signatures of its melody."""
    try:
        score, join, note_counts = join_song(song)
        signatures = melody_signatures(select_track(score, TRACKS[0]))
    except MusicError as error:
        return Refusal(song.id, error.reason)
    record = to_record(score, id=song.id, source="POP909", shift=join.shift, match=np.float32(join.match))
    return Piece(record, signatures, note_counts)


def join_song(song: Song) -> tuple[Score, Join, dict[str, int]]:
    """The score of a song, how its files were joined, and its notes: found, and lost by reason.

    Raises:
        MusicError: from `read_midi`; "missing" if a file is missing; "tracks" if the original lacks one of its three
            tracks; "join" if no shift matches `MIN_MATCH` of the notes.
    """
    if not (song.original and song.corrected):
        raise MusicError(song.id, "files", "missing", f"not in {CORRECTED if song.original else ORIGINAL}")
    original, corrected = read_midi(song.original), read_midi(song.corrected)
    names = [part.name.strip().casefold() for part in original.parts]
    if sorted(names) != sorted(TRACKS):
        raise MusicError(song.id, "tracks", "tracks", f"{', '.join(names)}; allowed: {', '.join(TRACKS)}")
    notes = original.notes.astype(np.int64)
    notes[:, TRACK] = np.array([TRACKS.index(name) for name in names])[notes[:, TRACK]]
    # The corrected file has a track of notes, named piano, and one of chords; or chords alone.
    has_notes = part_of(corrected, 0).name.strip().casefold() == TRACKS[2]
    join = find_shift(notes, corrected.notes[corrected.notes[:, TRACK] == (0 if has_notes else -1)])
    if join.match < MIN_MATCH:
        raise MusicError(song.id, "tracks", "join", f"shift {join.shift} matches {join.match:.0%} of the notes")
    notes[:, ONSET] += join.shift
    kept, lost = _clean(notes)
    end = int((kept[:, ONSET] + kept[:, DURATION]).max(initial=0))
    score = dataclasses.replace(
        corrected,  # its measures and key
        notes=kept.astype(np.int32),
        measures=_measures_to(corrected, end),
        tempo=_tempo(song.original),
        title=f"POP909 {song.id.rpartition('/')[2]}",
        source=song.id,
        style="pop",
        parts=tuple(Part(name) for name in TRACKS),
        chords=chord_rows(corrected.notes[corrected.notes[:, TRACK] == (1 if has_notes else 0)]),
    )
    return score, join, {"found": len(notes), **lost}


def find_shift(notes: np.ndarray, others: np.ndarray) -> Join:
    """The constant shift that moves notes onto other notes.

    Each pair of equal pitches votes for the difference of its onsets, in bins of `BIN` ticks. Of the `CANDIDATES` bins
    with most votes, the one whose shift matches most notes wins. The shift is then refined by the median distance of
    the matched notes: the other notes lie on a grid, so all of them may be half a bin away from the bin's middle.
    """
    notes, others = notes.astype(np.int64), others.astype(np.int64)
    votes = [np.zeros(0, np.int64)]
    for pitch in np.unique(notes[:, PITCH]):
        onsets, other_onsets = (array[array[:, PITCH] == pitch, ONSET] for array in (notes, others))
        votes.append((other_onsets[None, :] - onsets[:, None]).reshape(-1))
    bins, counts = np.unique(np.rint(np.concatenate(votes) / BIN).astype(np.int64), return_counts=True)
    best = Join(0, 0.0, 0)
    for candidate in (bins[np.argsort(-counts, kind="stable")[:CANDIDATES]] * BIN).tolist():
        distance = _distance(notes, others, candidate)
        near = np.abs(distance) <= BIN
        match = float(near.mean())
        if match > best.match:
            best = Join(candidate + int(np.median(distance[near])), match, candidate)
    return best


def _distance(notes: np.ndarray, others: np.ndarray, shift: int) -> np.ndarray:
    """Ticks from each shifted note to the nearest other note of its pitch, int64[note]; huge if there is none."""
    apart = 1 << 40  # one number line for all pitches, with each pitch far from the next
    line = np.sort(others[:, PITCH] * apart + others[:, ONSET])
    points = notes[:, PITCH] * apart + notes[:, ONSET] + shift
    after = np.searchsorted(line, points)
    left, right = line[(after - 1).clip(0)] - points, line[after.clip(0, len(line) - 1)] - points
    return np.where(np.abs(left) <= np.abs(right), left, right)


def _clean(notes: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """Sorts notes and makes the melody one voice: the highest note of each onset, cut at the next onset."""
    early = notes[:, ONSET] < 0
    lost = {"before_start": int(early.sum())}
    notes = notes[~early]
    notes = notes[np.lexsort(notes[:, [TRACK, PITCH, ONSET]].T)]
    (melody,) = np.nonzero(notes[:, TRACK] == 0)
    onset = notes[melody, ONSET]
    lower = np.append(onset[1:] == onset[:-1], False)[: len(melody)]
    lost["below_melody"] = int(lower.sum())
    voice = melody[~lower]
    room = np.diff(notes[voice, ONSET], append=np.iinfo(np.int32).max)
    lost["melody_cut"] = int((notes[voice, DURATION] > room).sum())  # shortened, not lost
    notes[voice, DURATION] = np.minimum(notes[voice, DURATION], room)
    return np.delete(notes, melody[lower], axis=0), lost


def _measures_to(score: Score, end: int) -> np.ndarray:
    """The measures of the score, continued in the last metre up to `end`."""
    last = score.metre(score.num_measures - 1)
    extra = max(0, -(-(end - score.end) // last.ticks))
    starts = score.end + np.arange(extra) * last.ticks
    return np.concatenate([score.measures, np.column_stack([starts, np.tile(last, (extra, 1))])]).astype(np.int32)


def _tempo(path: str) -> float:
    """The median tempo by ticks, from the first note on. The corrected files have an exporter's default tempo."""
    midi = symusic.Score.from_file(path)
    start = min((note.time for track in midi.tracks for note in track.notes), default=0)
    times = np.array([*(event.time for event in midi.tempos), midi.end()])
    tempos = np.array([event.qpm for event in midi.tempos])
    if not len(tempos):
        return 120.0
    order = np.argsort(tempos, kind="stable")
    ticks = np.diff(times.clip(start, None))[order].cumsum()
    return round(float(tempos[order][np.searchsorted(ticks, ticks[-1] / 2)]), 2)


def chord_rows(notes: np.ndarray) -> np.ndarray:
    """`Score.chords` int32[chord, 4] of a track of chords, int[note, 5] sorted by (onset, pitch).

    Each onset is a chord. It lasts as long as its longest note, but not beyond the next chord.
    """
    onsets, chord = np.unique(notes[:, ONSET], return_inverse=True)
    rows = np.zeros((len(onsets), 4), np.int64)
    rows[:, 0] = onsets
    np.maximum.at(rows[:, 1], chord, notes[:, DURATION])
    rows[:, 1] = np.minimum(rows[:, 1], np.diff(onsets, append=np.iinfo(np.int32).max))
    np.bitwise_or.at(rows[:, 3], chord, 1 << (notes[:, PITCH].astype(np.int64) % 12))
    bass = np.full(len(onsets), 127, np.int64)
    np.minimum.at(bass, chord, notes[:, PITCH])
    rows[:, 2] = [find_root(bits, low % 12) for bits, low in zip(rows[:, 3].tolist(), bass.tolist(), strict=True)]
    return rows.astype(np.int32)


def find_root(bits: int, bass: int) -> int:
    """The root of a chord, 0-11, or -1 if the chord is none of `QUALITIES` or `SHELLS`.

    The bass is the root if it can be: C E G A with bass C is a sixth chord on C, not a seventh chord on A. Otherwise
    the root is the note above which the chord is the earliest of `QUALITIES`. `bits` are pitch classes, bit 0 is C.
    """
    classes = [number for number in range(12) if bits >> number & 1]
    on_bass = _above(classes, bass)
    if on_bass in QUALITIES or on_bass in SHELLS:
        return bass
    found = [(QUALITIES.index(above), root) for root in classes if (above := _above(classes, root)) in QUALITIES]
    return min(found)[1] if found else -1


def _above(classes: list[int], root: int) -> tuple[int, ...]:
    return tuple(sorted((number - root) % 12 for number in classes))
