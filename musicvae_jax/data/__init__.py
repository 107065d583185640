"""From records on disk to batches of windows. Never imports jax.

Nothing is imported here: the processes that read a data set's sources need `splits`, but not grain, which takes seconds
to import.
"""
