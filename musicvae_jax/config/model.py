"""The layers of the VAE; its latent levels are in `config.levels`."""

import dataclasses
from typing import Literal

from musicvae_jax.config.checks import (
    check,
    check_not_negative,
    check_positive,
    check_probability,
    check_types,
    nearest,
)
from musicvae_jax.types import CONDITIONS


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The layers of the VAE, and what holds for all of its levels."""

    dim: int = 192
    """Width of every transformer layer."""
    num_heads: int = 6
    mlp_ratio: int = 4
    encoder_slot_layers: int = 2
    """Bidirectional layers inside each measure."""
    encoder_measure_layers: int = 2
    """Bidirectional layers across measures."""
    conductor_layers: int = 1
    """Bidirectional layers across measures that turn the latents into one condition per measure."""
    decoder_layers: int = 4
    """Causal layers of the decoder."""
    context: Literal["flat", "previous", "none"] = "flat"
    """What a slot sees of the music before it, beside the latents. flat: the whole past of the window. previous: its
    own measure's past and the measure before. none: its own measure's past; measures are then decoded in parallel."""

    intervals: bool = False
    """The decoder also sees the last pitch of each voice, and the logits of a pitch have a term for its interval to
    the last pitch of its own voice. With the context previous, that pitch may be of a measure before the one before."""
    slotwise: bool = False
    """Every slot of a measure and every measure of a span has its own linear maps to and from the latent, beside the
    pooled and shared ones."""
    inference: Literal["bottom_up", "ladder"] = "bottom_up"
    """bottom_up: a posterior from the features of the music and the levels above. ladder: the product of a likelihood
    from those features and the prior (Sonderby et al. 2016)."""
    prior_layers: int = 1
    """Layers of the network from the levels above to a level's prior; a causal prior has one more block at least."""
    skip: bool = False
    """In training the decoder also sees the encoder's features, through a gate; never in evaluation or generation."""
    skip_dropout: float = 0.5
    """Share of training windows whose skip connection is off."""
    level_dropout: float = 0.0
    """Share of training windows in which the levels below a random one are drawn from their priors."""

    conditions: tuple[str, ...] = ()
    """What may be known of a window and shapes the prior of the top level: key, mode, metre, style, tempo, and
    attributes such as note_density; any part of them may be unknown."""
    condition_dropout: float = 0.3
    """Share of training windows whose conditions are all hidden; in the others each is hidden with this probability."""
    condition_levels: bool = False
    """The priors of the levels below the top are told the conditions, too."""
    condition_decoder: bool = False
    """The decoder is told the conditions, too."""

    dropout: float = 0.0
    """Dropout after every attention and feed-forward layer of the encoder and of the decoder's slots; the conductor
    and the priors have none."""
    token_dropout: float = 0.0
    """Share of past slots that are hidden from the decoder in training (word dropout, Bowman et al. 2016)."""
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """What layers compute in; parameters are float32, or float64 with float64."""
    scan_layers: bool = False
    """Layers of one kind share one compiled body, in a loop, and activations other than products are recomputed: fewer
    kernels and less memory, more time. Parameters and values stay the same; noise of dropout does not."""
    remat: bool = False
    """Recompute activations in the backward pass: less memory, more time."""

    def __post_init__(self) -> None:
        check_types(self)
        check_positive(self, "dim", "num_heads", "mlp_ratio", "decoder_layers")
        check_not_negative(self, "prior_layers", "encoder_slot_layers", "encoder_measure_layers", "conductor_layers")
        check_probability(self, "dropout", "token_dropout", "skip_dropout", "level_dropout", "condition_dropout")
        for name in self.conditions:
            check(name in CONDITIONS, "ModelConfig.conditions", name, f"a known name: {nearest(name, CONDITIONS)}")
        check(len(set(self.conditions)) == len(self.conditions), "ModelConfig.conditions", self.conditions, "each once")
        fits = self.dim % (2 * self.num_heads) == 0
        check(fits, "ModelConfig.dim", self.dim, f"a multiple of 2 x num_heads = {2 * self.num_heads}")
