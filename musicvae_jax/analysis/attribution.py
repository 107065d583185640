"""Which latents the decoder uses for what: by taking them away, and by gradients. The two ways are compared.

The baseline of a latent is its prior mean given the levels above, loc(above).
"""

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr

from musicvae_jax.analysis.codes import Code
from musicvae_jax.config.checks import check
from musicvae_jax.evaluation.trained import TrainedVAE
from musicvae_jax.inference import frames, in_powers_of_two
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.objectives.control import expected_attributes
from musicvae_jax.objectives.loss import token_nll
from musicvae_jax.types import Array, Batch, Latents, Variables

PLACES = ("measure", "slot", "field")  # whose log-likelihood may be a target
_POINTS = 16  # of the integral


class Attribution(NamedTuple):
    """What groups of latents do to what is decoded, the mean over windows."""

    sources: tuple[str, ...]  # such as "fine/rhythm@2": a group of dims, and the place of the latent in its window
    targets: tuple[str, ...]  # measures, slots, fields, or attributes by measure
    occlusion: np.ndarray  # float64[source, target], the fall of the target when the source goes to its baseline
    gradients: np.ndarray  # float64[source, target], integrated gradients (Sundararajan et al. 2017, eq. 1)
    correlation: float  # Spearman's, of the absolute values of both
    total: float  # the fall when all latents go to their baselines, summed over targets


def attribute(vae: TrainedVAE, code: Code, of: str = "measure") -> Attribution:
    """Attributes what the decoder says of windows, under teacher forcing, to their latents.

    Targets are log-likelihoods in nats of each measure, of each slot of a measure, or of each field; or an attribute
    that the decoder expects in each measure, see `objectives.control.expected_attributes`.

    Args:
        vae: the model.
        code: of windows.
        of: one of `PLACES`, or an attribute of `CodecConfig.expected`.

    Raises:
        UserError: another target.
    """
    allowed = (*PLACES, *vae.config.codec.expected)
    check(of in allowed, "of", of, f"one of {', '.join(allowed)}")
    windows, levels = code.windows, vae.config.levels.on
    base = in_powers_of_two(lambda *rows: frames(vae.model, vae.variables, *rows), windows, code.means)
    start = {name: np.asarray(base[name].loc) for name in levels}
    call = partial(_falls, vae.model, vae.variables, of)
    gradients = in_powers_of_two(partial(_integrated, vae.model, vae.variables, of), code.means, start, windows)
    sources, falls, slopes = [], [], []
    for name, own in levels.items():
        for time in range(code.means[name].shape[1]):
            for group, dims in own.layout.items():
                hidden = {level: np.array(z) for level, z in code.means.items()}
                hidden[name][:, time, dims] = start[name][:, time, dims]
                sources.append(f"{name}/{group}@{time}")
                falls.append(np.asarray(in_powers_of_two(call, code.means, hidden, windows)).mean(0))
                slopes.append(np.asarray(gradients[name])[:, :, time, dims].sum(-1).mean(0))
    occlusion, integrated = np.array(falls, np.float64), np.array(slopes, np.float64)
    found = spearmanr(np.abs(occlusion).ravel(), np.abs(integrated).ravel()).statistic
    total = float(np.asarray(in_powers_of_two(call, code.means, start, windows)).sum(-1).mean())
    return Attribution(tuple(sources), _names(vae, of, occlusion.shape[1]), occlusion, integrated, float(found), total)


def shuffled(vae: TrainedVAE, seed: int = 0) -> TrainedVAE:
    """The model with the entries of each of its parameters shuffled: what it shows, training has not taught."""
    rng = np.random.default_rng(seed)
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(rng.permutation(np.asarray(leaf).ravel()).reshape(leaf.shape)), vae.variables
    )
    return dataclasses.replace(vae, variables=variables)


def _targets(model: MusicVAE, variables: Variables, of: str, latents: Latents, batch: Batch) -> Array:
    """The targets of windows: float[batch, target]."""
    logits = model.apply(variables, latents, batch, method="decode")
    if of not in PLACES:
        return expected_attributes(logits, batch, model.fields, 1)[of]
    axes = {"measure": (-2, -1), "slot": (-3, -1), "field": (-3, -2)}[of]
    return -token_nll(logits, batch).sum(axes)


@partial(jax.jit, static_argnames=("model", "of"))
def _falls(model: MusicVAE, variables: Variables, of: str, latents: Latents, hidden: Latents, batch: Batch) -> Array:
    """How far targets fall from latents to others: float[batch, target]."""
    return _targets(model, variables, of, latents, batch) - _targets(model, variables, of, hidden, batch)


@partial(jax.jit, static_argnames=("model", "of"))
def _integrated(
    model: MusicVAE, variables: Variables, of: str, latents: Latents, start: Latents, batch: Batch
) -> dict[str, Array]:
    """Integrated gradients of every target: level -> float[batch, target, time, dim], by the midpoint rule."""

    def one(latents: Latents, start: Latents, example: Batch) -> dict[str, Array]:
        step = jax.tree.map(jnp.subtract, latents, start)

        def slope(share: Array) -> Latents:
            point = jax.tree.map(lambda first, along: first + share * along, start, step)
            single = jax.tree.map(lambda leaf: leaf[None], example)

            def target(z: Latents) -> Array:
                return _targets(model, variables, of, jax.tree.map(lambda leaf: leaf[None], z), single)[0]

            return jax.jacrev(target)(point)

        slopes = jax.lax.map(slope, (jnp.arange(_POINTS) + 0.5) / _POINTS)
        return jax.tree.map(lambda slope, along: slope.mean(0) * along, slopes, step)

    return jax.vmap(one)(latents, start, batch)


def _names(vae: TrainedVAE, of: str, number: int) -> tuple[str, ...]:
    if of == "field":
        return tuple(field.name for field in vae.codec.fields)
    what = f"{of} of measure" if of not in PLACES else of
    return tuple(f"{what} {place + 1}" for place in range(number))
