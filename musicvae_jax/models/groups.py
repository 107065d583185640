"""The named groups of a level's dims: what each number of a latent is meant to be about."""

from musicvae_jax.config import ModelConfig
from musicvae_jax.types import GROUPS

_DEFAULT_SIZE = 8  # dims of a group, unless the config says otherwise; the last one gets the rest


def group_layout(config: ModelConfig, level: str) -> dict[str, slice]:
    """Which dims of a level belong to which group: a partition of them, in order; groups without dims are left out.

    The sizes are the config's; without any, up to 8 dims each for rhythm, pitch, harmony and dynamics, the rest style.

    Args:
        config: the model's.
        level: one that the config turns on.

    Example:
        >>> group_layout(ModelConfig(global_dim=20), "global")
        {'rhythm': slice(0, 8, None), 'pitch': slice(8, 16, None), 'harmony': slice(16, 20, None)}
    """
    sizes = getattr(config, f"{level}_groups")
    width = config.widths[level]
    layout, start = {}, 0
    for number, name in enumerate(GROUPS):
        last = number == len(GROUPS) - 1
        size = sizes[number] if sizes else width - start if last else min(_DEFAULT_SIZE, width - start)
        if size:
            layout[name] = slice(start, start + size)
        start += size
    return layout


def dim_name(config: ModelConfig, level: str, dim: int) -> str:
    """The name of a dim by its place in its group: ``"fine/rhythm[3]"``.

    Raises:
        ValueError: the level has no such dim.
    """
    for group, dims in group_layout(config, level).items():
        if dims.start <= dim < dims.stop:
            return f"{level}/{group}[{dim - dims.start}]"
    raise ValueError(f"dim = {dim}: allowed is 0 to {config.widths[level] - 1} of level {level!r}")
