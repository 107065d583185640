"""Attributes in batches: those of the batch's own tokens, whoever made it."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.codec import MelodyCodec, PerformanceCodec, VoicesCodec
from musicvae_jax.codec.attributes import ATTRIBUTES, num_cells
from musicvae_jax.config import Config, DataConfig
from musicvae_jax.data.attributes import window_attributes
from musicvae_jax.data.load import count_metres, load_windows
from musicvae_jax.data.pipeline import make_eval_batches, make_train_iterator
from musicvae_jax.data.prepare import list_styles
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.types import STANDARD_SPANS, Batch, span_name
from tests.data.melodies import melodies, random_melody

STYLES = ("jig", "reel", "waltz")
COLUMN = {attribute.name: number for number, attribute in enumerate(ATTRIBUTES)}
C, G = (0, 0b10010001), (7, 0b100010000100)


def piece(seed: int, num_measures: int):
    """A melody with a known style, an unknown one or none, and with a chord per half measure or none."""
    score = random_melody(seed, num_measures)
    onsets = np.arange(0, score.end, 960)
    kinds = np.array([C, G])[np.random.default_rng(seed).integers(0, 2, len(onsets))]
    chords = np.concatenate([onsets[:, None], np.full((len(onsets), 1), 960), kinds], 1).astype(np.int32)
    style = ("reel", "jig", "", "polka")[seed % 4]
    return dataclasses.replace(score, style=style, chords=chords if seed % 3 else chords[:0])


SCORES = [piece(seed, 5 + seed % 7) for seed in range(12)]
SOURCE = WindowSource(SCORES, MelodyCodec(), 4, 2, 2, attributes=True, styles=STYLES)


@pytest.mark.parametrize("codec", [MelodyCodec(), VoicesCodec(), PerformanceCodec()], ids=lambda c: type(c).__name__)
def test_attributes_are_those_of_the_transposed_tokens(codec):
    source = WindowSource(SCORES, codec, 4, 2, 2, attributes=True, styles=STYLES)
    batches = make_train_iterator(source, 64, seed=1, transpose=5)
    batch = next(batches)
    batches.close()
    plain = source.gather(batch.index)
    moved, still = (part.attributes["window"][..., COLUMN["mean_pitch"]] for part in (batch, plain))
    assert len(np.unique((moved - still).round())) == 11
    again = window_attributes(batch, codec)
    labels = [COLUMN["chord_change_rate"], COLUMN["style"]]
    assert batch.attributes.keys() == again.keys() == {"measure", "phrase", "window"}
    for span in STANDARD_SPANS:
        values, expected = batch.attributes[span_name(span)], again[span_name(span)]
        assert values.dtype == np.float32 and values.shape == (64, num_cells(span, 4), len(ATTRIBUTES))
        assert np.isnan(expected[..., labels]).all()
        np.testing.assert_array_equal(np.delete(values, labels, -1), np.delete(expected, labels, -1))
    dynamics = batch.attributes["window"][..., COLUMN["mean_velocity"]]
    assert (dynamics == 80).all() if isinstance(codec, PerformanceCodec) else np.isnan(dynamics).all()


def test_spans_are_free():
    """A span of two measures has two cells in a window of four; an attribute of the window does not depend on it."""
    source = WindowSource(SCORES, MelodyCodec(), 4, 2, 2, attributes=True, spans=(2, 0), styles=STYLES)
    index = np.arange(len(source))
    found, usual = source.gather(index).attributes, SOURCE.gather(index).attributes
    assert found.keys() == {"2_measures", "window"} and found["2_measures"].shape[1] == 2
    np.testing.assert_array_equal(found["window"], usual["window"])


def test_styles_and_chords_are_those_of_the_piece():
    seen = set()
    for number in range(len(SOURCE)):
        batch, score = SOURCE.gather(np.array([number])), SOURCE.score(number)
        start = int(SOURCE.describe(number).split(" measures ")[1].split("-")[0]) - 1
        style = batch.attributes["window"][0, 0, COLUMN["style"]]
        assert np.isnan(style) if score.style not in STYLES else STYLES[int(style)] == score.style
        seen.add(score.style)
        for measure, rate in enumerate(batch.attributes["measure"][0, :, COLUMN["chord_change_rate"]], start):
            if not len(score.chords) or measure >= score.num_measures:
                assert np.isnan(rate)
                continue
            halves = (2 * measure, 2 * measure + 1)
            changes = sum(half > 0 and score.chords[half, 2] != score.chords[half - 1, 2] for half in halves)
            assert rate == changes / 4
    assert seen == {"reel", "jig", "", "polka"}


def test_refused_pieces_do_not_shift_the_labels_of_others():
    long_metre = dataclasses.replace(SCORES[1], measures=np.array([(0, 63, 4)], np.int32))
    short = dataclasses.replace(piece(1, 1), style="waltz")
    pieces = [SCORES[0], long_metre, SCORES[1], short, *SCORES[2:]]
    source = WindowSource(pieces, MelodyCodec(), 4, 2, 2, attributes=True, styles=STYLES)
    assert source.refused == {"metre": 1, "short": 1}
    index = np.arange(len(SOURCE))
    np.testing.assert_equal(source.gather(index).attributes, SOURCE.gather(index).attributes)


@given(melodies(max_measures=9), st.integers(1, 8), st.integers(1, 9))
@settings(max_examples=30)
def test_rows_of_padding_are_nan_and_others_do_not_depend_on_their_batch(score, measures, batch_size):
    source = WindowSource([score], MelodyCodec(), measures, measures, attributes=True)
    for batch in make_eval_batches(source, batch_size):
        for row, number in enumerate(batch.index.tolist()):
            if number < 0:
                assert all(np.isnan(values[row]).all() for values in batch.attributes.values())
                continue
            one = source[number]
            assert one.tokens.ndim == 3
            np.testing.assert_equal({span: values[row] for span, values in batch.attributes.items()}, one.attributes)


def test_attributes_are_off_by_default_and_change_nothing_else():
    assert not Config().data.attributes
    plain = WindowSource(SCORES, MelodyCodec(), 4, 2, 2)
    one, other = plain.gather(np.arange(len(plain))), SOURCE.gather(np.arange(len(SOURCE)))
    assert one.attributes == () and SOURCE.cut(one.index).attributes == ()
    np.testing.assert_equal(one[:4], other[:4])


def test_all_splits_of_the_folk_tunes_number_styles_alike(folk_data_dir):
    config = Config(data=DataConfig(data_dir=folk_data_dir, attributes=True, measures=4))
    styles = list_styles("folk_tunes", folk_data_dir)
    assert list(styles) == sorted(set(styles)) and "reel" in styles and "" not in styles
    source = load_windows(config, "validation")
    batch = make_eval_batches(source, 64, num_examples=64)[0]
    window = batch.attributes["window"][:, 0]
    for number, style in zip(batch.index.tolist(), window[:, COLUMN["style"]], strict=True):
        label = source.score(number).style
        assert styles[int(style)] == label if label else np.isnan(style)
    # In real music nearly all attributes of notes are defined; only an interval needs two notes.
    names = [one.name for one in ATTRIBUTES if not one.spans and one.group in {"rhythm", "pitch", "harmony"}]
    always = [COLUMN[name] for name in names if name not in {"chord_change_rate", "mean_interval"}]
    assert not np.isnan(window[:, always]).any()
    assert count_metres(source) == count_metres(load_windows(config, "validation", attributes=False))


def test_a_batch_is_a_tree_of_rows():
    jax = pytest.importorskip("jax")
    rows = jax.tree.map(lambda leaf: leaf[:2], SOURCE.gather(np.array([0, 3, -1])))
    assert isinstance(rows, Batch)
    np.testing.assert_equal(rows.attributes, SOURCE.gather(np.array([0, 3])).attributes)
