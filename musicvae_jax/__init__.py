"""Interpretable, hierarchical variational autoencoders of symbolic music, in JAX and Flax.

Names are imported when they are first used: reading music needs no JAX, and ``--help`` answers at once.
"""

import importlib
from typing import Any

_HOMES = {
    # configuration
    "config": (
        "CodecConfig",
        "Config",
        "ConfigError",
        "DataConfig",
        "LevelConfig",
        "LevelsConfig",
        "ModelConfig",
        "ObjectiveConfig",
        "PriorConfig",
        "TrainConfig",
        "UserError",
    ),
    "config.dims": ("dim_name", "find_dims"),
    "types": ("ATTRIBUTES", "Batch", "Field", "Gaussian", "VAEOutput"),
    "figures": ("Estimate", "flatten"),
    # music and data
    "codec": (
        "MelodyCodec",
        "Metre",
        "MusicError",
        "PerformanceCodec",
        "Score",
        "VoicesCodec",
        "make_codec",
        "parse_abc",
        "read_midi",
        "read_musicxml",
        "read_score",
        "read_whole",
        "write_abc",
        "write_midi",
        "write_musicxml",
        "write_score",
    ),
    "codec.attributes": ("attributes",),
    "data.load": ("load_batches", "load_windows"),
    "data.windows": ("WindowSource",),
    "data.pipeline": ("make_eval_batches", "make_train_iterator"),
    # model and objective
    "models.vae": ("MusicVAE",),
    "models.sampling": ("SamplingConfig", "sample_tokens"),
    "objectives.loss": ("Terms", "elbo_terms", "objective"),
    "objectives.rates": ("beta_schedule", "capacity_schedule", "cyclical_schedule", "level_schedule", "weights_at"),
    "inference": (
        "decode_nll",
        "encode",
        "forward",
        "infer",
        "reconstruct",
        "responsibilities",
        "sample_prior",
        "slerp",
    ),
    # training
    "training.loop": ("train",),
    "training.metrics": ("read_metrics",),
    "training.devices": ("join_processes", "set_up_devices"),
    "training.parallel": ("make_parallel",),
    "training.state": ("TrainState", "init_state", "make_model"),
    "training.step": ("make_device_step", "make_loss"),
    # evaluation and generation
    "evaluation.disentanglement": (
        "dci",
        "explicitness",
        "infomec",
        "interpretability",
        "label_accuracy",
        "leakage",
        "modularity",
        "mutual_information",
        "mutual_information_gap",
        "separated_attribute_predictability",
        "spearman",
    ),
    "evaluation.bounds": ("paired_gain", "window_bounds"),
    "evaluation.conditioned": ("condition_figures",),
    "evaluation.coherence": ("coherence_features", "overlapping_area"),
    "evaluation.evaluate": ("evaluate",),
    "evaluation.fitted_priors": ("load_prior", "save_prior"),
    "evaluation.information_flow": ("information_flow",),
    "evaluation.load": ("load_workdir",),
    "evaluation.modes": ("mixture_figures",),
    "evaluation.ngram": ("NGram",),
    "evaluation.prior_comparison": ("compare_priors",),
    "evaluation.prior_distance": ("prior_figures", "prior_gap"),
    "evaluation.prior_fitting": ("fit_main", "fit_prior"),
    "evaluation.rivals": ("measure_rivals",),
    "evaluation.pieces": ("read_pieces",),
    "evaluation.samples": ("sample_figures",),
    "evaluation.trained": ("TrainedVAE",),
    "evaluation.two_samples": ("classifier_accuracy", "mmd"),
    # to look into latents and to steer
    "analysis.analyzer": ("LatentAnalyzer",),
    "analysis.corpus": ("Embedding", "load_embedding", "save_embedding"),
    "analysis.directions": ("Direction",),
    # to see and to hear
    "analysis.audio": ("listen", "render", "seconds_of", "write_wav"),
    "analysis.curves": ("kl_per_dim", "plot_level_kl", "plot_training_curves"),
    "analysis.latent_plots": ("plot_attribution", "plot_kl_per_dim", "plot_map", "plot_traversal"),
    "analysis.page": ("save_figure",),
    "analysis.report": ("write_report",),
    "analysis.piano_rolls": (
        "piano_roll",
        "plot_interpolation",
        "plot_reconstruction",
        "plot_samples",
        "plot_variants",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = list(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
