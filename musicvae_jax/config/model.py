"""The sizes of the VAE, its latent levels, and what keeps them alive."""

import dataclasses
from typing import Literal

from musicvae_jax.config.checks import (
    ConfigError,
    check,
    check_not_negative,
    check_positive,
    check_probability,
    check_types,
)
from musicvae_jax.types import LEVELS

Level = Literal["global", "local", "fine"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The sizes of the VAE, its latent levels, and what keeps them alive."""

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
    """What a slot sees of the music before it, beside the latents: the whole window's past, its own measure's and the
    measure's before it, or its own measure's alone; then measures are decoded in parallel."""

    slotwise: bool = False
    """Every slot of a measure, and every measure of a phrase, has linear maps of its own to and from the code, beside
    the pooled and shared ones: codes learn to spell music much sooner."""

    global_dim: int = 128
    """Width of the latent that spans the whole window; 0 leaves the level out, as for the next two."""
    local_dim: int = 0
    """Width of the latent of each local_span measures."""
    fine_dim: int = 0
    """Width of the latent of each fine_span measures."""
    local_span: int = 4
    """Measures that one latent of the local level spans."""
    fine_span: int = 1
    """Measures that one latent of the fine level spans."""
    global_groups: tuple[int, ...] = ()
    """Dims of the groups rhythm, pitch, harmony, dynamics, style, in order; empty: up to 8 each, the rest style."""
    local_groups: tuple[int, ...] = ()
    fine_groups: tuple[int, ...] = ()

    inference: Literal["bottom_up", "ladder"] = "bottom_up"
    """Where a level's posterior comes from: the music's features and the levels above, or the product of the music's
    likelihood and the prior (Sonderby et al. 2016)."""
    prior_context: Literal["independent", "causal"] = "independent"
    """What a latent's prior sees beside the levels above: nothing, or the latents of its level before it."""
    prior_layers: int = 1
    """Layers of the network that makes a level's prior out of the levels above; a causal prior has one block or more on
    top."""
    delta_levels: tuple[Level, ...] = ()
    """Levels whose prior is an AR(1) process along time, so that their KL cannot be 0 (Razavi et al. 2019)."""
    delta_alpha: float = 0.9
    """The autocorrelation of that process."""
    batch_norm_levels: tuple[Level, ...] = ()
    """Levels whose posterior means are normalised over the batch, so that their KL cannot be 0 (Zhu et al. 2020)."""
    batch_norm_gamma: float = 0.6
    """The standard deviation that those means get, in standard deviations of the prior."""
    skip: bool = False
    """The encoder's features reach the decoder in training, through a gate; off at generation and in evaluation."""
    skip_dropout: float = 0.5
    """Share of training windows that do without the skip connection."""
    level_dropout: float = 0.0
    """Share of training windows whose lower levels, below a random one, are drawn from the prior."""
    span_heads: tuple[Level, ...] = ()
    """Levels that must predict their span's bag of tokens, and the rhythm of its slots, with the levels above them."""

    dropout: float = 0.0
    """Dropout on the output of every attention and feed-forward layer of the encoder and of the decoder's slots; the
    conductor and the priors have none."""
    token_dropout: float = 0.0
    """Share of past slots hidden from the decoder in training, so that it asks the latent (Bowman et al. 2016)."""
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """What layers compute in; parameters stay float32 or wider."""
    remat: bool = False
    """Recompute activations in the backward pass: less memory, more time."""

    def __post_init__(self) -> None:
        check_types(self)
        check_positive(self, "dim", "num_heads", "mlp_ratio", "decoder_layers", "local_span", "fine_span")
        check_not_negative(self, "global_dim", "local_dim", "fine_dim", "prior_layers", "batch_norm_gamma")
        check_not_negative(self, "encoder_slot_layers", "encoder_measure_layers", "conductor_layers")
        check_probability(self, "dropout", "token_dropout", "skip_dropout", "level_dropout", "delta_alpha")
        check(
            self.dim % (2 * self.num_heads) == 0,
            "ModelConfig.dim",
            self.dim,
            f"a multiple of 2 x num_heads = {2 * self.num_heads}",
        )
        if not self.widths:
            raise ConfigError("ModelConfig: global_dim, local_dim and fine_dim are all 0: allowed is one level or more")
        self._check_groups()
        self._check_levels()
        self._check_guarantees()

    @property
    def widths(self) -> dict[str, int]:
        """The latent levels that are on, coarse to fine, with their widths."""
        widths = {level: getattr(self, f"{level}_dim") for level in LEVELS}
        return {level: width for level, width in widths.items() if width}

    def span(self, level: str, num_measures: int) -> int:
        """Measures that one latent of a level spans, in a window of so many."""
        return num_measures if level == "global" else int(getattr(self, f"{level}_span"))

    def num_latents(self, level: str, num_measures: int) -> int:
        """Latents of a level in a window of so many measures."""
        return -(-num_measures // self.span(level, num_measures))

    def is_causal(self, level: str) -> bool:
        """Whether a level's prior sees the latents of its level before it."""
        return self.prior_context == "causal" and level != "global"

    def _check_groups(self) -> None:
        for level in LEVELS:
            sizes, width = getattr(self, f"{level}_groups"), getattr(self, f"{level}_dim")
            fits = not sizes or (len(sizes) == 5 and min(sizes) >= 0 and sum(sizes) == width)
            check(fits, f"ModelConfig.{level}_groups", sizes, f"nothing, or five sizes that add up to {width}")

    def _check_levels(self) -> None:
        for name in ("delta_levels", "batch_norm_levels", "span_heads"):
            levels = getattr(self, name)
            known = set(levels) <= set(self.widths) and len(set(levels)) == len(levels)
            check(known, f"ModelConfig.{name}", levels, f"some of the levels that are on: {', '.join(self.widths)}")
        check("global" not in self.delta_levels, "ModelConfig.delta_levels", self.delta_levels, "local, fine")
        check(not self.delta_levels or self.delta_alpha > 0, "ModelConfig.delta_alpha", self.delta_alpha, "above 0")
        spread = not self.batch_norm_levels or self.batch_norm_gamma > 0
        check(spread, "ModelConfig.batch_norm_gamma", self.batch_norm_gamma, "above 0 with batch_norm_levels")
        ordered = not (self.local_dim and self.fine_dim) or self.fine_span <= self.local_span
        check(ordered, "ModelConfig.fine_span", self.fine_span, f"at most local_span = {self.local_span}")
        several = not self.level_dropout or len(self.widths) > 1
        check(several, "ModelConfig.level_dropout", self.level_dropout, "0 with one level: there is none below it")

    def _check_guarantees(self) -> None:
        """What goes with what: `docs/levels.md` has the table."""
        refused = (
            (self.delta_levels and self.inference == "ladder", "delta_levels", "the merge would undo the bound"),
            (self.delta_levels and self.prior_context == "causal", "delta_levels", "the prior is an AR(1) process"),
            (self.batch_norm_levels and self.inference == "ladder", "batch_norm_levels", "the merge undoes the bound"),
            (
                any(map(self.is_causal, self.batch_norm_levels)),
                "batch_norm_levels",
                "a causal prior is not known before its past is drawn",
            ),
            (
                self.level_dropout and set(self.batch_norm_levels) - set(list(self.widths)[:1]),
                "batch_norm_levels",
                "of a level below another only the windows that keep it count, and a batch may have none",
            ),
            (
                set(self.delta_levels) & set(self.batch_norm_levels),
                "batch_norm_levels",
                "the bound holds for a prior without memory, and delta_levels have one",
            ),
        )
        for wrong, name, reason in refused:
            if wrong:
                others = f"inference = {self.inference!r}, prior_context = {self.prior_context!r}, "
                others += f"level_dropout = {self.level_dropout}"
                levels = f"delta_levels = {self.delta_levels!r}, batch_norm_levels = {self.batch_norm_levels!r}"
                raise ConfigError(f"ModelConfig.{name} does not go with the rest ({others}, {levels}): {reason}")
