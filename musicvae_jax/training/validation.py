"""The bound on held-out windows, computed on all devices."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.config import Config
from musicvae_jax.models.latents import relative_to
from musicvae_jax.models.spans import present_spans
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.objectives.controller import TOTAL, set_points
from musicvae_jax.objectives.elbo import elbo_terms
from musicvae_jax.objectives.free_bits import rate
from musicvae_jax.objectives.latent_usage import Usage, measure_usage, sum_usage, usage_figures
from musicvae_jax.objectives.mutual_information import mutual_information_figures
from musicvae_jax.objectives.schedules import capacity_schedule, level_schedule
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.training.parallel import Parallel
from musicvae_jax.types import Array, Batch, Gaussian, Variables, existing_fields


class Residual(NamedTuple):
    """A level's posteriors in the units of its prior."""

    gaussian: Gaussian
    present: Array  # bool[batch, time]

    def there(self) -> Gaussian:
        """Of the latents that are there: float[latent, dim], on the host."""
        return Gaussian(*(leaf[self.present] for leaf in self.gaussian))


def make_validator(
    model: MusicVAE, parallel: Parallel, config: Config
) -> Callable[[Variables, Iterable[Batch]], dict[str, float]]:
    """A function of (variables, this process's rows of batches) to means over all windows.

    The latents are drawn from the posterior. Rows with index -1 do not count. Keys: ``nll``, ``kl`` (nats per window),
    ``kl_per_phrase``, ``perplexity`` and ``perplexity_elbo`` (exp of nats per token), what `usage_figures` and
    `mutual_information_figures` say of every level, and ``objective``, by which the best checkpoint is chosen: nll +
    the charge for every level's KL by its own rule, under the weights and capacities of the last step, so that
    checkpoints compare. Where a controller steers, weights change from step to step: there the weight is 1.
    """
    weights = final_weights(config)

    @partial(jax.jit, out_shardings=parallel.replicated)
    def totals(variables: Variables, batch: Batch) -> tuple[dict[str, Array], Usage, dict[str, Residual]]:
        keys = row_keys(stream(jax.random.key(config.train.seed), "validation"), batch.index)
        encode_decode = jax.vmap(lambda example, key: model.apply(variables, example, rngs={"latent": key}))
        output = encode_decode(batch, keys)
        terms = elbo_terms(output, batch)
        real = batch.index >= 0
        values = {
            "nll": terms.nll,
            "kl": sum(terms.kl.values()),
            "tokens": existing_fields(batch.tokens, batch.mask, model.fields).sum((-3, -2, -1)),
        }
        values["objective"] = terms.nll
        residuals = {}
        here = (batch.metre[..., 0] > 0) & real[:, None]
        for level, weight in weights.items():
            rule, present = config.objective.level(level), present_spans(here, model.config.span(level, here.shape[-1]))
            kl = jnp.where(present[..., None], output.kl[level], 0)
            residuals[level] = Residual(relative_to(output.posterior[level], output.prior[level]), present)
            capacity = capacity_schedule(rule)(config.train.num_steps - 1)
            values["objective"] += weight * rate(rule, kl, present, capacity)
        sums = {name: jnp.where(real, value, 0).sum() for name, value in values.items()}
        return sums, measure_usage(output, batch, model.config), residuals

    def validate(variables: Variables, batches: Iterable[Batch]) -> dict[str, float]:
        collected = jax.device_get([totals(variables, parallel.shard_rows(batch)) for batch in batches])
        nll, kl, tokens, objective = (
            sum(float(sums[name]) for sums, _, _ in collected) for name in ("nll", "kl", "tokens", "objective")
        )
        usage = sum_usage(part for _, part, _ in collected)
        residuals = {level: [found[level].there() for _, _, found in collected] for level in weights}
        return {
            "nll": nll / float(usage.windows),
            "kl": kl / float(usage.windows),
            "objective": objective / float(usage.windows),
            "kl_per_phrase": kl / float(usage.phrases),
            "perplexity": _exp(nll / tokens),
            "perplexity_elbo": _exp((nll + kl) / tokens),
            **usage_figures(usage, model.config),
            **mutual_information_figures(residuals, model.config),
        }

    return validate


def final_weights(config: Config) -> dict[str, float]:
    """The weight of each level's KL at the last step, 1 where a controller steers."""
    steered = set_points(config.objective, list(config.model.widths))
    return {
        level: 1.0
        if level in steered or TOTAL in steered
        else float(level_schedule(config.objective, level)(config.train.num_steps - 1))
        for level in config.model.widths
    }


def _exp(nats: float) -> float:
    """The exponential; infinity where it is no float."""
    with np.errstate(over="ignore"):
        return float(np.exp(nats))
