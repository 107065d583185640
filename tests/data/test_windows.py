"""Windows compared with the pieces that they are cut from."""

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.codec import MelodyCodec, PerformanceCodec, VoicesCodec
from musicvae_jax.codec.grid_codec import HOLD, REST
from musicvae_jax.codec.score import ONSET, PITCH, TRACK, Metre, Part, Score
from musicvae_jax.data.records import to_record
from musicvae_jax.data.windows import Families, WindowSource
from tests.codec.music import SIXTEENTHS, chorales, performances
from tests.codec.oracle import quantise
from tests.data.melodies import melodies, random_melody

CODEC = MelodyCodec()
VOICES = VoicesCodec()
PERFORMANCE = PerformanceCodec(slots=12, tracks=2)


def assert_same_windows(one: WindowSource, other: WindowSource) -> None:
    assert len(one) == len(other) > 0
    index = np.arange(len(one))
    np.testing.assert_equal(tuple(one.gather(index)), tuple(other.gather(index)))
    np.testing.assert_array_equal(one.pitch_range(index), other.pitch_range(index))


def sounding(tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The token that sounds in each real slot: an onset or REST."""
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
    changed = (tokens != whole.tokens).any(2)
    changed[::measures, 0] = False  # only the first slot of a window may differ
    assert not changed.any()


@pytest.mark.parametrize(
    ("codec", "scores"),
    [(CODEC, melodies(min_measures=2)), (VOICES, chorales(lengths=SIXTEENTHS))],
    ids=["melody", "voices"],
)
@settings(max_examples=50)
@given(data=st.data())
def test_a_window_has_the_tokens_of_its_own_score(codec, scores, data) -> None:
    measures, hop = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    for window in WindowSource([data.draw(scores)], codec, measures, hop):
        real = window.metre.any(1)
        alone = codec.encode(codec.decode(window.tokens, window.metre))
        np.testing.assert_array_equal(window.tokens[real], alone.tokens)
        np.testing.assert_array_equal(window.mask[real], alone.mask)
        assert not window.tokens[~real].any() and not window.mask[~real].any()


@settings(max_examples=50)
@given(performances(), st.integers(1, 3), st.integers(1, 3))
def test_a_window_of_a_performance_has_the_notes_that_start_in_it(score: Score, measures: int, hop: int) -> None:
    whole = quantise(PERFORMANCE, score)
    source = WindowSource([score], PERFORMANCE, measures, hop)
    for window, first in zip(source, range(0, score.num_measures, hop), strict=True):
        alone = PERFORMANCE.decode(window.tokens, window.metre)
        start = score.measures[first, 0]
        notes = whole.notes[(whole.notes[:, 0] >= start) & (whole.notes[:, 0] < start + alone.end)]
        notes = notes - np.array([start, 0, 0, 0, 0], np.int32)
        notes[:, 1] = np.minimum(notes[:, 1], alone.end - notes[:, 0])
        np.testing.assert_array_equal(alone.notes, notes)


@given(st.lists(st.integers(1, 20), max_size=6), st.integers(1, 6), st.integers(1, 6), st.data())
def test_windows_start_every_hop_measures(lengths: list[int], measures: int, hop: int, data: st.DataObject) -> None:
    least = data.draw(st.integers(1, measures))
    source = WindowSource([random_melody(n, n) for n in lengths], CODEC, measures, hop, least)
    starts = [(n, start) for n in lengths for start in range(0, n, hop) if n - start >= least]
    assert len(source) == len(source[:]) == len(starts)
    for number, (length, start) in enumerate(starts):
        assert source.describe(number) == f"melody/{length} measures {start + 1}-{min(start + measures, length)}"
    assert source.refused == ({"short": short} if (short := sum(n < least for n in lengths)) else {})


def test_records_scores_and_small_caches_give_the_same_windows() -> None:
    scores = [random_melody(seed, 9) for seed in range(5)]
    records = [to_record(score, id=score.source, source="") for score in scores]
    source = WindowSource(scores, CODEC, 4, 2)
    small = WindowSource(scores, CODEC, 4, 2, cache_pieces=1)
    from_records = pickle.loads(pickle.dumps(WindowSource(records, CODEC, 4, 2)))
    order = np.random.default_rng(0).permutation(len(source))
    np.testing.assert_array_equal(source.gather(order).tokens, small.gather(order).tokens)
    assert_same_windows(source, from_records)
    for number in range(len(source)):
        assert source.describe(number) == from_records.describe(number)
    first = from_records.score(0)
    assert (first.tempo, first.title, first.fifths) == (90, "Melody 0", None)


def test_refusals_are_counted_by_reason() -> None:
    chord = random_melody(0, 8)
    notes = np.repeat(chord.notes, 2, axis=0)
    notes[1::2, PITCH] += 4
    pieces = [
        random_melody(1, 8),
        random_melody(2, 2),
        random_melody(3, 8, metre=Metre(3, 2)),
        Score(notes, chord.measures),
    ]
    source = WindowSource(pieces, CODEC, measures=4, hop=4, min_measures=3)
    assert source.refused == {"short": 1, "metre": 1, "polyphonic": 1}
    assert source.summary.endswith(" pieces; refused 3 more: metre 1, polyphonic 1, short 1")
    assert [error.source for error in source.refusals[:2]] == ["melody/2", "melody/3"]
    assert {source.score(number).source for number in range(len(source))} == {"melody/1"}


def test_a_track_has_the_windows_of_a_piece_with_this_track_only() -> None:
    upper, lower = random_melody(1, 6, low=70), random_melody(2, 6, high=60)
    notes = np.concatenate([upper.notes, lower.notes + np.array([0, 0, 0, 0, 1], np.int32)])
    notes = notes[np.lexsort(notes[:, [TRACK, PITCH, ONSET]].T)]
    both = dataclasses.replace(upper, notes=notes, parts=(Part("Melody"), Part("Bass", 32)))
    for track, expected in (("melody", upper), ("0", upper), ("Bass", lower), ("1", lower)):
        source = WindowSource([to_record(both, id="melody/1", source="")], CODEC, 4, 4, track=track)
        assert_same_windows(source, WindowSource([expected], CODEC, 4, 4))
        assert [part.name for part in source.score(0).parts] == ["Melody" if expected is upper else "Bass"]
    top = WindowSource([both], CODEC, 4, 4, track="skyline").score(0)
    assert {int(note[ONSET]) for note in top.notes if note[PITCH] >= 70} == set(upper.notes[:, ONSET].tolist())
    assert WindowSource([both], CODEC, 4, 4).refused == {"polyphonic": 1}
    assert WindowSource([both], CODEC, 4, 4, track="tenor").refused == {"track": 1}


def test_padding_rows_are_empty() -> None:
    source = WindowSource([random_melody(0, 8)], CODEC, 4, 4)
    batch = source.gather(np.array([1, -1]))
    assert batch.index.tolist() == [1, -1]
    assert not batch.tokens[1].any() and not batch.mask[1].any() and not batch.metre[1].any()
    np.testing.assert_array_equal(batch.tokens[0], source[1].tokens)
    with pytest.raises(IndexError, match="window 2: allowed is 0 to 1"):
        source[2]


@pytest.mark.parametrize(("name", "value"), [("measures", 0), ("hop", 0), ("min_measures", 5), ("min_measures", 0)])
def test_impossible_sizes_are_refused(name: str, value: int) -> None:
    sizes: dict[str, Any] = {"measures": 4, "hop": 4, "min_measures": 1, name: value}
    with pytest.raises(ValueError, match=f"{name} = {value}: allowed"):
        WindowSource([], CODEC, **sizes)


def test_families_join_transposed_versions_only() -> None:
    """Two windows per piece. Piece 2 is piece 0 in another key; pieces 3 and 4 have no first track."""
    one, other, third = (random_melody(seed, 8) for seed in range(3))
    version = dataclasses.replace(one, notes=one.notes + np.array([0, 0, 3, 0, 0], np.int32))
    silent = dataclasses.replace(third, notes=third.notes + np.array([0, 0, 0, 0, 1], np.int32))
    source = WindowSource([one, other, version, silent, silent], VOICES, 4, 4)
    assert len(source) == 10
    families = Families(source)
    np.testing.assert_array_equal(families(np.arange(10)), [0, 0, 1, 1, 0, 0, 3, 3, 4, 4])
    np.testing.assert_array_equal(families(np.array([4, 2, 9, -1])), [0, 1, 4, 0])
    np.testing.assert_array_equal(families(np.array([4, 2])), [2, 1])  # only given windows are compared
