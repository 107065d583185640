"""The optimiser, the devices, and the rhythm of a run."""

import dataclasses
from typing import Literal

from musicvae_jax.config.checks import check_not_negative, check_positive, check_probability, check_seed, check_types


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The optimiser, the devices and the rhythm of logging, evaluation and checkpoints."""

    num_steps: int = 2000
    batch_size: int = 64
    """Windows in a step, over all devices and processes."""
    accumulate: int = 1
    """Microbatches whose gradients are averaged before an update: less memory, same result, save for what depends on
    the batch as a whole: free bits per dim, KL balance and batch normalisation see microbatches."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    """The peak, reached after warmup_steps, then a cosine down to final_learning_rate x the peak."""
    warmup_steps: int = 100
    final_learning_rate: float = 0.05
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    """Gradients are clipped to this global norm; it is stated against the loss per token."""
    adam_b2: float = 0.98
    ema_decay: float = 0.995
    """Decay of the moving average of the parameters that evaluation uses; 0 turns it off."""
    parallel: Literal["pmap", "jit"] = "jit"
    """How the step is spread over devices: both give the same numbers."""
    num_devices: int = 0
    """Local devices used; 0 uses all."""
    seed: int = 0
    log_every: int = 10
    eval_every: int = 500
    """Steps between short evaluations on the validation split, which choose the best checkpoint."""
    eval_examples: int = 256
    """Windows in such a short evaluation."""
    checkpoint_every: int = 250
    on_collapse: Literal["warn", "stop"] = "warn"
    """What happens when a latent level or group has died: a line that names it, or that and the end of the run."""
    collapse_nats: float = 1.0
    """A level with less KL per window counts as dead, and so does a group without an active dim."""
    collapse_patience: int = 2
    """Short evaluations in a row that must say so."""

    def __post_init__(self) -> None:
        check_types(self)
        check_positive(self, "num_steps", "batch_size", "accumulate", "learning_rate", "clip_norm")
        check_positive(self, "log_every", "eval_every", "eval_examples", "checkpoint_every", "collapse_patience")
        check_not_negative(self, "warmup_steps", "final_learning_rate", "weight_decay", "num_devices", "collapse_nats")
        check_seed(self.seed, "TrainConfig.seed")
        check_probability(self, "ema_decay", "adam_b2")
