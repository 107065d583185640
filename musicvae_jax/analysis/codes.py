"""Windows as codes: the latents that are moved, the details that stay, and the attributes of what is decoded."""

from typing import NamedTuple

import jax
import numpy as np

from musicvae_jax.config import UserError
from musicvae_jax.config.checks import check
from musicvae_jax.config.levels import ATTRIBUTE_OF
from musicvae_jax.evaluation.likeness import NAMES, true_attributes
from musicvae_jax.evaluation.trained import TrainedVAE, real_rows
from musicvae_jax.inference import frames, in_powers_of_two, place
from musicvae_jax.models.latent.gaussian import to_frame
from musicvae_jax.models.sampling import SamplingConfig
from musicvae_jax.types import Batch, Latents, span_name

GREEDY = SamplingConfig(temperature=0.0)


class Code(NamedTuple):
    """Windows and what the encoder says of them."""

    windows: Batch
    means: Latents  # level -> float32[window, time, dim], posterior means
    e: Latents  # the same in z = loc(above) + scale(above) * e


def make_code(vae: TrainedVAE, windows: Batch) -> Code:
    """Encodes windows; rows that pad the batch are left out."""
    windows = real_rows(windows)._replace(attributes=())
    means = {level: np.asarray(q.loc) for level, q in vae.encode(windows).items()}
    found = in_powers_of_two(lambda *rows: frames(vae.model, vae.variables, *rows), windows, means)
    e = {level: np.asarray(to_frame(means[level], frame)) for level, frame in found.items()}
    return Code(windows, means, e)


def repeat_code(code: Code, num: int) -> Code:
    """The windows of a code num times, one copy of all after the other."""
    return Code(*jax.tree.map(lambda leaf: np.concatenate([leaf] * num), tuple(code)))


def move(vae: TrainedVAE, code: Code, level: str, shift: np.ndarray) -> Latents:
    """Latents after a level has moved: those above it stay, those below keep their e.

    Args:
        vae: the model.
        code: of the windows.
        level: that moves.
        shift: float[window, time, dim], which is added to its means.

    Returns:
        level -> float32[window, time, dim].
    """
    names = list(vae.config.levels.on)
    given = {name: code.means[name] for name in names[: names.index(level)]}
    given[level] = (code.means[level] + shift).astype(np.float32)
    placed = in_powers_of_two(lambda *rows: place(vae.model, vae.variables, *rows), code.windows, given, code.e)
    return {name: np.asarray(z) for name, z in placed.items()}


def decode(vae: TrainedVAE, latents: Latents, metre: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """The likeliest tokens, one after the other: int32[window, measure, slot, field]."""
    return vae.decode(latents, metre, sampling=GREEDY, known=known)


def measure(vae: TrainedVAE, tokens: np.ndarray, metre: np.ndarray, span: int) -> np.ndarray:
    """Attributes of windows in musical units: float64[window, time, attribute], columns as in `NAMES`.

    Note density is in notes a measure; the others are in their units, see `types.ATTRIBUTES`.

    Args:
        vae: the model.
        tokens: int32[window, measure, slot, field].
        metre: int32[window, measure, 2].
        span: measures over which attributes are computed; 0 is the window.
    """
    batch = Batch(tokens, vae.mask(metre), metre, np.arange(len(metre), dtype=np.int32))
    found = true_attributes(batch, vae.codec, [span])[span_name(span)]
    found[..., NAMES.index("note_density")] *= quarters_a_measure(metre, found.shape[1])
    return found


def quarters_a_measure(metre: np.ndarray, times: int) -> np.ndarray:
    """The mean length of the measures of each span in quarters: int32[window, measure, 2] to float64[window, time]."""
    length = 4 * metre[..., 0] / np.maximum(metre[..., 1], 1)
    span = -(-metre.shape[1] // times)
    padded = np.pad(length, ((0, 0), (0, times * span - metre.shape[1]))).reshape(len(metre), times, span)
    return padded.sum(-1) / np.maximum((padded > 0).sum(-1), 1)


def unit_of(attribute: str) -> str:
    """The musical unit of an attribute, such as ``"notes a measure"`` or ``"semitones"``."""
    units = {"note_density": "notes a measure", "mean_pitch": "semitones"}
    return units.get(attribute, ATTRIBUTE_OF[attribute].unit)


def check_attribute(vae: TrainedVAE, attribute: str) -> None:
    """Raises `UserError` unless the attribute can be measured in what the model decodes."""
    if attribute == "tempo":
        raise UserError(
            "attribute = 'tempo': the tempo is metadata of a piece, no latent has it; change `Score.tempo` instead"
        )
    heard = [name for name in NAMES if vae.codec.has_velocities or ATTRIBUTE_OF[name].group != "dynamics"]
    check(attribute in heard, "attribute", attribute, f"one of {', '.join(heard)}")


def latents_of_measures(vae: TrainedVAE, level: str, chosen: np.ndarray) -> np.ndarray:
    """The latents of a level that span a chosen measure: bool[window, measure] to bool[window, time]."""
    own = vae.config.levels[level]
    span, times = own.span_in(chosen.shape[1]), own.num_latents(chosen.shape[1])
    padded = np.pad(chosen, ((0, 0), (0, times * span - chosen.shape[1])))
    return np.asarray(padded.reshape(len(chosen), times, span).any(-1))
