"""MIDI files to `Score` and back, through symusic."""

import os
from collections import deque
from pathlib import Path

import numpy as np
import symusic

from musicvae_jax.codec.errors import MusicError, read_bytes
from musicvae_jax.codec.midi_check import check_midi
from musicvae_jax.codec.score import (
    DURATION,
    MAX_MEASURES,
    MAX_TICK,
    ONSET,
    PITCH,
    TEMPOS,
    TICKS_PER_QUARTER,
    TRACK,
    VELOCITY,
    Metre,
    Part,
    Score,
    check_score,
    sort_notes,
)
from musicvae_jax.codec.tracks import known_parts, part_of
from musicvae_jax.files import replacing

MAX_BYTES = 2**22  # half a million notes: more than any piece of music has
_SUSTAIN = 64  # number of the controller
_MAX_NUMERATOR = 255
_DENOMINATORS = (1, 2, 4, 8, 16, 32, 64)


def read_midi(path: str | os.PathLike[str], *, drums: bool = False, sustain: bool = False) -> Score:
    """All pitched tracks of a file.

    Times are rounded to 480 ticks per quarter; notes of no length are left out. Measures follow the time signatures
    (4/4 before the first) up to the end of the last note or signature; see `_measures` for a signature inside a
    measure. Tempo and key are the first of the file.

    Args:
        path: a standard MIDI file of format 0 or 1.
        drums: keep percussion (channel 10), as tracks whose part is a drum.
        sustain: lengthen notes while the sustain pedal of their track is down; see `hold_sustained`.

    Raises:
        MusicError: "missing", "empty" (no notes), "unreadable", "corrupt", "size", or "length".
    """
    source = str(path)
    checked = check_midi(read_bytes(path, MAX_BYTES), source)
    try:
        midi = symusic.Score.from_midi(checked.data)
    except (RuntimeError, ValueError) as error:
        raise MusicError(source, "file", "corrupt", str(error)) from None

    def rescale(ticks: np.ndarray) -> np.ndarray:
        return (2 * TICKS_PER_QUARTER * ticks.astype(np.int64) + midi.ticks_per_quarter) // (2 * midi.ticks_per_quarter)

    tracks = [track for track in midi.tracks if drums or not track.is_drum]
    rows = []
    for number, track in enumerate(tracks):
        columns = track.notes.numpy()
        start = columns["time"].astype(np.int64)
        end = start + columns["duration"]
        if sustain and not track.is_drum:
            controls = track.controls.numpy()
            pedal = controls["number"] == _SUSTAIN
            end = hold_sustained(start, end, columns["pitch"], controls["time"][pedal], controls["value"][pedal])
        onset = rescale(start)
        note = [onset, rescale(end) - onset, columns["pitch"], columns["velocity"], np.full(len(onset), number)]
        rows.append(np.stack(note, axis=1).astype(np.int64))
    notes = np.concatenate(rows) if rows else np.zeros((0, 5), np.int64)
    notes = notes[(notes[:, DURATION] > 0) & (notes[:, ONSET] >= 0) & (notes[:, VELOCITY] > 0)]
    if not len(notes):
        percussion = any(track.is_drum and len(track.notes) for track in midi.tracks)
        raise MusicError(source, "tracks", "empty", "no notes" + " but percussion" * percussion)
    changes = [
        (int(rescale(np.array(event.time))), Metre(event.numerator, event.denominator))
        for event in midi.time_signatures
        if 0 < event.numerator <= _MAX_NUMERATOR and event.denominator in _DENOMINATORS
    ]
    measures = _measures(changes, int((notes[:, ONSET] + notes[:, DURATION]).max()), source)
    key = next(((event.key, event.tonality) for event in midi.key_signatures if -7 <= event.key <= 7), None)
    tempo = next((event.qpm for event in midi.tempos if TEMPOS[0] <= event.qpm <= TEMPOS[1]), 120.0)
    return Score(
        sort_notes(notes),
        np.array(measures, np.int32),
        fifths=key[0] if key else None,
        mode=("minor" if key[1] else "major") if key else "",
        tempo=round(tempo, 2),  # MIDI keeps whole microseconds per quarter: finer digits are rounding errors
        title=checked.title or Path(path).stem,
        source=source,
        parts=known_parts(Part(track.name, track.program, track.is_drum) for track in tracks),
    )


def write_midi(score: Score, path: str | os.PathLike[str]) -> None:
    """Writes a standard MIDI file, completely or not at all; ``read_midi(path, drums=True)`` reads the same score.

    The first track holds title, tempo, key and metres; one track per part follows. MIDI loses modes other than major
    and minor, digits of the tempo beyond hundredths, a missing title, composer, style, chords, phrase ends, and parts
    and track numbers without notes. Where notes of one pitch and track overlap, it does not say which of them ends.

    Raises:
        MusicError: "invalid" for a bad score, or a tempo or program that MIDI does not have; "metre" likewise.
        OSError: the file cannot be written.
    """
    midi = to_symusic(score)
    midi.tracks.insert(0, symusic.Track(name=score.title))
    content = midi.dumps_midi()
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def to_symusic(score: Score) -> symusic.Score:
    """The score in symusic's form, for writing and rendering; one track per part that has notes."""
    check_score(score)
    if not TEMPOS[0] <= score.tempo <= TEMPOS[1]:
        raise MusicError(score.source, "tempo", "invalid", f"{score.tempo}; MIDI allows {TEMPOS[0]} to {TEMPOS[1]}")
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
            break  # symusic 0.5.8 writes later events of a file without notes out of order and at wrong times
        if (numerator, denominator) != before or silent_end:
            midi.time_signatures.append(symusic.TimeSignature(start, numerator, denominator))
        before = (numerator, denominator)
    for number in np.unique(score.notes[:, TRACK]).tolist():
        rows = score.notes[score.notes[:, TRACK] == number]
        part = part_of(score, number)
        if not 0 <= part.program <= 127:
            raise MusicError(score.source, f"part {number}", "invalid", f"program {part.program}; allowed: 0 to 127")
        track = symusic.Track(name=part.name, program=part.program, is_drum=part.is_drum)
        onset, duration = rows[:, [ONSET, DURATION]].astype(np.int32).T
        pitch, velocity = rows[:, [PITCH, VELOCITY]].astype(np.int8).T
        track.notes = symusic.Note.from_numpy(*map(np.ascontiguousarray, (onset, duration, pitch, velocity)))
        midi.tracks.append(track)
    return midi


def hold_sustained(
    start: np.ndarray, end: np.ndarray, pitch: np.ndarray, pedal_time: np.ndarray, pedal_value: np.ndarray
) -> np.ndarray:
    """The ends of the notes of a track, lengthened by its sustain pedal.

    The pedal is down from a value of 64 or more to the next smaller one. A note released while it is down lasts until
    it goes up, or to the end of the track, but not beyond the next onset of its pitch. A MIDI pedal belongs to a
    channel, here to a track: a pedal in another track than the notes has no effect.

    Args:
        start, end, pitch: int[note], ticks.
        pedal_time, pedal_value: int[event], in the order of the file.

    Returns:
        int64[note], never before `end`.
    """
    end = end.astype(np.int64)
    if not len(start) or not len(pedal_time):
        return end
    order = np.argsort(pedal_time, kind="stable")
    time, down = pedal_time[order].astype(np.int64), pedal_value[order] >= 64
    track_end = max(int(end.max()), int(time[-1]))
    # For each event the time of the first "up" at or after it.
    ups = np.where(down, track_end, time)
    next_up = np.minimum.accumulate(ups[::-1])[::-1]
    current = np.searchsorted(time, end, side="right") - 1
    held = (current >= 0) & down[np.maximum(current, 0)]
    longer = np.where(held, np.maximum(next_up[np.maximum(current, 0)], end), end)
    key = (pitch.astype(np.int64) << 40) + start
    keys = np.append(np.unique(key), np.iinfo(np.int64).max)
    later = keys[np.searchsorted(keys, key, side="right")]
    following = np.where(later >> 40 == pitch, later & (1 << 40) - 1, np.iinfo(np.int64).max)
    return np.maximum(np.minimum(longer, following), end)


def _measures(changes: list[tuple[int, Metre]], end: int, source: str) -> list[tuple[int, int, int]]:
    """Measures (start, numerator, denominator) up to `end` and to the last change of metre.

    A change of metre inside a measure ends the measure there, so that later bar lines stay in place: the cut measure
    gets the metre of its length (3/4 for three quarters of 4/4). If that length is not a whole number of 64ths, the
    change waits for the next bar line.
    """
    pending = deque(sorted(dict(changes).items()))
    metre, position = Metre(4, 4), 0
    measures: list[tuple[int, int, int]] = []
    while position < end or pending or not measures:
        if len(measures) >= MAX_MEASURES or position + metre.ticks > MAX_TICK:
            raise MusicError(source, f"tick {end}", "length", f"over {MAX_MEASURES} measures, or {MAX_TICK} ticks")
        while pending and pending[0][0] <= position:
            metre = pending.popleft()[1]
        current = metre
        if pending and pending[0][0] < position + metre.ticks:
            current = _metre_of(pending[0][0] - position, metre) or metre
        measures.append((position, *current))
        position += current.ticks
    return measures


def _metre_of(ticks: int, metre: Metre) -> Metre | None:
    """The metre of a measure of `ticks`, with the denominator of `metre` or the next finer one that fits."""
    for denominator in _DENOMINATORS:
        numerator, rest = divmod(ticks * denominator, 4 * TICKS_PER_QUARTER)
        if denominator >= metre.denominator and not rest:
            return Metre(numerator, denominator)
    return None
