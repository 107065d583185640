"""Pieces by path and metres by text, as on the command line."""

from pathlib import Path

import numpy as np
import pytest

from musicvae_jax.codec import MelodyCodec, Metre, MusicError, VoicesCodec, write_midi
from musicvae_jax.config import UserError
from musicvae_jax.evaluation.pieces import read_pieces, to_metre, to_score
from tests.codec.music import score_of
from tests.data.melodies import random_melody

CHORDS = score_of([(0, 960, 48, 80, 0), (0, 960, 60, 80, 1)])


def test_a_path_is_the_score_that_it_holds(tmp_path):
    melody, path = random_melody(1, 3), tmp_path / "tune.mid"
    write_midi(melody, path)
    for name in (path, str(path)):
        np.testing.assert_array_equal(to_score(name, MelodyCodec()).notes, melody.notes)
    assert to_score(melody, MelodyCodec()) is melody


def test_a_model_of_melodies_refuses_what_a_model_of_voices_takes(tmp_path):
    path = tmp_path / "chords.mid"
    write_midi(CHORDS, path)
    with pytest.raises(MusicError, match=r"polyphonic.*--track skyline"):
        to_score(path, MelodyCodec())
    assert to_score(path, MelodyCodec(), "skyline").notes[:, 2].tolist() == [60]
    assert len(to_score(path, VoicesCodec(voices=2)).notes) == 2


def test_errors_are_those_of_the_command_line(tmp_path):
    missing = tmp_path / "none.mid"
    scores, refusals = read_pieces([str(missing)], MelodyCodec())
    assert not scores
    with pytest.raises(MusicError) as found:
        to_score(missing, MelodyCodec())
    assert str(found.value) == str(refusals[0])
    with pytest.raises(UserError, match="piece = 3 is a int: allowed is a Score, or the path"):
        to_score(3, MelodyCodec())  # type: ignore[arg-type]


def test_metres_by_text_and_by_numbers_are_equal():
    assert to_metre("6/8") == to_metre((6, 8)) == to_metre(Metre(6, 8)) == Metre(6, 8)
    with pytest.raises(MusicError, match="'6-8'"):
        to_metre("6-8")
    with pytest.raises(UserError, match="metre = 6: allowed is a text"):
        to_metre(6)  # type: ignore[arg-type]


def test_the_melody_of_the_notebooks_is_read():
    path = Path(__file__).resolve().parents[2] / "notebooks" / "tune.abc"
    assert to_score(path, MelodyCodec()).title == "The Kesh"
