"""Tonics: what a key signature and a mode are built on."""

import pytest

from musicvae_jax.codec.abc_keys import Key, write_key
from musicvae_jax.codec.notation import MODES, NATURAL, signature, tonic


@pytest.mark.parametrize(
    ("key", "pitch_class"), [("C major", 0), ("A minor", 9), ("D dorian", 2), ("Bb major", 10), ("F# minor", 6)]
)
def test_a_key_is_built_on_its_tonic(key, pitch_class):
    found = Key(key)
    assert tonic(found.fifths, found.mode) == pitch_class


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fifths", range(-7, 8))
def test_the_tonic_is_the_note_that_names_the_written_key(fifths, mode):
    name = write_key(fifths, mode).split()[0]
    assert tonic(fifths, mode) == (NATURAL[name[0]] + name.count("#") - name.count("b")) % 12


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("pitch_class", range(12))
def test_every_tonic_has_a_signature_in_every_mode(pitch_class, mode):
    assert tonic(signature(pitch_class, mode), mode) == pitch_class and abs(signature(pitch_class, mode)) <= 6


def test_an_unknown_key_has_no_tonic():
    assert tonic(None, "major") is None and tonic(0, "") is None
