"""One dim of a piece moved."""

import math
from typing import TYPE_CHECKING

import jax
import numpy as np

from musicvae_jax.codec.score import Score
from musicvae_jax.config import check_seed
from musicvae_jax.config.checks import check
from musicvae_jax.inference import sample_prior
from musicvae_jax.models.sampling import SamplingConfig
from musicvae_jax.rng import row_keys, stream

if TYPE_CHECKING:
    from musicvae_jax.evaluation.trained import TrainedVAE


def traverse(
    vae: "TrainedVAE",
    score: Score,
    dim: str,
    steps: int = 5,
    reach: float = 2.0,
    *,
    seed: int = 0,
    sampling: SamplingConfig = SamplingConfig(temperature=0.0),
) -> list[Score]:
    """The first window of a piece with one dim moved: from ``-reach`` to ``reach`` is added to its posterior mean.

    The dim moves in all latents of its level. The other dims of the level and the levels above stay at their posterior
    means; the levels below are drawn from their priors, with the same noise at every step.

    Args:
        vae: the model.
        score: the piece.
        dim: its name, such as ``"fine/rhythm[0]"``; see `LevelConfig.dim_names`.
        steps: points at even distances, both ends included.
        reach: the largest shift. Under a normal base 1 is a standard deviation of the prior at the top level.
        seed: of latents and tokens.
        sampling: how tokens are chosen.

    Raises:
        MusicError: the codec refuses the piece.
        UserError: there is no such dim, or another argument is out of range.
    """
    check_seed(seed)
    levels = vae.config.levels.on
    places = {name: (level, place) for level, own in levels.items() for place, name in enumerate(own.dim_names(level))}
    some = ", ".join(f"{level}/{group}[0]" for level, own in levels.items() for group in own.layout)
    check(dim in places, "dim", dim, f"such as {some}")
    check(steps >= 2, "steps", steps, "2 or more: both ends count")
    check(reach > 0 and math.isfinite(reach), "reach", reach, "above 0")
    moved, place = places[dim]
    window = jax.tree.map(lambda leaf: leaf[:1], vae.windows(score))
    posterior, names = vae.encode(window), list(levels)
    kept = names[: names.index(moved) + 1]
    given = {level: np.repeat(np.asarray(posterior[level].loc), steps, 0) for level in kept}
    given[moved][..., place] += np.linspace(-reach, reach, steps)[:, None]
    frame = np.repeat(window.metre, steps, 0)
    keys = row_keys(stream(jax.random.key(seed), "prior"), np.zeros(steps, np.int32))
    latents = sample_prior(vae.model, vae.variables, frame, keys, given)
    tokens = vae.decode(latents, frame, seed=seed, sampling=sampling)
    real = window.metre[0, :, 0] > 0
    return [
        vae.codec.decode(
            row[real], metre[real], tempo=score.tempo, fifths=score.fifths, mode=score.mode, title=score.title
        )
        for row, metre in zip(tokens, frame, strict=True)
    ]
