"""The ablation `priors`: bases and contexts of the prior, trained with the model."""

import dataclasses
from collections.abc import Callable
from typing import Any

from musicvae_jax.config import Config, LevelsConfig
from musicvae_jax.evaluation.ablations import Ablation, Column
from musicvae_jax.types import LEVELS

_LEARNED: dict[str, Any] = {"posterior": "absolute", "kl_estimate": "draw"}
_COLUMNS = (
    Column("perplexity_elbo", "ELBO perplexity", ".2f"),
    Column("iwae.perplexity", "IWAE perplexity", ".2f"),
    Column("perplexity", "perplexity", ".2f"),
    Column("kl_per_phrase", "KL per phrase", ".1f"),
    Column("onset_f1", "onset F1"),
    Column("priors.gap", "gap", ".1f"),
    *(Column(f"priors.levels.{level}.accuracy.mlp.value", f"told apart, {level}", ".2f") for level in LEVELS),
    Column("priors.together.accuracy.mlp.value", "told apart, all", ".2f"),
    Column("samples.overlap.*", "overlap", ".2f"),
    Column("samples.overlap.phrase_similarity", "of phrase similarity", ".2f"),
    Column("samples.diversity", "diversity", ".2f"),
    Column("samples.memorised", "memorised", ".3f"),
    *(Column(f"levels.{level}.active_b", f"active {level} (b)", ".2f") for level in LEVELS),
)


def make_priors(change: Callable[..., Config], short: Config) -> Ablation:
    """The ablation.

    Args:
        change: makes a config with other levels and fields of another.
        short: `folk-plain` for a few hundred steps.
    """

    def prior(top: dict[str, Any] | None = None, **lower: Any) -> Config:
        """Other settings of the levels below the top, and of the top, which are the same if not given."""
        own = {
            level: dataclasses.replace(
                short.levels[level], free_bits="none", nats=0.0, **(lower if top is None or level != "global" else top)
            )
            for level in LEVELS
        }
        return change(short, LevelsConfig(global_=own["global"], local=own["local"], fine=own["fine"]))

    absolute: dict[str, Any] = {"posterior": "absolute"}
    affine = {"base": "flow", **_LEARNED}
    return Ablation(
        text=(
            "The prior of `folk-plain`, trained with the model for 600 steps. A controller holds the same KL at each "
            "level in all variants; there are no free bits, which need a KL by dim. The prior of `normal` is trained "
            "by the decoder alone, those of all others by the KL, too (`posterior` absolute). In `causal` the "
            "frame depends on the earlier latents of its level, in `affine-memory` the base."
        ),
        variants={
            "normal": prior(),
            "normal-absolute": prior(**absolute),
            "causal": prior(absolute, **absolute, prior_context="causal"),
            "mixture": prior(base="mixture", **_LEARNED),
            "vamp": prior({"base": "vamp", **_LEARNED}, **absolute),
            "affine": prior(**affine),
            "spline": prior(**affine, flow="spline"),
            "affine-causal": prior(affine, **affine, prior_context="causal"),
            "affine-memory": prior(affine, **affine, memory_layers=1),
        },
        seeds=(0, 1, 2),
        columns=_COLUMNS,
        flow_windows=0,
        iwae_draws=8,
        samples=512,
    )
