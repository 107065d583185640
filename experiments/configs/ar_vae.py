"""AR-VAE's experiment: latents of single measures that follow four attributes (Pati & Lerch 2021)."""

from collections.abc import Callable
from functools import partial
from typing import Any

from musicvae_jax.config import Config, LevelConfig, LevelsConfig
from musicvae_jax.evaluation.ablations import Ablation, Column

# One latent of a measure of 24 ticks, as AR-VAE has it. Its loss is the mean over ticks plus .001 KL and 10 times the
# attribute loss: in nats per measure, .024 and 240.
_TICKS = ("0", "1/4", "1/3", "1/2", "2/3", "3/4")


_METHODS: dict[str, dict[str, Any]] = {
    "beta-vae": {},
    "ar-vae": {"attribute_weight": 240.0},
    "rank": {"attribute_weight": 24.0, "attribute_rule": "rank"},
}
MUSIC = {"folk": {"dataset": "folk_tunes"}, "bach": {"dataset": "bach_chorales", "track": "skyline"}}


def measures(change: Callable[..., Config], short: Config, music: str, **objective: Any) -> Config:
    """A VAE of single measures; its dims follow AR-VAE's attributes where the objective has a weight for them.

    Nearly all of the past is hidden from the decoder in training: it would not read the latent otherwise, and what is
    decoded from the latent alone is what counts here.
    """
    names = ("arvae_rhythmic_complexity", "arvae_note_density", "arvae_pitch_range", "arvae_contour")
    attributes = names if objective.get("attribute_weight") else ()
    fine = LevelConfig(dim=32, span=1, groups=(16, 16, 0, 0, 0), attributes=attributes)
    return change(
        short,
        LevelsConfig(global_=LevelConfig(), fine=fine),
        codec={"subdivisions": _TICKS, "slots": 24},
        data={**MUSIC[music], "measures": 1, "hop": 1, "attributes": bool(attributes)},
        model={
            "dim": 64,
            "encoder_slot_layers": 1,
            "encoder_measure_layers": 0,
            "conductor_layers": 0,
            "decoder_layers": 2,
            "level_dropout": 0.0,
            "token_dropout": 0.95,
        },
        objective={"beta": 0.024, "beta_warmup_steps": 0, "span_weight": 0.0, **objective},
        train={"num_steps": 2500, "eval_every": 500, "batch_size": 128, "learning_rate": 3e-3, "ema_decay": 0.99},
    )


def make_ar_vae(change: Callable[..., Config], short: Config) -> Ablation:
    """The ablation `ar-vae`, of a config of folk tunes and the function that changes it."""
    make = partial(measures, change, short)
    return Ablation(
        text=(
            "Latents of single measures that follow AR-VAE's four attributes (Pati & Lerch 2021): measures of folk "
            "tunes, and of the highest part of Bach's chorales, from pieces that share no music with the training "
            "pieces. `beta-vae` follows nothing; `ar-vae` has the paper's loss and weights; `rank` is the pairwise "
            "logistic loss."
        ),
        variants={
            f"{music}-{method}": make(music, **objective) for music in MUSIC for method, objective in _METHODS.items()
        },
        seeds=(0, 1, 2),
        columns=(
            Column("accuracy_free_running", "accuracy, decoded", ".4f"),
            Column("kl", "KL", ".1f"),
            Column("flow.groups.fine.arvae.mig", "MIG"),
            Column("flow.groups.fine.arvae.mig_ceiling", "of at most"),
            Column("flow.groups.fine.arvae.sap", "SAP"),
            Column("flow.groups.fine.arvae.interpretability", "R2"),
            Column("flow.groups.fine.arvae.scc", "SCC"),
        ),
    )
