"""The tempo of a tune, and what no file of MIDI could hold."""

import pytest

from musicvae_jax.codec import parse_abc, read_midi, write_midi

TUNE = "X:1\nM:4/4\nL:1/4\nQ:{}\nK:C\nCDEF|GABc|\n"


@pytest.mark.parametrize(
    ("text", "tempo"),
    [
        ("1/8=1", 120.0),
        ("1/128=127", 120.0),
        ("3", 120.0),
        ("999/1=9999", 120.0),
        ("1/8=8", 4.0),
        ("1/4=4", 4.0),
        ("3/8=40", 60.0),
        ("1/1=9999", 39_996.0),
    ],
)
def test_a_tempo_that_midi_cannot_hold_is_none(text, tempo, tmp_path) -> None:
    score = parse_abc(TUNE.format(text)).score
    assert score.tempo == tempo
    write_midi(score, tmp_path / "a.mid")
    assert read_midi(tmp_path / "a.mid").tempo == pytest.approx(tempo, rel=1e-3)
