"""MIDI files to `Score` and back, through symusic."""

import os
from pathlib import Path

import numpy as np
import symusic

from musicvae_jax.codec.check import MAX_DENOMINATOR, MAX_MEASURES, check_score
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.midi_check import check_midi
from musicvae_jax.codec.score import (
    DURATION,
    ONSET,
    PITCH,
    TEMPOS,
    TICKS_PER_QUARTER,
    TRACK,
    VELOCITY,
    Metre,
    Part,
    Score,
)
from musicvae_jax.codec.source import read_bytes
from musicvae_jax.codec.tracks import known_parts, part_of
from musicvae_jax.files import replacing

MAX_BYTES = 2**22  # half a million notes: more is no piece of music
_SUSTAIN = 64  # the controller's number
_MAX_NUMERATOR = 255
_MAX_TICK = int(np.iinfo(np.int32).max)


def read_midi(path: str | os.PathLike[str], *, drums: bool = False, sustain: bool = False) -> Score:
    """All pitched tracks of a file.

    Ticks are rescaled to 480 a quarter, to the nearest. Notes that last no time are left out. Measures follow the
    time signatures, 4/4 before the first, to the end of the last note or signature; `_measures` has the rule for one
    that falls inside a measure. Tempo and key are the first of the file.

    Args:
        path: a standard MIDI file, of format 0 or 1.
        drums: keep percussion (channel 10), as tracks whose part is a drum.
        sustain: lengthen notes while their track's sustain pedal is down; see `hold_sustained`.

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
    notes = notes[np.lexsort(notes[:, [TRACK, PITCH, ONSET]].T)]
    changes = [
        (int(rescale(np.array(event.time))), Metre(event.numerator, event.denominator))
        for event in midi.time_signatures
        if 0 < event.numerator <= _MAX_NUMERATOR and event.denominator in (1, 2, 4, 8, 16, 32, MAX_DENOMINATOR)
    ]
    measures = _measures(changes, int((notes[:, ONSET] + notes[:, DURATION]).max()), source)
    key = next(((event.key, event.tonality) for event in midi.key_signatures if -7 <= event.key <= 7), None)
    tempo = next((event.qpm for event in midi.tempos if TEMPOS[0] <= event.qpm <= TEMPOS[1]), 120.0)
    return Score(
        notes.astype(np.int32),
        np.array(measures, np.int32),
        fifths=key[0] if key else None,
        mode=("minor" if key[1] else "major") if key else "",
        tempo=round(tempo, 2),  # MIDI keeps whole microseconds a quarter: finer digits are their rounding
        title=checked.title or Path(path).stem,
        source=source,
        parts=known_parts(Part(track.name, track.program, track.is_drum) for track in tracks),
    )


def write_midi(score: Score, path: str | os.PathLike[str]) -> None:
    """Writes a standard MIDI file, whole or not at all; ``read_midi(path, drums=True)`` gives the score back.

    The first track holds the title, tempo, key and metres; a track for each part follows. What MIDI cannot say is lost:
    modes other than major and minor, tempo beyond a hundredth, a missing title, composer, style, chords, phrase ends,
    and parts and track numbers without a note. Of two notes of one pitch and track that overlap, MIDI cannot say which
    one ends.

    Raises:
        MusicError: "invalid" for no valid score, or a tempo or program that the format does not hold; "metre" likewise.
        OSError: the file cannot be written; nothing is left behind.
    """
    midi = to_symusic(score)
    midi.tracks.insert(0, symusic.Track(name=score.title))
    content = midi.dumps_midi()
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def to_symusic(score: Score) -> symusic.Score:
    """The score as symusic has it, to write or to render: a track for each part that plays."""
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
            break  # symusic 0.5.8 writes later events of a file without notes out of order, with wrong times
        if (numerator, denominator) != before or silent_end:
            midi.time_signatures.append(symusic.TimeSignature(start, numerator, denominator))
        before = (numerator, denominator)
    for number in np.unique(score.notes[:, TRACK]).tolist():
        rows = score.notes[score.notes[:, TRACK] == number]
        part = part_of(score, number)
        if not 0 <= part.program <= 127:
            raise MusicError(score.source, f"part {number}", "invalid", f"program {part.program}; allowed: 0 to 127")
        track = symusic.Track(name=part.name, program=part.program, is_drum=part.is_drum)
        track.notes = symusic.Note.from_numpy(
            rows[:, ONSET].astype(np.int32),
            rows[:, DURATION].astype(np.int32),
            rows[:, PITCH].astype(np.int8),
            rows[:, VELOCITY].astype(np.int8),
        )
        midi.tracks.append(track)
    return midi


def hold_sustained(
    start: np.ndarray, end: np.ndarray, pitch: np.ndarray, pedal_time: np.ndarray, pedal_value: np.ndarray
) -> np.ndarray:
    """Where notes end when a sustain pedal holds them.

    The pedal is down from a value of 64 or more to the next smaller one. A note released while it is down sounds on
    until it goes up, and to the end of the track if it never does, but not into the next onset of its pitch. MIDI's
    pedal is a channel's; here it is a track's: a pedal written in another track than the notes holds nothing.

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
    # For each event, when the pedal next is up: the time of the first "up" at or after it.
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
