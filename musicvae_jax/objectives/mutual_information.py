"""How much a level's latents say about which music they are of."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import logsumexp

from musicvae_jax.config import ModelConfig
from musicvae_jax.models.groups import group_layout
from musicvae_jax.types import Gaussian


def mutual_information_figures(
    residuals: Mapping[str, Sequence[Gaussian]], config: ModelConfig, seed: int = 0
) -> dict[str, float]:
    """``mutual_information_<level>`` and ``mutual_information_<level>_<group>``, estimates in nats.

    Args:
        residuals: level -> batches of float[latent, dim], every unmasked latent of a split, in the units of its prior.
        config: the model's.
        seed: of the draws.
    """
    figures = {}
    for level in config.widths:
        whole = Gaussian(*(np.concatenate(leaves) for leaves in zip(*residuals[level], strict=True)))
        figures[f"mutual_information_{level}"] = mutual_information(whole, seed)
        for group, dims in group_layout(config, level).items():
            part = Gaussian(*(leaf[:, dims] for leaf in whole))
            figures[f"mutual_information_{level}_{group}"] = mutual_information(part, seed)
    return figures


def mutual_information(posterior: Gaussian, seed: int = 0, *, num_draws: int = 4096, chunk: int = 128) -> float:
    """An estimate of I(x; z) in nats: E[log q(z|x) - log q(z)] with one draw of z for each x.

    q(z) is the mixture of the posteriors of all x given (Hoffman & Johnson 2016; He et al. 2019, eq. 5), so that the
    estimate cannot exceed the log of their number: publish it with the number. In the mean the KL from N(0, 1) is this
    plus that of the mixture.

    Args:
        posterior: float[latent, dim], every unmasked latent of a split. Of a level below another in the units of its
            prior: as it is, it would say what the level above has drawn, too, even where it is a copy of its prior. x
            is then a phrase or a measure with what the levels above have drawn for it.
        seed: of the draws.
        num_draws: no more latents than so many are drawn, spread evenly; the mixture is still of all.
        chunk: draws compared at once with all posteriors; bounds the memory to 3 x chunk x latent numbers.
    """
    loc, log_scale = (np.asarray(leaf, np.float64) for leaf in posterior)
    draws = loc + np.exp(log_scale) * np.random.default_rng(seed).standard_normal(loc.shape)
    count = min(len(loc), num_draws)
    rows = np.arange(count) * len(loc) // max(count, 1)
    precision = np.exp(-2 * log_scale)
    # log q of every draw under every posterior, up to a constant, as products of matrices.
    constant = (-0.5 * precision * loc**2 - log_scale).sum(1)
    total = 0.0
    for start in range(0, count, chunk):
        here = rows[start : start + chunk]
        z = draws[here]
        log_q = z @ (precision * loc).T - 0.5 * z**2 @ precision.T + constant
        own = log_q[np.arange(len(here)), here]
        total += float((own - logsumexp(log_q, axis=1) + np.log(len(loc))).sum())
    return total / count
