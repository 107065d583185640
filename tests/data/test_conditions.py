"""Conditions: numbers and words are inverse, keys move with transposition, errors name what is near."""

import dataclasses

import numpy as np
import pytest

from musicvae_jax.codec import MelodyCodec
from musicvae_jax.codec.notation import MODES
from musicvae_jax.config import UserError
from musicvae_jax.data.conditions import TONICS, Conditions, metre_number
from musicvae_jax.data.pipeline import make_train_iterator
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.types import ATTRIBUTES, CONDITIONS
from tests.data.melodies import random_melody

NAMES = ("key", "mode", "metre", "style", "tempo", "mean_pitch")
STYLES = ("jig", "reel")
SCALES = {"tempo": (4.5, 0.25), "mean_pitch": (70.0, 4.0)}
PITCH = [attribute.name for attribute in ATTRIBUTES].index("mean_pitch")
KNOWN = Conditions(NAMES, STYLES, SCALES)


@pytest.mark.parametrize("key", TONICS)
@pytest.mark.parametrize("metre", ["4/4", "6/8", "24/64"])
def test_words_become_numbers_and_the_same_words_again(key, metre):
    mode = list(MODES)[TONICS.index(key) % len(MODES)]
    asked = {"key": key, "mode": mode, "metre": metre, "style": "reel", "tempo": "96", "mean_pitch": "66.5"}
    numbers = KNOWN.encode(asked)
    assert np.isfinite(numbers).all() and KNOWN.decode(numbers) == asked
    np.testing.assert_array_equal(KNOWN.encode(KNOWN.decode(numbers)), numbers)


def test_a_subset_leaves_the_others_unknown():
    numbers = KNOWN.encode({"style": "jig", "tempo": 120})
    assert np.isnan(numbers).tolist() == [True, True, True, False, False, True]
    assert KNOWN.decode(numbers) == {"style": "jig", "tempo": "120"}
    assert np.isnan(KNOWN.encode({})).all() and KNOWN.encode({"key": "c#"})[0] == KNOWN.encode({"key": "Db"})[0]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"kee": "G"}, "did you mean key"),
        ({"key": "H"}, "allowed are C, Db"),
        ({"mode": "dorain"}, "did you mean dorian"),
        ({"style": "reeel"}, "did you mean reel"),
        ({"metre": "6/7"}, "allowed is two numbers"),
        ({"metre": "25/8"}, "up to 24 beats"),
        ({"tempo": "fast"}, "a number from 4 to"),
        ({"tempo": 0}, "a number from 4 to"),
        ({"mean_pitch": "nan"}, "a number from"),
    ],
)
def test_unknown_names_and_values_get_the_nearest_ones(asked, said):
    with pytest.raises(UserError, match=said) as error:
        KNOWN.encode(asked)
    assert next(iter(asked)) in str(error.value)


def test_a_file_gives_the_same_conditions_back():
    assert Conditions.from_json(KNOWN.to_json()) == KNOWN
    with pytest.raises((ValueError, KeyError, TypeError)):
        Conditions.from_json('{"names": ["key"]}')


def test_styles_beyond_the_table_are_refused():
    with pytest.raises(UserError, match="65 styles: allowed as a condition are at most 64"):
        Conditions(("style",), tuple(map(str, range(65))))


def test_every_condition_is_a_class_or_has_a_unit():
    for name in CONDITIONS:
        conditions = Conditions((name,), STYLES, {name: (1.0, 2.0)})
        value = {"key": "D", "mode": "minor", "metre": "3/4", "style": "jig"}.get(name, "5")
        assert conditions.decode(conditions.encode({name: value})) == {name: value}


def test_a_metre_that_is_no_condition_is_unknown():
    assert np.isnan(metre_number(np.array([[0, 0], [25, 8], [4, 4]]))).tolist() == [True, True, False]


LABELS = [(0, "major", "jig", 60.0), (1, "minor", "reel", 90.0), (None, "", "", 120.0), (-3, "dorian", "jig", 180.0)]


def make_source(names=NAMES):
    tunes = [
        dataclasses.replace(random_melody(seed, 6), fifths=fifths, mode=mode, style=style, tempo=tempo)
        for seed, (fifths, mode, style, tempo) in enumerate(LABELS)
    ]
    source = WindowSource(tunes, MelodyCodec(), measures=2, hop=1, attributes=True)
    pitches = source.gather(np.arange(len(source))).attributes["window"][:, 0, PITCH]
    source.tell(Conditions(names, STYLES).fitted(source.scores(), {"mean_pitch": pitches}))
    return source


def test_a_source_without_attributes_refuses_conditions_that_are_some():
    source = WindowSource([random_melody(0, 6)], MelodyCodec(), measures=2, hop=1)
    source.tell(Conditions(("key", "style", "tempo", "metre"), STYLES))
    with pytest.raises(ValueError, match=r"conditions \('mean_pitch',\) of a source without attributes"):
        source.tell(Conditions(("key", "mean_pitch")))


def test_windows_have_the_labels_of_their_pieces():
    source = make_source()
    batch = source.gather(np.arange(len(source)))
    said = [source.conditions.decode(row) for row in batch.conditions]
    pieces = source.pieces(batch.index)
    wanted = [("C", "major", "jig", "60"), ("E", "minor", "reel", "90"), (None, None, None, "120")]
    for piece, labels in enumerate([*wanted, ("F", "dorian", "jig", "180")]):
        for row in np.flatnonzero(pieces == piece):
            assert tuple(said[row].get(name) for name in ("key", "mode", "style", "tempo")) == labels
            assert said[row]["metre"] == "4/4"
            pitch = batch.attributes["window"][row, 0, PITCH]
            assert float(said[row].get("mean_pitch", "nan")) == pytest.approx(pitch, rel=1e-3, nan_ok=True)
    tempo = batch.conditions[:, NAMES.index("tempo")]
    assert tempo[np.unique(pieces, return_index=True)[1]].mean() == pytest.approx(0, abs=1e-5)
    one = source[1]
    np.testing.assert_array_equal(one.conditions, batch.conditions[1])
    source.tell(None)
    assert source.gather(np.arange(2)).conditions == () and source[0].conditions == ()


def test_key_and_pitch_move_with_transposition_and_nothing_else_does():
    """The condition of a transposed window is that of the window in its new key."""
    source = make_source()
    plain, moved = (make_train_iterator(source, 16, seed=3, transpose=transpose) for transpose in (0, 5))
    column = {name: number for number, name in enumerate(NAMES)}
    shifts = set()
    for _ in range(4):
        before, after = next(plain), next(moved)
        np.testing.assert_array_equal(before.index, after.index)
        onset = source.codec.is_onset(before.tokens)
        difference = np.where(onset, after.tokens - before.tokens, 0).reshape(16, -1)
        shift = np.where(difference.max(1) > 0, difference.max(1), difference.min(1))
        shifts |= set(shift.tolist())
        key = before.conditions[:, column["key"]]
        np.testing.assert_array_equal(after.conditions[:, column["key"]], (key + shift) % 12)
        unit = source.conditions.scales["mean_pitch"][1]
        pitch = after.conditions[:, column["mean_pitch"]] - before.conditions[:, column["mean_pitch"]]
        some = onset.any((1, 2, 3))
        np.testing.assert_allclose((pitch * unit)[some], shift[some], atol=1e-4)
        for name in ("mode", "metre", "style", "tempo"):
            np.testing.assert_array_equal(after.conditions[:, column[name]], before.conditions[:, column[name]])
    assert len(shifts) > 4
    plain.close()
    moved.close()
