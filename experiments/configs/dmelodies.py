"""dMelodies (Pati et al. 2020): which methods find the nine factors that generated two measures."""

from collections.abc import Callable
from typing import Any

from musicvae_jax.codec.attributes.dmelodies import FACTORS
from musicvae_jax.config import Config, LevelConfig, LevelsConfig
from musicvae_jax.evaluation.ablations import Ablation, Column

_CAPACITY: dict[str, Any] = {"free_bits": "capacity", "nats": 30.0, "capacity_steps": 1500}
# Method -> fields of the level and of the objective. Without the factors: the first four.
_METHODS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "beta-vae": ({}, {"beta": 1.0}),
    "annealed-vae": (_CAPACITY, {"beta": 1.0}),
    "factor-vae": ({}, {"beta": 0.5, "factor_weight": 5.0}),
    "beta-tcvae": ({}, {"beta": 0.5, "dim_correlation_weight": 2.0}),
    "ar-vae": ({}, {"beta": 0.5, "attribute_weight": 16.0}),
    "rank": ({}, {"beta": 0.5, "attribute_weight": 16.0, "attribute_rule": "rank"}),
}


def melodies(change: Callable[..., Config], short: Config, level: dict[str, Any], **objective: Any) -> Config:
    """A VAE of two measures with one latent of 32 dims.

    Nearly all of the past is hidden from the decoder in training, so that it must read the latent.
    """
    supervised = bool(objective.get("attribute_weight"))
    names = tuple(f"dmelodies_{name}" for name in FACTORS) if supervised else ()
    local = LevelConfig(dim=32, span=2, groups=(8, 12, 12, 0, 0), attributes=names, **level)
    return change(
        short,
        LevelsConfig(global_=LevelConfig(), local=local),
        codec={"subdivisions": ("0", "1/2"), "slots": 8},
        data={"dataset": "dmelodies", "measures": 2, "hop": 2, "attributes": supervised},
        model={
            "dim": 64,
            "num_heads": 4,
            "encoder_slot_layers": 1,
            "encoder_measure_layers": 1,
            "conductor_layers": 0,
            "decoder_layers": 2,
            "level_dropout": 0.0,
            "token_dropout": 0.95,
        },
        objective={"beta_warmup_steps": 1000, "span_weight": 0.0, **objective},
        train={"num_steps": 2000, "eval_every": 500, "batch_size": 128, "learning_rate": 3e-3, "ema_decay": 0.99},
    )


def make_dmelodies(change: Callable[..., Config], short: Config) -> Ablation:
    """The ablation `dmelodies`, of a config of folk tunes and the function that changes it."""
    return Ablation(
        text=(
            "dMelodies (Pati et al. 2020): which methods find the nine factors of two measures in a latent of 32 dims. "
            "All train for the same steps, on 45,876 melodies of the sample. `beta-vae`, `annealed-vae`, `factor-vae` "
            "and `beta-tcvae` do not know the factors; `ar-vae` (sign loss) and `rank` (pairwise logistic loss) have a "
            "dim for each. MIG by a histogram of 20 bins on 4,096 melodies; `of at most` is that of the factors "
            "themselves. `others stay` is the restrictiveness, the mean over the nine dims moved: 1 where moving one "
            "changes no other factor. `valid` is the share of points that decode to a melody of dMelodies; dims of "
            "factors are drawn evenly within their range, others from the prior."
        ),
        variants={name: melodies(change, short, level, **objective) for name, (level, objective) in _METHODS.items()},
        seeds=(0, 1),
        columns=(
            Column("accuracy_free_running", "accuracy, decoded", ".4f"),
            Column("kl", "KL", ".1f"),
            Column("perplexity_elbo", "ELBO perplexity", ".2f"),
            Column("flow.groups.local.factors.mig", "MIG"),
            Column("flow.groups.local.factors.mig_ceiling", "of at most"),
            Column("flow.groups.local.factors.sap", "SAP"),
            Column("flow.groups.local.factors.modularity", "modularity"),
            Column("flow.control.local.*.restrictiveness", "others stay"),
            Column("flow.control.local.*.monotonicity", "monotonicity"),
            Column("flow.latent_density.local", "valid"),
        ),
        flow_windows=1024,
    )
