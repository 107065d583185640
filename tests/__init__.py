"""The tests mirror the package: `tests/codec/test_midi.py` tests `musicvae_jax/codec/midi.py`."""
