"""MIDI: reading is the inverse of writing; what is rounded, held or refused."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import symusic
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.codec import DEFAULT_VELOCITY, MusicError, Part, check_score, read_midi, write_midi
from musicvae_jax.codec.midi import hold_sustained
from musicvae_jax.codec.tracks import known_parts, part_of
from tests.codec.music import assert_same, notes_of, polyphony, score_of, scores

PARTS = st.builds(Part, st.sampled_from(["", "Soprano", "Flûte"]), st.integers(0, 127), st.booleans())


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("midi") / "piece.mid"


def midi_of(notes, metres=(), tpq=480, tempos=(), drums=(), pedal=()):
    """Bytes of a MIDI file with a track of notes (onset, duration, pitch) and pedal (tick, value), and a drum track."""
    midi = symusic.Score(tpq)
    for rows, is_drum in ((notes, False), (drums, True)):
        track = symusic.Track(name="Tune", program=0, is_drum=is_drum)
        for onset, duration, pitch in rows:
            track.notes.append(symusic.Note(onset, duration, pitch, 64))
        for tick, value in () if is_drum else pedal:
            track.controls.append(symusic.ControlChange(tick, 64, value))
        midi.tracks.append(track)
    for change in metres:
        midi.time_signatures.append(symusic.TimeSignature(*change))
    for change in tempos:
        midi.tempos.append(symusic.Tempo(*change))
    return midi.dumps_midi()


@given(
    scores(),
    st.integers(-7, 7) | st.none(),
    st.sampled_from(["major", "minor"]),
    st.integers(400, 70000),
    st.sampled_from(["A tune", "Fée"]),
    st.integers(1, 127),
    st.lists(PARTS, max_size=2),
)
def test_reading_what_was_written_is_the_score_again(path, score, fifths, mode, tempo, title, velocity, parts):
    notes = score.notes.copy()
    notes[:, 3] = velocity
    notes[1::2, 4] = 1 if len(notes) > 1 else 0  # two tracks
    fields: dict[str, Any] = {"parts": known_parts(parts[: 1 + (len(notes) > 1)])}
    fields |= {"fifths": fifths, "mode": mode if fifths is not None else "", "tempo": tempo / 100, "title": title}
    score = score_of(notes, score.measures, **fields)
    write_midi(score, path)
    if not len(notes):
        with pytest.raises(MusicError, match="empty: no notes"):
            read_midi(path)
        return
    assert_same(read_midi(path, drums=True), score, but=("source",))


@given(polyphony(overlap=False))
def test_several_tracks_are_read_with_their_parts_and_velocities(path, score):
    if not len(score.notes):
        return
    write_midi(score, path)
    # MIDI has no empty tracks.
    present, tracks = np.unique(score.notes[:, 4], return_inverse=True)
    notes = score.notes.copy()
    notes[:, 4] = tracks
    parts = known_parts(part_of(score, number) for number in present.tolist())
    title = path.stem if not score.title else score.title
    expected = dataclasses.replace(score, notes=notes, parts=parts, title=title)
    assert_same(read_midi(path, drums=True), expected, but=("source",))
    pitched = [number for number in range(len(present)) if not part_of(expected, number).is_drum]
    if pitched:
        found = read_midi(path)
        assert len(found.notes) == np.isin(notes[:, 4], pitched).sum()
        assert found.parts == known_parts(part_of(expected, number) for number in pitched)


def test_a_sustain_pedal_holds_notes_on_request(path):
    notes = [(0, 100, 60), (200, 100, 60), (250, 600, 64), (900, 50, 62), (1500, 10, 65)]
    pedal = [(50, 127), (400, 64), (700, 63), (1400, 100), (1600, 90)]
    path.write_bytes(midi_of(notes, pedal=pedal))
    assert read_midi(path).notes[:, :3].tolist() == [list(row) for row in notes]
    held = read_midi(path, sustain=True)
    assert held.notes[:, :3].tolist() == [
        [0, 200, 60],  # to the next onset of its pitch
        [200, 500, 60],  # to where the pedal goes up
        [250, 600, 64],  # it lasts longer than the pedal
        [900, 50, 62],  # released while the pedal is up
        [1500, 100, 65],  # the pedal stays down to the end of the track
    ]  # fmt: skip


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20), st.integers(0, 2)), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 70), st.sampled_from([0, 63, 64, 127])), max_size=6),
)
def test_held_notes_agree_with_a_walk_over_time(notes, pedal):
    start, length, pitch = np.array(notes).T
    pedal = sorted(pedal, key=lambda event: event[0])
    time, value = (np.array(column, int) for column in zip(*pedal, strict=True)) if pedal else (np.zeros(0, int),) * 2
    found = hold_sustained(start, start + length, pitch, time, value)
    for note, end in enumerate(found.tolist()):
        released = int(start[note] + length[note])
        state = [level >= 64 for tick, level in pedal if tick <= released]
        lifted = [tick for tick, level in pedal if tick > released and level < 64]
        again = [onset for onset in start[pitch == pitch[note]].tolist() if onset > start[note]]
        until = min(lifted[:1] or [max([int((start + length).max()), *time.tolist()])])
        assert end == (max(min([until, *again]), released) if state and state[-1] else released)


@given(st.integers(1, 2000), st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 3000)), min_size=1, max_size=8))
def test_ticks_are_rescaled_to_the_nearest(path, tpq, spans):
    spans = [(onset, duration) for onset, duration in spans if duration * 480 > tpq]  # over a tick, after rescaling
    path.write_bytes(midi_of([(onset, duration, 40 + row) for row, (onset, duration) in enumerate(spans)], tpq=tpq))
    if not spans:
        return
    notes = read_midi(path).notes
    by_pitch = notes[np.argsort(notes[:, 2], kind="stable")]
    exact = np.array([(onset * 480 / tpq, (onset + duration) * 480 / tpq) for onset, duration in spans])
    assert np.abs(by_pitch[:, 0] - exact[:, 0]).max() <= 0.5
    assert np.abs(by_pitch[:, :2].sum(1) - exact[:, 1]).max() <= 0.5


def test_a_metre_change_inside_a_measure_ends_it_there(path):
    path.write_bytes(midi_of([(0, 480, 60), (5000, 400, 62)], [(0, 4, 4), (1440, 6, 8), (2890, 2, 4)]))
    score = read_midi(path)
    # 1440 ticks of 4/4 are a measure of 3/4. 10 ticks are no measure: 2/4 waits for the next bar line.
    assert score.measures[:, :].tolist() == [
        [0, 3, 4], [1440, 6, 8], [2880, 6, 8], [4320, 2, 4], [5280, 2, 4],
    ]  # fmt: skip
    check_score(score)


def test_defaults_are_4_4_and_120_and_notes_of_no_length_are_left_out(path):
    path.write_bytes(midi_of([(0, 480, 60), (480, 0, 62), (960, 480, 64)], drums=[(0, 480, 36)]))
    score = read_midi(path)
    assert score.measures.tolist() == [[0, 4, 4]]
    assert notes_of(score) == [(0, 1, 60), (2, 1, 64)]
    assert set(score.notes[:, 4].tolist()) == {0}
    assert score.tempo == 120
    path.write_bytes(midi_of([(0, 480, 60)], tempos=[(0, 90), (480, 200)]))
    assert read_midi(path).tempo == 90  # the first


GOOD = midi_of([(0, 480, 60), (480, 480, 62)], [(0, 3, 4)])
NOTE_ON = GOOD.index(bytes([0x90, 60]))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"X:1\nM:4/4\nK:C\nCDEF|\n", "unreadable"),  # a text named .mid
        (b"MThd", "corrupt"),
        (GOOD[:-5], "corrupt"),
        (GOOD[:30], "corrupt"),
        (GOOD[:18] + b"\xa1" + GOOD[19:], "corrupt"),  # a chunk longer than the file crashes symusic
        (GOOD[: NOTE_ON + 1] + b"\x80" + GOOD[NOTE_ON + 2 :], "corrupt"),  # so does a pitch of 128
        (GOOD[:NOTE_ON] + b"\xf4" + GOOD[NOTE_ON + 1 :], "corrupt"),
        (GOOD[:12] + b"\xe7\x28" + GOOD[14:], "unreadable"),  # SMPTE time
        (GOOD[:12] + b"\0\0" + GOOD[14:], "unreadable"),
        (midi_of([]), "empty"),
        (midi_of([], drums=[(0, 480, 36)]), "empty"),
        (midi_of([(30_000_000, 1, 60)], tpq=1), "length"),
    ],
)
def test_a_bad_file_is_refused_with_its_reason(path, data, reason):
    path.write_bytes(data)
    with pytest.raises(MusicError) as caught:
        read_midi(path)
    assert caught.value.reason == reason
    assert caught.value.source == str(path)


@given(
    st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=8), st.integers(0, 2 * len(GOOD))
)
def test_a_damaged_file_is_refused_or_read_as_a_valid_score(path, changes, cut):
    data = bytearray(GOOD)
    for position, value in changes:
        data[position] = value
    path.write_bytes(data[:cut])
    try:
        score = read_midi(path)
    except MusicError:
        return
    check_score(score)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    target = tmp_path / "piece.mid"
    write_midi(score_of([(0, 480, 60, 80, 0)]), target)
    before = target.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_midi(score_of([(0, 480, 72, 80, 0)]), target)
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("fields", "says"),
    [({"tempo": 0.5}, "MIDI allows"), ({"measures": np.array([[0, 256, 4]], np.int32)}, "up to 255")],
)
def test_a_tempo_or_metre_that_midi_does_not_have_is_refused(path, fields, says):
    score = dataclasses.replace(score_of([(0, 480, 60, DEFAULT_VELOCITY, 0)]), **fields)
    with pytest.raises(MusicError, match=says):
        write_midi(score, path)
