"""The songs of POP909: joining its two repositories, and reading a song.

Apart from the builder, because worker processes run this.

The original repository has melody, bridge and piano as tracks, as they were played, under a metre that is made up. The
corrected one (POP909-CL) has bars, metre, key and chords, and the notes in one track, moved by a constant number of
ticks. A song is the tracks of the former in the bars of the latter.
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
from musicvae_jax.data.datasets.pieces import GRID, Piece, Refusal
from musicvae_jax.data.datasets.pop909_chords import chord_rows
from musicvae_jax.data.records import to_record
from musicvae_jax.data.splits import window_signatures

ORIGINAL, CORRECTED = "POP909-Dataset", "POP909-CL-Dataset"  # the folders of the two repositories
TRACKS = ("melody", "bridge", "piano")
BIN = 20  # ticks: the corrected notes are on a grid of 24 a quarter
CANDIDATES = 6
MIN_MATCH = 0.9  # a wrong shift matches 6-15 % of the notes, the right one 98 % and more


class Song(NamedTuple):
    """The two files of a song; "" where there is none."""

    id: str
    original: str
    corrected: str


class Join(NamedTuple):
    """How the tracks fit the bars."""

    shift: int  # ticks to add to the original's onsets
    match: float  # the share of the original's notes that the corrected file has there
    bin_shift: int  # the shift before it was refined: the middle of its bin


def find_songs(original: Path, corrected: Path) -> list[Song]:
    """All songs, by number; one corrected file is named ``"043 .mid"``.

    Args:
        original: the folder of the original repository.
        corrected: the folder of POP909-CL.
    """
    first = {path.stem: str(path) for path in original.glob("POP909/*/*.mid") if path.stem == path.parent.name}
    second = {path.stem.strip(): str(path) for path in corrected.glob("POP909_processed/*.mid")}
    numbers = sorted(first.keys() | second.keys())
    return [Song(f"pop909/{number}", first.get(number, ""), second.get(number, "")) for number in numbers]


def read_song(song: Song) -> Piece | Refusal:
    """One song's record and the signatures of its melody's windows on the default melody grid."""
    try:
        score, join, notes = join_song(song)
        signatures = window_signatures(GRID.encode(select_track(score, TRACKS[0])), GRID)
    except MusicError as error:
        return Refusal(song.id, error.reason)
    record = to_record(score, id=song.id, source="POP909", shift=join.shift, match=np.float32(join.match))
    return Piece(record, signatures, notes)


def join_song(song: Song) -> tuple[Score, Join, dict[str, int]]:
    """The song's score, how it was joined, and its notes: found, and lost by reason.

    Raises:
        MusicError: what `read_midi` raises, "missing" for one of the two files too; "tracks" where the original lacks
            one of its three, or "join" where no shift fits.
    """
    if not (song.original and song.corrected):
        raise MusicError(song.id, "files", "missing", f"not in {CORRECTED if song.original else ORIGINAL}")
    performed, barred = read_midi(song.original), read_midi(song.corrected)
    order = [part.name.strip().casefold() for part in performed.parts]
    if sorted(order) != sorted(TRACKS):
        raise MusicError(song.id, "tracks", "tracks", f"{', '.join(order)}; allowed: {', '.join(TRACKS)}")
    notes = performed.notes.astype(np.int64)
    notes[:, TRACK] = np.array([TRACKS.index(name) for name in order])[notes[:, TRACK]]
    has_score = part_of(barred, 0).name.strip().casefold() == TRACKS[2]
    join = find_shift(notes, barred.notes[barred.notes[:, TRACK] == (0 if has_score else -1)])
    if join.match < MIN_MATCH:
        raise MusicError(song.id, "tracks", "join", f"shift {join.shift} matches {join.match:.0%} of the notes")
    notes[:, ONSET] += join.shift
    kept, lost = _clean(notes)
    end = int((kept[:, ONSET] + kept[:, DURATION]).max(initial=0))
    score = dataclasses.replace(
        barred,  # its measures and key
        notes=kept.astype(np.int32),
        measures=_measures_to(barred, end),
        tempo=_tempo(song.original),
        title=f"POP909 {song.id.rpartition('/')[2]}",
        source=song.id,
        style="pop",
        parts=tuple(Part(name) for name in TRACKS),
        chords=chord_rows(barred.notes[barred.notes[:, TRACK] == (1 if has_score else 0)]),
    )
    return score, join, {"found": len(notes), **lost}


def find_shift(notes: np.ndarray, others: np.ndarray) -> Join:
    """The constant shift that takes notes onto others.

    Differences of the onsets of equal pitches vote in bins of `BIN` ticks; of the `CANDIDATES` bins with most votes,
    the one whose shift finds most notes is kept. The median of what the notes still miss then refines the shift: the
    others stand on a grid, so that a bin's middle may be half a bin off for all of them together.

    Args:
        notes: int[note, 5].
        others: int[note, 5].
    """
    notes, others = notes.astype(np.int64), others.astype(np.int64)
    votes = [np.zeros(0, np.int64)]
    for pitch in np.unique(notes[:, PITCH]):
        mine, theirs = notes[notes[:, PITCH] == pitch, ONSET], others[others[:, PITCH] == pitch, ONSET]
        votes.append((theirs[None, :] - mine[:, None]).reshape(-1))
    bins, counts = np.unique(np.rint(np.concatenate(votes) / BIN).astype(np.int64), return_counts=True)
    best = Join(0, 0.0, 0)
    for candidate in (bins[np.argsort(-counts, kind="stable")[:CANDIDATES]] * BIN).tolist():
        missed = _missed(notes, others, candidate)
        near = np.abs(missed) <= BIN
        match = float(near.mean())
        if match > best.match:
            best = Join(candidate + int(np.median(missed[near])), match, candidate)
    return best


def _missed(notes: np.ndarray, others: np.ndarray, shift: int) -> np.ndarray:
    """Ticks from each shifted note to the nearest other of its pitch, int64[note]; huge where there is none."""
    apart = 1 << 40  # pitches lie far apart on one line
    line = np.sort(others[:, PITCH] * apart + others[:, ONSET])
    mine = notes[:, PITCH] * apart + notes[:, ONSET] + shift
    after = np.searchsorted(line, mine)
    left, right = line[(after - 1).clip(0)] - mine, line[after.clip(0, len(line) - 1)] - mine
    return np.where(np.abs(left) <= np.abs(right), left, right)


def _clean(notes: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """Notes sorted, the melody made one voice: a note ends where the next starts, and the higher of two is kept."""
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
    """The score's measures, and more of the last metre where notes end after them."""
    last = score.metre(score.num_measures - 1)
    extra = max(0, -(-(end - score.end) // last.ticks))
    starts = score.end + np.arange(extra) * last.ticks
    return np.concatenate([score.measures, np.column_stack([starts, np.tile(last, (extra, 1))])]).astype(np.int32)


def _tempo(path: str) -> float:
    """The tempo that half of the song's ticks are slower than; the corrected files' own is an exporter's default."""
    midi = symusic.Score.from_file(path)
    start = min((note.time for track in midi.tracks for note in track.notes), default=0)
    times = np.array([*(event.time for event in midi.tempos), midi.end()])
    tempos = np.array([event.qpm for event in midi.tempos])
    if not len(tempos):
        return 120.0
    order = np.argsort(tempos, kind="stable")
    spans = np.diff(times.clip(start, None))[order].cumsum()
    return round(float(tempos[order][np.searchsorted(spans, spans[-1] / 2)]), 2)
