"""Dims by name."""

import pytest

from musicvae_jax.config import ConfigError, LevelConfig, LevelsConfig
from musicvae_jax.config.dims import dim_name, find_dims

LEVELS = LevelsConfig(global_=LevelConfig(dim=20), local=LevelConfig(), fine=LevelConfig(dim=5, groups=(2, 0, 3, 0, 0)))


def test_names_and_places_are_inverse():
    for level, own in LEVELS.on.items():
        for dim in range(own.dim):
            found = find_dims(LEVELS, dim_name(LEVELS, level, dim))
            assert (found.level, found.dims) == (level, slice(dim, dim + 1))


def test_the_groups_of_a_level_are_a_partition_of_it():
    for level, own in LEVELS.on.items():
        whole = find_dims(LEVELS, level)
        groups = [find_dims(LEVELS, f"{level}/{group}") for group in own.layout]
        assert [name for group in groups for name in group.names] == list(whole.names)
        assert sum(group.dims.stop - group.dims.start for group in groups) == own.dim


@pytest.mark.parametrize("name", ["fine/pitch", "local", "fine/rhythm[2]", "rhythm[0]", ""])
def test_unknown_names_are_refused(name):
    with pytest.raises(ConfigError, match=r"such as global/rhythm\[0\]"):
        find_dims(LEVELS, name)


def test_a_dim_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="level = 'local': allowed is one of global, fine"):
        dim_name(LEVELS, "local", 0)
    with pytest.raises(ConfigError, match="dim of fine = 5: allowed is 0 to 4"):
        dim_name(LEVELS, "fine", 5)
