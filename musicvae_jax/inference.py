"""A model applied to batches: encode, infer, sample the prior, decode.

Everything that applies a model goes through here: the training step, validation, evaluation and generation. All noise
of a row comes from its own key, so no result depends on how rows are batched or spread over devices. The functions are
jitted, but `forward`, which the training step differentiates.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.models.latent.stack import Inferred
from musicvae_jax.models.spans import present_latents
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.objectives.loss import token_nll
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.types import Array, Batch, Gaussian, Latents, VAEOutput, Variables

ROW = "row"  # the axis of the rows of a batch
NOISE_STREAMS = ("latent", "dropout", "token_dropout", "level_dropout", "skip", "conditions")


def forward(
    model: MusicVAE,
    variables: Variables,
    batch: Batch,
    keys: Array,
    *,
    deterministic: bool = True,
    given: Mapping[str, Array] | None = None,
    skip: bool | None = None,
    batch_axes: Sequence[str] = (),
) -> VAEOutput:
    """A pass through the model: posteriors, draws, KLs, and logits under teacher forcing.

    Args:
        model: the VAE.
        variables: its ``params``, and ``batch_stats`` where it has them.
        batch: with one leading batch axis.
        keys: key[batch].
        deterministic: False turns on dropout of all kinds and statistics of the batch, as in training.
        given: level -> float[batch, time, dim], latents that replace the level's draws.
        skip: whether the decoder sees the encoder's features; only in training if not given.
        batch_axes: names of mapped axes over which the batch is spread, beside its rows.
    """

    def one(example: Batch, key: Array, given_row: Latents) -> tuple[VAEOutput, dict]:
        rngs = {"latent": key} if deterministic else {name: stream(key, name) for name in NOISE_STREAMS}
        axes = (ROW, *batch_axes)
        output = model.apply(variables, example, deterministic, given=given_row, skip=skip, batch_axes=axes, rngs=rngs)
        return output._replace(moments={}), output.moments  # moments are the same for all rows

    output, moments = jax.vmap(one, out_axes=(0, None), axis_name=ROW)(batch, keys, dict(given or {}))
    return output._replace(moments=moments)


@partial(jax.jit, static_argnames=("model", "skip"))
def reconstruct(
    model: MusicVAE, variables: Variables, batch: Batch, keys: Array, given: Latents | None = None, skip: bool = False
) -> VAEOutput:
    """`forward` without anything that belongs to training; arguments as there."""
    return forward(model, variables, batch, keys, given=given, skip=skip)


@partial(jax.jit, static_argnames="model")
def features(model: MusicVAE, variables: Variables, batch: Batch) -> dict[str, Array]:
    """What the encoder finds: level -> float[batch, time, feature], which `infer` takes in place of the music."""
    return dict(model.apply(variables, batch, method="features"))


@partial(jax.jit, static_argnames="model")
def infer(
    model: MusicVAE,
    variables: Variables,
    batch: Batch,
    keys: Array,
    given: Latents | None = None,
    features: Mapping[str, Array] | None = None,
) -> Inferred:
    """Draws latents from the posterior, coarse to fine, with their KLs; nothing is decoded. Arguments as of `forward`.

    Levels below a given one are inferred from it. With the features of the music, only the metres and conditions of the
    batch count.
    """

    def one(example: Batch, key: Array, given_row: Latents, found: Mapping[str, Array] | None) -> Inferred:
        return model.apply(variables, example, given_row, found, method="infer", rngs={"latent": key})

    return jax.vmap(one)(batch, keys, given or {}, features)


@partial(jax.jit, static_argnames="model")
def encode(model: MusicVAE, variables: Variables, batch: Batch) -> dict[str, Gaussian]:
    """The posterior of every level, given the means of the levels above: level -> Gaussian over [batch, time, dim].

    It is N(0, 1) where a window has no latent.
    """
    posterior = model.apply(variables, batch, method="encode")
    masks = {name: present_latents(batch.metre, level)[..., None] for name, level in model.levels.on.items()}
    return {name: Gaussian(*(jnp.where(masks[name], leaf, 0) for leaf in q)) for name, q in posterior.items()}


@partial(jax.jit, static_argnames="model")
def responsibilities(model: MusicVAE, variables: Variables, batch: Batch) -> dict[str, Array]:
    """Which Gaussian of a mixture explains a latent: level -> float[batch, time, mode], the sums over modes are 1.

    It is p(mode | e, above) at the posterior means; levels whose base is no mixture are left out.
    """
    return dict(model.apply(variables, batch, method="responsibilities"))


@partial(jax.jit, static_argnames="model")
def sample_prior(
    model: MusicVAE,
    variables: Variables,
    metre: Array,
    keys: Array,
    given: Latents | None = None,
    temperature: Mapping[str, Any] | None = None,
    conditions: Array | None = None,
    guidance: Array | float | None = None,
    begun: Latents | None = None,
) -> Latents:
    """Draws the latents that are not given from their priors, top-down: level -> float[batch, time, dim].

    Args:
        model: the VAE.
        variables: its variables.
        metre: int32[batch, measure, 2]; (0, 0) in measures that a window lacks.
        keys: key[batch].
        given: level -> float[batch, time, dim].
        temperature: level -> what multiplies the scale of its base; 0 gives the means, 1 where a level is not named.
        conditions: float[batch, condition], NaN where unknown; None if all are.
        guidance: how strongly the frames follow the conditions, see `gaussian.guided`; None: as they were learned.
        begun: level -> float[batch, n, dim], its first latents, where they are known; the others are drawn given them
            (under ``ar1`` without).
    """

    def one(metre: Array, key: Array, given_row: Latents, known: Array | None, first: Latents) -> Latents:
        arguments = (metre, given_row, temperature or {}, known, guidance, first)
        return model.apply(variables, *arguments, method="sample_prior", rngs={"latent": key})

    return jax.vmap(one)(metre, keys, given or {}, conditions, begun or {})


@partial(jax.jit, static_argnames="model")
def frames(model: MusicVAE, variables: Variables, batch: Batch, latents: Latents) -> dict[str, Gaussian]:
    """The frames of windows under given latents: level -> loc and log scale of z = loc + scale * e."""
    return infer(model, variables, batch, row_keys(jax.random.key(0), batch.index), latents).frame


@partial(jax.jit, static_argnames="model")
def place(model: MusicVAE, variables: Variables, batch: Batch, given: Latents, e: Latents) -> Latents:
    """Latents of all levels, z = loc(above) + scale(above) * e where they are not given: level -> [batch, time, dim].

    Args:
        model: the VAE.
        variables: its variables.
        batch: whose metres and conditions count.
        given: level -> float[batch, time, dim].
        e: level -> float[batch, time, dim].
    """
    return model.apply(variables, batch, given, e, method="place")


@partial(jax.jit, static_argnames="model")
def decode_nll(model: MusicVAE, variables: Variables, latents: Latents, batch: Batch) -> Array:
    """-log p(x | z) of given latents under teacher forcing, in nats per window: float[batch]."""
    return token_nll(model.apply(variables, latents, batch, method="decode"), batch).sum((-3, -2, -1))


def in_powers_of_two(function: Callable[..., Any], *rows: Any) -> Any:
    """Calls a compiled, row-wise function with a number of rows that is a power of two, so that it compiles for few
    shapes.

    The last row is repeated, and the results of the copies are dropped. Rows that lie on devices are passed as they
    are: such batches have one size.

    Args:
        function: of arrays with a leading axis of rows.
        rows: its arguments; NumPy arrays, or any trees of them.
    """
    if not any(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(rows)):
        return function(*rows)
    rows = jax.tree.map(np.asarray, rows)
    num = len(jax.tree.leaves(rows)[0])
    more = 2 ** math.ceil(math.log2(num)) - num
    padded = jax.tree.map(lambda leaf: np.concatenate([leaf, np.repeat(leaf[-1:], more, 0)]), rows)
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[:num]), function(*padded))


def slerp(first: Array, second: Array, share: float) -> Array:
    """Spherical interpolation along the last axis (White 2016); a straight line where the ends are parallel.

    Args:
        first: float[..., dim], the point at share 0.
        second: float[..., dim], the point at share 1.
        share: between 0 and 1.
    """
    unit = [end / jnp.maximum(jnp.linalg.norm(end, axis=-1, keepdims=True), 1e-9) for end in (first, second)]
    angle = jnp.arccos(jnp.clip((unit[0] * unit[1]).sum(-1, keepdims=True), -1, 1))
    line = (1 - share) * first + share * second
    sine = jnp.sin(angle)
    curve = (jnp.sin((1 - share) * angle) * first + jnp.sin(share * angle) * second) / jnp.maximum(sine, 1e-9)
    return jnp.where(sine < 1e-4, line, curve)
