"""The loss: nll + sum over levels of weight x rate(KL), summed in nats; what belongs to one level is in its config."""

import dataclasses
from typing import Literal

from musicvae_jax.config.checks import check, check_not_negative, check_positive, check_types


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """What holds for the KL of all levels, and the weights of the other terms."""

    beta: float = 1.0
    """Weight of the KL of all levels (Higgins et al. 2017), times each level's own; 1 is the ELBO."""
    beta_warmup_steps: int = 0
    """Steps in which beta rises linearly from 0."""
    kl_balance_steps: int = 0
    """Steps in which levels with little KL are charged less than others (Vahdat & Kautz 2020)."""
    kl_per_phrase: float = 0.0
    """Set point of the total KL in nats per phrase of four measures, for a controller; 0: none (Shao et al. 2020)."""
    controller_proportional: float = 0.5
    """Proportional gain, on log(KL / set point)."""
    controller_integral: float = 0.02
    """Integral gain per step."""
    controller_min_beta: float = 1e-3
    """The smallest factor of a weight, and the one at the first step."""
    controller_max_beta: float = 10.0
    """The largest factor of a weight."""
    span_weight: float = 0.0
    """Weight of the span heads' nll, in nats per window; see LevelConfig.span_head."""
    attribute_weight: float = 0.0
    """Weight of the attribute loss of every dim that follows one, in nats per window; see LevelConfig.attributes."""
    attribute_rule: Literal["sign", "rank"] = "sign"
    """sign: differences of the dim have the signs of those of the attribute (Pati & Lerch 2021). rank: the same by a
    logistic loss of each pair, weighted by how much the attribute differs; equal attributes do not pull."""
    attribute_sharpness: float = 10.0
    """What multiplies differences of the dim."""
    attribute_target: Literal["z", "e"] = "z"
    """What follows: the latent that the decoder sees, or e of z = loc(above) + scale(above) * e."""
    control_weight: float = 0.0
    """Weight of the difference between the attribute that the decoder expects and the one that a moved dim asks for, in
    nats per window; see `objectives.control`. It takes a second pass through the decoder."""
    group_head_weight: float = 0.0
    """Weight of the errors of the group heads, in nats per latent; see LevelConfig.group_heads."""
    mode_weight: float = 0.0
    """mixture: weight of the cross entropy of a window's style under the responsibilities of the top level's Gaussians,
    the first of which stands for the first style and so on, in nats per latent whose style is known."""
    leakage_weight: float = 0.0
    """Weight of the dependence of an attribute on the dims outside its group, summed over attributes (HSIC, Gretton et
    al. 2005); this and the other terms of independence are of every level, see `objectives.independence`."""
    orthogonality_weight: float = 0.0
    """Weight of the squared covariances of dims of different groups."""
    group_correlation_weight: float = 0.0
    """Weight of the total correlation of the groups, in nats (Chen et al. 2018)."""
    dim_correlation_weight: float = 0.0
    """Weight of the total correlation of the dims, in nats (beta-TCVAE, Chen et al. 2018)."""
    factor_weight: float = 0.0
    """Weight of the total correlation of the dims, in nats, as a discriminator estimates it (FactorVAE, Kim & Mnih
    2018); see `objectives.discriminator`."""
    discriminator_dim: int = 256
    """Width of the layers of a discriminator; there is one for each level."""
    discriminator_layers: int = 4
    discriminator_learning_rate: float = 1e-4
    """Of its own optimiser."""
    dip_weight: float = 0.0
    """Weight of the squared distance of the covariance of the dims from the identity (Kumar et al. 2018)."""

    def __post_init__(self) -> None:
        check_types(self)
        check_not_negative(self, "beta", "beta_warmup_steps", "kl_balance_steps", "kl_per_phrase", "span_weight")
        check_not_negative(
            self, "attribute_weight", "control_weight", "leakage_weight", "orthogonality_weight", "dip_weight"
        )
        check_not_negative(self, "factor_weight", "mode_weight")
        check_positive(self, "discriminator_dim", "discriminator_layers", "discriminator_learning_rate")
        check_not_negative(self, "group_correlation_weight", "dim_correlation_weight", "group_head_weight")
        check_not_negative(self, "controller_proportional", "controller_integral")
        check_positive(self, "controller_min_beta", "controller_max_beta", "attribute_sharpness")
        low, high = self.controller_min_beta, self.controller_max_beta
        allowed = f"at most controller_max_beta = {high}"
        check(low <= high, "ObjectiveConfig.controller_min_beta", low, allowed)

    @property
    def independence_weights(self) -> dict[str, float]:
        """Term of `objectives.independence` or `objectives.discriminator` -> its weight, of those that are on."""
        names = ("leakage", "orthogonality", "group_correlation", "dim_correlation", "factor", "dip")
        return {name: weight for name in names if (weight := getattr(self, f"{name}_weight"))}
