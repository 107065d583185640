"""The tests mirror the package: `tests/codec/test_melody.py` tests `musicvae_jax/codec/melody.py`."""
