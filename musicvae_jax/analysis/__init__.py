"""Looking at and listening to what a model makes."""

from musicvae_jax.analysis.audio import listen, render, write_wav
from musicvae_jax.analysis.curves import plot_training_curves
from musicvae_jax.analysis.level_kl import plot_level_kl
from musicvae_jax.analysis.plots import (
    match_notes,
    plot_interpolation,
    plot_reconstruction,
    plot_samples,
)
from musicvae_jax.analysis.report import write_reconstruction, write_score, write_variants
from musicvae_jax.analysis.rolls import piano_roll
from musicvae_jax.analysis.schedules import plot_schedules
from musicvae_jax.analysis.variants import plot_variants

__all__ = [
    "listen",
    "match_notes",
    "piano_roll",
    "plot_interpolation",
    "plot_level_kl",
    "plot_reconstruction",
    "plot_samples",
    "plot_schedules",
    "plot_training_curves",
    "plot_variants",
    "render",
    "write_reconstruction",
    "write_score",
    "write_variants",
    "write_wav",
]
