"""A piece as a folder's worth of files: MIDI to edit, WAV to hear, PNG to see."""

from collections.abc import Sequence
from pathlib import Path

from musicvae_jax.analysis.audio import render, write_wav
from musicvae_jax.analysis.plots import plot_reconstruction, plot_samples
from musicvae_jax.analysis.variants import plot_variants
from musicvae_jax.codec import Score, write_midi


def write_score(score: Score, stem: Path) -> None:
    """Writes STEM.mid, STEM.wav and STEM.png; makes the folder if need be."""
    _write_sound(score, stem)
    plot_samples([score], stem.with_name(f"{stem.name}.png"))


def write_reconstruction(original: Score, reconstruction: Score, stem: Path, title: str = "") -> None:
    """Writes both pieces as STEM.original.mid/.wav and STEM.mid/.wav, and STEM.png with one beside the other."""
    _write_sound(original, stem.with_name(f"{stem.name}.original"))
    _write_sound(reconstruction, stem)
    plot_reconstruction(original, reconstruction, stem.with_name(f"{stem.name}.png"), title=title)


def write_variants(original: Score, variants: Sequence[Score], stem: Path, title: str = "") -> None:
    """Writes STEM.original.mid/.wav, STEM_0.mid/.wav, STEM_1... and STEM.png with all of them below each other."""
    _write_sound(original, stem.with_name(f"{stem.name}.original"))
    for number, variant in enumerate(variants):
        _write_sound(variant, stem.with_name(f"{stem.name}_{number}"))
    plot_variants(original, variants, stem.with_name(f"{stem.name}.png"), title=title)


def _write_sound(score: Score, stem: Path) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    write_midi(score, stem.with_name(f"{stem.name}.mid"))
    write_wav(render(score), stem.with_name(f"{stem.name}.wav"))
