"""Windows against the pieces they are cut from."""

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.codec import PerformanceCodec, VoicesCodec
from musicvae_jax.codec.grid_codec import HOLD, REST, MelodyCodec
from musicvae_jax.codec.score import Metre, Part, Score
from musicvae_jax.data.records import to_record
from musicvae_jax.data.windows import WindowSource
from tests.codec.music import SIXTEENTHS
from tests.codec.polyphony import chorales, performances
from tests.data.melodies import melodies, random_melody

CODEC = MelodyCodec()
VOICES = VoicesCodec()
PERFORMANCE = PerformanceCodec(slots=12, tracks=2)


def sounding(tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The token that began what sounds in each real slot, REST for silence."""
    state, heard = HOLD, []
    for token in tokens[..., 0][mask].tolist():
        state = state if token == HOLD else token
        heard.append(max(state, REST))
    return np.array(heard)


@given(melodies(), st.integers(1, 5))
def test_disjoint_windows_tile_the_piece(score: Score, measures: int) -> None:
    source = WindowSource([score], CODEC, measures, hop=measures)
    windows = source.gather(np.arange(len(source)))
    whole = CODEC.encode(score)
    tokens, mask = (array.reshape(-1, *array.shape[2:])[: len(whole.mask)] for array in windows[:2])
    np.testing.assert_array_equal(mask, whole.mask)
    assert not windows.mask.reshape(-1, CODEC.slots)[len(whole.mask) :].any()
    np.testing.assert_array_equal(windows.metre.reshape(-1, 2)[: len(whole.mask)], whole.metre)
    heard = [sounding(*window) for window in zip(windows.tokens, windows.mask, strict=True)]
    np.testing.assert_array_equal(np.concatenate(heard), sounding(whole.tokens, whole.mask))
    changed = (tokens != whole.tokens).any((1, 2))
    assert not np.delete(changed, np.s_[::measures]).any()  # only a window's first measure may differ
    np.testing.assert_array_equal(tokens[:, 1:], whole.tokens[:, 1:])  # and of it only the first slot


@settings(max_examples=50)
@given(melodies(min_measures=2), st.integers(1, 4), st.integers(1, 4))
def test_a_window_is_what_the_codec_would_write_for_it(score: Score, measures: int, hop: int) -> None:
    for window in WindowSource([score], CODEC, measures, hop):
        real = window.metre.any(1)
        alone = CODEC.encode(CODEC.decode(window.tokens, window.metre))
        np.testing.assert_array_equal(window.tokens[real], alone.tokens)
        np.testing.assert_array_equal(window.mask[real], alone.mask)
        assert not window.tokens[~real].any() and not window.mask[~real].any()


@settings(max_examples=50)
@given(chorales(lengths=SIXTEENTHS), st.integers(1, 3), st.integers(1, 3))
def test_a_window_of_voices_is_what_the_codec_would_write_for_it(score: Score, measures: int, hop: int) -> None:
    for window in WindowSource([score], VOICES, measures, hop):
        real = window.metre.any(1)
        alone = VOICES.encode(VOICES.decode(window.tokens, window.metre))
        np.testing.assert_array_equal(window.tokens[real], alone.tokens)
        np.testing.assert_array_equal(window.mask[real], alone.mask)


@settings(max_examples=50)
@given(performances(), st.integers(1, 3), st.integers(1, 3))
def test_a_window_of_a_performance_has_the_notes_that_start_in_it(score: Score, measures: int, hop: int) -> None:
    whole = PERFORMANCE.quantise(score)
    source = WindowSource([score], PERFORMANCE, measures, hop)
    for window, first in zip(source, range(0, score.num_measures, hop), strict=True):
        alone = PERFORMANCE.decode(window.tokens, window.metre)
        start = score.measures[first, 0]
        notes = whole.notes[(whole.notes[:, 0] >= start) & (whole.notes[:, 0] < start + alone.end)]
        notes = notes - np.array([start, 0, 0, 0, 0], np.int32)
        notes[:, 1] = np.minimum(notes[:, 1], alone.end - notes[:, 0])
        np.testing.assert_array_equal(alone.notes, notes)


@given(st.lists(st.integers(1, 20), max_size=6), st.integers(1, 6), st.integers(1, 6), st.data())
def test_the_number_of_windows_is_that_of_starts(
    lengths: list[int], measures: int, hop: int, data: st.DataObject
) -> None:
    least = data.draw(st.integers(1, measures))
    source = WindowSource([random_melody(n, n) for n in lengths], CODEC, measures, hop, least)
    starts = [(n, start) for n in lengths for start in range(0, n, hop) if n - start >= least]
    assert len(source) == len(source[:]) == len(starts)
    for number, (length, start) in enumerate(starts):
        assert source.describe(number) == f"melody/{length} measures {start + 1}-{min(start + measures, length)}"
    assert source.refused == ({"short": short} if (short := sum(n < least for n in lengths)) else {})


def test_a_small_cache_changes_nothing() -> None:
    scores = [random_melody(seed, 10) for seed in range(5)]
    large, small = (WindowSource(scores, CODEC, 4, 2, cache_pieces=size) for size in (100, 1))
    order = np.random.default_rng(0).permutation(len(large))
    for one, other in zip(large.gather(order), small.gather(order), strict=True):
        np.testing.assert_array_equal(one, other)


def test_records_and_scores_are_the_same_pieces() -> None:
    scores = [random_melody(seed, 9) for seed in range(3)]
    records = [to_record(score, id=score.source, source="made up") for score in scores]
    one, other = (pickle.loads(pickle.dumps(WindowSource(pieces, CODEC, 4, 4))) for pieces in (scores, records))
    for mine, theirs in zip(one.gather(np.arange(len(one))), other.gather(np.arange(len(other))), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert [one.describe(number) for number in range(len(one))] == [
        other.describe(number) for number in range(len(other))
    ]
    assert other.score(0).tempo == 90 and other.score(0).title == "Melody 0" and other.score(0).fifths is None


def test_refusals_are_counted_by_reason() -> None:
    chord = random_melody(0, 8)
    notes = np.repeat(chord.notes, 2, axis=0)
    notes[1::2, 2] += 4
    pieces = [
        random_melody(1, 8),
        random_melody(2, 2),
        random_melody(3, 8, metre=Metre(3, 2)),
        Score(notes, chord.measures),
    ]
    source = WindowSource(pieces, CODEC, measures=4, hop=4, min_measures=3)
    assert source.refused == {"short": 1, "metre": 1, "polyphonic": 1}
    assert source.summary.endswith(" pieces; refused 3 more: metre 1, polyphonic 1, short 1")
    assert [str(error) for error in source.refusals[:1]] == ["melody/2, measures: short: 2 measures; allowed: 3 and up"]
    assert {source.score(number).source for number in range(len(source))} == {"melody/1"}


def test_a_track_of_each_piece() -> None:
    """The windows of a chosen track are those of a piece that has no other."""
    upper, lower = random_melody(1, 6, low=70), random_melody(2, 6, high=60)
    lower.notes[:, 4] = 1
    notes = np.concatenate([upper.notes, lower.notes])
    notes = notes[np.lexsort(notes[:, [4, 2, 0]].T)]
    both = dataclasses.replace(upper, notes=notes, parts=(Part("Melody"), Part("Bass", 32)))
    lower.notes[:, 4] = 0
    skyline = {int(onset) for onset in upper.notes[:, 0]}
    for track, expected in (("melody", upper), ("0", upper), ("Bass", lower), ("1", lower)):
        source = WindowSource([to_record(both, id="melody/1", source="")], CODEC, 4, 4, track=track)
        alone = WindowSource([expected], CODEC, 4, 4)
        for mine, theirs in zip(source.gather(np.arange(2)), alone.gather(np.arange(2)), strict=True):
            np.testing.assert_array_equal(mine, theirs)
        np.testing.assert_array_equal(source.pitch_range(np.arange(2)), alone.pitch_range(np.arange(2)))
        assert [part.name for part in source.score(0).parts] == ["Melody" if expected is upper else "Bass"]
    top = WindowSource([both], CODEC, 4, 4, track="skyline").score(0)
    assert {int(note[0]) for note in top.notes if note[2] >= 70} == skyline
    assert WindowSource([both], CODEC, 4, 4).refused == {"polyphonic": 1}
    refusals = WindowSource([both], CODEC, 4, 4, track="tenor").refusals
    assert "'tenor'; allowed: auto, skyline, or a track with notes: 0 Melody" in str(refusals[0])


def test_padding_rows_are_empty() -> None:
    source = WindowSource([random_melody(0, 8)], CODEC, 4, 4)
    batch = source.gather(np.array([1, -1]))
    assert batch.index.tolist() == [1, -1]
    assert not batch.tokens[1].any() and not batch.mask[1].any() and not batch.metre[1].any()
    np.testing.assert_array_equal(batch.tokens[0], source[1].tokens)


@pytest.mark.parametrize(("name", "value"), [("measures", 0), ("hop", 0), ("min_measures", 5), ("min_measures", 0)])
def test_impossible_windows_are_refused(name: str, value: int) -> None:
    sizes: dict[str, Any] = {"measures": 4, "hop": 4, "min_measures": 1, name: value}
    with pytest.raises(ValueError, match=f"{name} = {value}: allowed"):
        WindowSource([], CODEC, **sizes)


def test_a_window_that_does_not_exist() -> None:
    source = WindowSource([random_melody(0, 8)], CODEC, 4, 4)
    with pytest.raises(IndexError, match="window 2: allowed is 0 to 1"):
        source[2]
