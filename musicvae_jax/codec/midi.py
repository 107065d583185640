"""MIDI files to `Score` and back, through symusic."""

import os
from pathlib import Path

import numpy as np
import symusic

from musicvae_jax.codec.check import MAX_DENOMINATOR, MAX_MEASURES, check_score
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.midi_check import check_midi
from musicvae_jax.codec.score import DURATION, ONSET, PITCH, TICKS_PER_QUARTER, TRACK, VELOCITY, Metre, Score
from musicvae_jax.files import replacing

_MAX_NUMERATOR = 255
_MAX_TICK = int(np.iinfo(np.int32).max)
_TEMPOS = (4.0, 60_000.0)  # quarters per minute whose microseconds fit the file's three bytes


def read_midi(path: str | os.PathLike[str]) -> Score:
    """All pitched tracks of a file, percussion left out.

    Ticks are rescaled to 480 a quarter, to the nearest. Notes that last no time are left out. Measures follow the
    time signatures, 4/4 before the first, to the end of the last note or signature; `_measures` has the rule for one
    that falls inside a measure. Tempo and key are the first of the file.

    Raises:
        MusicError: "missing", "empty" (no notes), "unreadable", "corrupt", or "length".
    """
    return read_midi_tracks(path)[0]


def read_midi_tracks(path: str | os.PathLike[str]) -> tuple[Score, list[str]]:
    """`read_midi`, and the name of each track, for messages."""
    source = str(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise MusicError(source, "file", "missing", error.strerror or str(error)) from None
    try:
        midi = symusic.Score.from_midi(check_midi(data, source))
    except (RuntimeError, ValueError, UnicodeDecodeError) as error:
        if isinstance(error, MusicError):
            raise
        raise MusicError(source, "file", "corrupt", str(error)) from None

    def rescale(ticks: np.ndarray) -> np.ndarray:
        return (2 * TICKS_PER_QUARTER * ticks.astype(np.int64) + midi.ticks_per_quarter) // (2 * midi.ticks_per_quarter)

    rows = []
    for number, track in enumerate(track for track in midi.tracks if not track.is_drum):
        columns = track.notes.numpy()
        onset = rescale(columns["time"])
        duration = rescale(columns["time"].astype(np.int64) + columns["duration"]) - onset
        note = [onset, duration, columns["pitch"], columns["velocity"], np.full(len(onset), number)]
        rows.append(np.stack(note, axis=1).astype(np.int64))
    notes = np.concatenate(rows) if rows else np.zeros((0, 5), np.int64)
    notes = notes[(notes[:, DURATION] > 0) & (notes[:, ONSET] >= 0) & (notes[:, VELOCITY] > 0)]
    if not len(notes):
        percussion = any(track.is_drum and len(track.notes) for track in midi.tracks)
        raise MusicError(source, "tracks", "empty", "no notes" + " but percussion" * percussion)
    notes = notes[np.lexsort(notes[:, [TRACK, PITCH, ONSET]].T)]
    changes = [
        (int(rescale(np.array(event.time))), Metre(event.numerator, event.denominator))
        for event in midi.time_signatures
        if 0 < event.numerator <= _MAX_NUMERATOR and event.denominator in (1, 2, 4, 8, 16, 32, MAX_DENOMINATOR)
    ]
    measures = _measures(changes, int((notes[:, ONSET] + notes[:, DURATION]).max()), source)
    key = next(((event.key, event.tonality) for event in midi.key_signatures if -7 <= event.key <= 7), None)
    tempo = next((event.qpm for event in midi.tempos if _TEMPOS[0] <= event.qpm <= _TEMPOS[1]), 120.0)
    score = Score(
        notes.astype(np.int32),
        np.array(measures, np.int32),
        fifths=key[0] if key else None,
        mode=("minor" if key[1] else "major") if key else "",
        tempo=round(tempo, 2),  # MIDI keeps whole microseconds a quarter: finer digits are their rounding
        title=(midi.tracks[0].name if len(midi.tracks) else "") or Path(path).stem,
        source=source,
    )
    return score, [track.name for track in midi.tracks if not track.is_drum]


def write_midi(score: Score, path: str | os.PathLike[str]) -> None:
    """Writes a standard MIDI file, whole or not at all; ``read_midi`` gives the score back.

    What MIDI cannot say is lost: modes other than major and minor, tempo beyond a hundredth, a missing title, and
    track numbers that nothing uses. Of two notes of one pitch and track that overlap, MIDI cannot say which one ends.

    Raises:
        MusicError: "invalid" for no valid score, or a tempo that the format does not hold; "metre" likewise.
        OSError: the file cannot be written; nothing is left behind.
    """
    content = to_symusic(score).dumps_midi()
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def to_symusic(score: Score) -> symusic.Score:
    """The score as symusic has it, to write or to render; every track is a piano's."""
    check_score(score)
    if not _TEMPOS[0] <= score.tempo <= _TEMPOS[1]:
        raise MusicError(score.source, "tempo", "invalid", f"{score.tempo}; MIDI allows {_TEMPOS[0]} to {_TEMPOS[1]}")
    if (largest := int(score.measures[:, 1].max())) > _MAX_NUMERATOR:
        raise MusicError(score.source, "metre", "metre", f"numerator {largest}; MIDI allows up to {_MAX_NUMERATOR}")
    midi = symusic.Score(TICKS_PER_QUARTER)
    midi.tempos.append(symusic.Tempo(0, score.tempo))
    if score.fifths is not None:
        midi.key_signatures.append(symusic.KeySignature(0, score.fifths, int(score.mode == "minor")))
    before = None
    last_sound = int((score.notes[:, ONSET] + score.notes[:, DURATION]).max(initial=0))
    for index, (start, numerator, denominator) in enumerate(score.measures.tolist()):
        # A repeated signature at the last measure marks the end of a piece that ends in silence.
        silent_end = index + 1 == score.num_measures and last_sound <= start
        if start and not last_sound:
            break  # symusic 0.5.8 writes later events of a file without notes out of order, with wrong times
        if (numerator, denominator) != before or silent_end:
            midi.time_signatures.append(symusic.TimeSignature(start, numerator, denominator))
        before = (numerator, denominator)
    for number in np.unique(score.notes[:, TRACK]).tolist():
        rows = score.notes[score.notes[:, TRACK] == number]
        track = symusic.Track(name=score.title, program=0, is_drum=False)
        track.notes = symusic.Note.from_numpy(
            rows[:, ONSET].astype(np.int32),
            rows[:, DURATION].astype(np.int32),
            rows[:, PITCH].astype(np.int8),
            rows[:, VELOCITY].astype(np.int8),
        )
        midi.tracks.append(track)
    return midi


def _measures(changes: list[tuple[int, Metre]], end: int, source: str) -> list[tuple[int, int, int]]:
    """Measures (start, numerator, denominator) up to `end` and to the last metre change.

    A metre change inside a measure ends that measure there, so that what follows keeps its bar lines: the cut measure
    gets the metre of its own length (3/4 for three quarters of 4/4). Where that is no metre, because it is not a whole
    number of 64ths, the change waits for the next bar line.
    """
    pending = sorted(dict(changes).items())
    metre, position = Metre(4, 4), 0
    measures: list[tuple[int, int, int]] = []
    while position < end or pending or not measures:
        if len(measures) >= MAX_MEASURES or position + metre.ticks > _MAX_TICK:
            raise MusicError(source, f"tick {end}", "length", f"over {MAX_MEASURES} measures, or {_MAX_TICK} ticks")
        while pending and pending[0][0] <= position:
            metre = pending.pop(0)[1]
        current = metre
        if pending and pending[0][0] < position + metre.ticks:
            current = _metre_of(pending[0][0] - position, metre) or metre
        measures.append((position, *current))
        position += current.ticks
    return measures


def _metre_of(ticks: int, metre: Metre) -> Metre | None:
    """The metre of a measure of `ticks`, over the denominator of `metre` if it can be, else the next finer one."""
    denominator = metre.denominator
    while denominator <= MAX_DENOMINATOR:
        numerator, rest = divmod(ticks * denominator, 4 * TICKS_PER_QUARTER)
        if not rest:
            return Metre(numerator, denominator)
        denominator *= 2
    return None
