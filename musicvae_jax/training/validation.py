"""The ELBO and the usage of the latents on held-out windows, computed on all devices."""

import dataclasses
from collections.abc import Callable, Iterable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.config import Config
from musicvae_jax.inference import reconstruct
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.objectives.loss import elbo_terms, objective
from musicvae_jax.objectives.rates import final_weights
from musicvae_jax.objectives.usage import LevelFigures, Usage, measure_usage, usage_figures
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.training.memory import set_aside_gaps
from musicvae_jax.training.parallel import Parallel
from musicvae_jax.types import Array, Batch, Variables, existing_fields


@dataclasses.dataclass(frozen=True)
class ValidationFigures:
    """Means over held-out windows; latents are drawn from the posterior."""

    nll: float  # nats per window
    kl: float  # nats per window
    objective: float  # nats per window, under `final_weights`; the checkpoint with the smallest is the best
    kl_per_phrase: float  # nats per phrase of four measures
    perplexity: float  # exp(nll / tokens)
    perplexity_elbo: float  # exp((nll + kl) / tokens)
    levels: dict[str, LevelFigures]


def make_validator(
    model: MusicVAE, parallel: Parallel, config: Config
) -> Callable[[Variables, Iterable[Batch]], ValidationFigures]:
    """``validate(variables, batches) -> figures``, from the rows of batches that this process has.

    Rows with index -1 do not count. The objective is that of training, but under `final_weights`, so that checkpoints
    of different steps can be compared.
    """
    weights = final_weights(config)

    @partial(jax.jit, out_shardings=parallel.replicated)
    def measure(variables: Variables, batch: Batch) -> tuple[dict[str, Array], Usage]:
        keys = row_keys(stream(jax.random.key(config.train.seed), "validation"), batch.index)
        output = reconstruct(model, variables, batch, keys)
        elbo, terms = elbo_terms(output, batch), objective(config, output, batch, weights)
        real = batch.index >= 0
        values = {
            "nll": elbo.nll,
            "kl": elbo.total_kl,
            "tokens": existing_fields(batch.tokens, batch.mask, model.fields).sum((-3, -2, -1)),
            "objective": sum(terms.per_example.values()),
        }
        sums = {name: jnp.where(real, value, 0).sum() for name, value in values.items()}
        sums["objective"] += len(real) * sum(terms.batch.values())  # means over all rows; padding adds 0
        return sums, measure_usage(output, batch)

    compiled = False

    def validate(variables: Variables, batches: Iterable[Batch]) -> ValidationFigures:
        nonlocal compiled
        sums, usage = zip(
            *jax.device_get([measure(variables, parallel.shard_rows(batch)) for batch in batches]), strict=True
        )
        if not compiled:  # the first call has compiled `measure`
            compiled = True
            set_aside_gaps()
        windows, phrases = (sum(float(getattr(part, name)) for part in usage) for name in ("windows", "phrases"))
        nll, kl, tokens, total = (
            sum(float(part[name]) for part in sums) for name in ("nll", "kl", "tokens", "objective")
        )
        return ValidationFigures(
            nll=nll / windows,
            kl=kl / windows,
            objective=total / windows,
            kl_per_phrase=kl / phrases,
            perplexity=_exp(nll / tokens),
            perplexity_elbo=_exp((nll + kl) / tokens),
            levels=usage_figures(usage, config.levels),
        )

    return validate


def _exp(nats: float) -> float:
    """The exponential; infinity where it overflows."""
    with np.errstate(over="ignore"):
        return float(np.exp(nats))
