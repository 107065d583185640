"""From records on disk to batches of windows. Never imports jax.

Import the modules themselves: worker processes need a few of them, and must not wait for grain or TFDS.
"""
