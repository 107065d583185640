"""A decoder whose music is known: what dims of a level do to notes."""

import dataclasses
from typing import Any

import numpy as np

from musicvae_jax.codec.grid_codec import FIRST_PITCH, HOLD
from musicvae_jax.evaluation.load import load_workdir
from musicvae_jax.evaluation.trained import TrainedVAE
from tests.untrained import LEVELS_CONFIG, write_workdir


def load_untrained(folder: Any) -> TrainedVAE:
    return load_workdir(write_workdir(folder / "run", LEVELS_CONFIG))


def play(z: np.ndarray, slots: int) -> np.ndarray:
    """Measures of 4 + 2 z[0] notes of pitch 60 + 8 z[1]: float[..., dim] to int32[..., slot, 1]."""
    notes = np.clip(np.round(4 + 2 * z[..., 0]), 0, 16)[..., None]
    pitch = np.clip(np.round(60 + 8 * z[..., 1]), 20, 110)[..., None]
    sounds = np.arange(slots) < notes
    return np.where(sounds, FIRST_PITCH + pitch, HOLD).astype(np.int32)[..., None]


class Player(TrainedVAE):
    """Its fine latents are heard by `play`; the encoder reads them off the notes, plus a dim of noise."""

    def decode(self, latents: Any, metre: np.ndarray, *, known: Any = None, **_: Any) -> np.ndarray:
        tokens = np.where(self.mask(metre)[..., None], play(np.asarray(latents["fine"]), self.codec.slots), 0)
        return tokens if known is None else np.where(known >= 0, known, tokens)


def make_player(vae: TrainedVAE) -> Player:
    return Player(**{field.name: getattr(vae, field.name) for field in dataclasses.fields(vae)})
