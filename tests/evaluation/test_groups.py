"""What the groups of dims tell of attributes, for means that are made of the attributes."""

import numpy as np
import pytest

from musicvae_jax.data.datasets.dmelodies import NUM_MELODIES, to_factors
from musicvae_jax.evaluation.groups import factor_figures, group_figures, measure_figures
from musicvae_jax.evaluation.likeness import GROUP_OF, NAMES
from musicvae_jax.evaluation.probes import ProbeData
from musicvae_jax.types import GROUPS, PRIMARY
from tests.models.variants import DEEP
from tests.tiny import replace

RNG = np.random.default_rng(0)
WINDOWS, MEASURES = 400, 4
CONFIG = replace(
    DEEP,
    **{"global": {"dim": 5, "groups": (1, 1, 1, 1, 1)}},
    local={"dim": 4, "span": 2, "groups": (2, 2, 0, 0, 0)},
    fine={"dim": 3, "groups": (1, 1, 1, 0, 0)},
)
TIMES = {"global": 1, "local": 2, "fine": 4}


def make_data(mean_of=None) -> ProbeData:
    """Independent attributes without dynamics; means that are noise, or the primary attributes. Two windows a family.

    The last measure of every second window is missing.
    """
    metre = np.full((WINDOWS, MEASURES, 2), 4, np.int32)
    metre[::2, -1] = 0
    attributes, means = {}, {}
    for level, own in CONFIG.levels.on.items():
        values = RNG.normal(size=(WINDOWS, TIMES[level], len(NAMES)))
        values[..., [GROUP_OF[name] == "dynamics" for name in NAMES]] = np.nan
        if level == "fine":
            values[::2, -1] = np.nan
        attributes[own.span_name] = values
        means[level] = RNG.normal(size=(WINDOWS, TIMES[level], own.dim))
        for group, dims in own.layout.items():
            if mean_of and group in mean_of:
                source = values[..., NAMES.index(PRIMARY[mean_of[group]])]
                means[level][..., dims.start] = np.where(np.isfinite(source), source, 5.0)
    return ProbeData(means, attributes, metre, np.arange(WINDOWS) // 2)


def test_named_dims_have_a_gap_and_leak_nothing():
    figures = group_figures(make_data({group: group for group in ("rhythm", "pitch", "harmony")}), CONFIG)
    assert list(figures) == ["global", "local", "fine"]
    for level, found in figures.items():
        assert found.cells == WINDOWS * TIMES[level] - (WINDOWS // 2 if level == "fine" else 0)
        assert found.mig_ceiling > 0.8
        assert list(found.leakage) == list(CONFIG.levels[level].layout)
        has_all = level != "local"  # which has no dims for harmony
        assert found.mig == pytest.approx(found.mig_ceiling * (1 if has_all else 2 / 3), abs=0.08)
        for group, read in found.leakage.items():
            assert set(read) == {name for name in NAMES if GROUP_OF[name] != "dynamics"}
            for name, r2 in read.items():
                assert r2 == pytest.approx(float(PRIMARY.get(group) == name), abs=0.08)


def test_groups_that_stand_in_for_each_other_are_seen():
    """The dims named pitch hold the rhythm, and the other way round."""
    found = group_figures(make_data({"rhythm": "pitch", "pitch": "rhythm"}), CONFIG)["global"]
    assert found.leakage["rhythm"]["mean_pitch"] > 0.95 and found.leakage["pitch"]["note_density"] > 0.95
    assert found.leakage["rhythm"]["note_density"] < 0.05 and found.leakage["pitch"]["mean_pitch"] < 0.05


def test_noise_has_no_gap():
    for found in group_figures(make_data(), CONFIG).values():
        assert found.mig < 0.02
        assert max(value for read in found.leakage.values() for value in read.values()) < 0.05


def test_correlation_is_that_of_the_attributes_alone():
    data = make_data()
    values = data.attributes["window"]
    values[..., NAMES.index("mean_pitch")] = values[..., NAMES.index("note_density")]
    found = group_figures(data, CONFIG)["global"].correlation
    assert list(found) == ["rhythm", "pitch", "harmony"]
    assert found["rhythm"]["mean_pitch"] > 0.99 and found["pitch"]["note_density"] > 0.99
    assert found["harmony"]["mean_pitch"] < 0.05


def test_every_group_but_style_has_a_primary_attribute_of_its_own():
    assert [*PRIMARY, "style"] == list(GROUPS)
    assert all(GROUP_OF[attribute] == group for group, attribute in PRIMARY.items())


def test_scores_of_measures_are_at_their_ceiling_for_the_attributes_themselves():
    attributes = RNG.normal(size=(300, 4, 4))
    attributes[::3, -1] = np.nan
    means = np.concatenate([np.nan_to_num(attributes), RNG.normal(size=(300, 4, 3))], -1)
    found = measure_figures(means, attributes)
    assert found
    assert found.mig == pytest.approx(found.mig_ceiling, abs=0.03) and found.mig > 0.9
    assert (found.interpretability, found.scc) == pytest.approx((1, 1)) and found.sap > 0.97
    noise = measure_figures(RNG.normal(size=means.shape), attributes)
    assert noise
    assert max(noise.mig, noise.sap, noise.interpretability) < 0.05 and noise.scc < 0.2
    assert noise.mig_ceiling == pytest.approx(found.mig_ceiling)
    assert measure_figures(means, np.full_like(attributes, np.nan)) is None


def test_only_latents_of_measures_have_the_scores_of_arvae():
    data = make_data()._replace(own={"measure": RNG.normal(size=(WINDOWS, MEASURES, 4))})
    figures = group_figures(data, CONFIG)
    assert [level for level, found in figures.items() if found.arvae] == ["fine"]
    assert all(found.arvae is None for found in group_figures(make_data(), CONFIG).values())


def test_styles_are_found_in_the_group_that_tells_them_only():
    data = make_data()
    style = (np.arange(WINDOWS) // 2 % 3).astype(float)  # of families
    data.means["global"][:, 0, -1] = style * 4
    style[:8] = np.nan
    figures = group_figures(data._replace(style=style), CONFIG)
    found = figures["global"].style
    assert set(found) == {"chance", *CONFIG.levels["global"].layout}
    assert found["style"] == 1 and found["chance"] == pytest.approx(1 / 3, abs=0.1)
    assert all(found[group] < 0.5 for group in ("rhythm", "pitch", "harmony", "dynamics"))
    assert all(value < 0.5 for value in figures["fine"].style.values())
    one = group_figures(data._replace(style=np.zeros(WINDOWS)), CONFIG)["global"].style
    assert one == {} == group_figures(data, CONFIG)["global"].style


def test_factors_as_codes_have_the_scores_of_dmelodies_at_their_ceiling():
    factors = to_factors(RNG.integers(0, NUM_MELODIES, 2000)).astype(float)
    factors[::7] = np.nan
    noise = RNG.normal(size=(2000, 1, 3))
    means = np.concatenate([np.nan_to_num(factors)[:, None], noise], -1)
    found, lost = (factor_figures(codes, factors[:, None]) for codes in (means, RNG.normal(size=means.shape)))
    assert found and lost
    assert found.mig == pytest.approx(found.mig_ceiling, abs=0.05) and found.mig > 0.8
    assert found.modularity > 0.95 and found.sap > 0.15 > lost.sap  # a linear SVM of one dim finds few of 28 classes
    assert lost.mig < 0.05 and lost.mig_ceiling == pytest.approx(found.mig_ceiling)
    assert factor_figures(means, np.full((2000, 1, 9), np.nan)) is None and factor_figures(means, None) is None


def test_draws_of_wide_posteriors_tell_nothing_that_their_means_tell():
    named = make_data({group: group for group in ("rhythm", "pitch", "harmony")})
    wide = {level: RNG.normal(size=mean.shape) for level, mean in named.means.items()}
    for draws, tells in ((named.means, True), (wide, False)):
        for found in group_figures(named._replace(draws=draws), CONFIG).values():
            assert min(found.mig, found.mig_neighbours) > 0.5
            assert (found.mig_draws > 0.5) == tells
            assert found.mig_all < found.mig  # no dim is one of the other attributes
