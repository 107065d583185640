"""Laws of the groups: a partition, and names that are all different."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.config import ModelConfig
from musicvae_jax.models.groups import dim_name, group_layout
from musicvae_jax.types import GROUPS

CONFIG = ModelConfig(global_dim=40, local_dim=12, fine_dim=6)


@given(st.integers(1, 60), st.lists(st.integers(0, 9), min_size=5, max_size=5).filter(any) | st.none())
def test_groups_are_a_partition_in_order(width, sizes):
    sizes = () if sizes is None else tuple(sizes)
    width = sum(sizes) or width
    layout = group_layout(dataclasses.replace(CONFIG, fine_dim=width, fine_groups=sizes), "fine")
    dims = [dim for part in layout.values() for dim in range(width)[part]]
    assert dims == list(range(width))
    assert list(layout) == [group for group in GROUPS if group in layout]
    assert all(part.start < part.stop for part in layout.values())


def test_default_and_given_sizes():
    assert {group: part.stop - part.start for group, part in group_layout(CONFIG, "global").items()} == dict.fromkeys(
        GROUPS, 8
    )
    assert group_layout(CONFIG, "local") == {"rhythm": slice(0, 8), "pitch": slice(8, 12)}
    given_sizes = dataclasses.replace(CONFIG, fine_groups=(2, 0, 3, 0, 1))
    assert group_layout(given_sizes, "fine") == {"rhythm": slice(0, 2), "harmony": slice(2, 5), "style": slice(5, 6)}
    assert group_layout(given_sizes, "local") == group_layout(CONFIG, "local")


def test_every_dim_has_its_name():
    names = [dim_name(CONFIG, level, dim) for level, width in CONFIG.widths.items() for dim in range(width)]
    assert len(set(names)) == sum(CONFIG.widths.values())
    assert dim_name(CONFIG, "local", 11) == "local/pitch[3]"
    assert dim_name(CONFIG, "fine", 3) == "fine/rhythm[3]"
    for dim in (-1, 6):
        with pytest.raises(ValueError, match=f"dim = {dim}: allowed is 0 to 5 of level 'fine'"):
            dim_name(CONFIG, "fine", dim)
