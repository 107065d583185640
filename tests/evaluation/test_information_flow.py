"""Everything at once, on a model of three levels that nothing has trained."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from musicvae_jax.codec.attributes import SPANS
from musicvae_jax.evaluation import information_flow as flow
from musicvae_jax.evaluation.likeness import NAMES
from musicvae_jax.evaluation.loading import load_workdir
from tests.tiny import replace
from tests.untrained import LEVELS_CONFIG, write_workdir

LEVELS = ("global", "local", "fine")


@pytest.fixture(scope="module")
def vae(tmp_path_factory, folk_data_dir):
    config = replace(LEVELS_CONFIG, data={"data_dir": folk_data_dir}, train={"batch_size": 8}, model={"skip": True})
    return load_workdir(write_workdir(tmp_path_factory.mktemp("flow") / "run", config))


@pytest.fixture(scope="module")
def measured(vae):
    """The figures, the windows that they are of, and the strata of the top-k test."""
    seen: dict[str, Any] = {}

    def noting(name: str, function: Callable) -> Callable:
        def noting_(*args: Any) -> Any:
            seen[name] = function(*args), args
            return seen[name][0]

        return noting_

    with pytest.MonkeyPatch.context() as patch:
        for name in ("_measure", "top_k_figures"):
            patch.setattr(flow, name, noting(name, getattr(flow, name)))
        # 20 windows are no multiple of the batch: padding must not count.
        figures = flow.information_flow(vae, "test", num_windows=20, num_probed=40, num_draws=1)
    return figures, seen["_measure"][0], seen["top_k_figures"][1][-1]


@pytest.fixture(scope="module")
def figures(measured):
    return measured[0]


def test_the_figures_have_their_names(figures):
    decoded = [f"top_{k}" for k in range(4)] + [f"top_{k}_minus_top_{k - 1}" for k in (1, 2, 3)] + ["shuffled"]
    kinds = [f"r2_{span}{within}" for span in SPANS for within in ("", "_within_metre")]
    names = {f"{row}_{kind}" for row in decoded for kind in (*kinds, "chroma", "rhythm", "onset_f1")}
    names |= {f"replace_{level}_{by}" for level in LEVELS for by in ("prior_mean", "noise", "other_piece")}
    names |= {"swap_global_kl_local", "swap_global_kl_fine", "swap_local_kl_fine", "skip_share"}
    with_errors = {*names, *(f"{name}_se" for name in names), "flow_windows", "flow_draws", "probe_windows"}
    probes = {name for name in figures if name.startswith("probe_r2_")}
    assert set(figures) - probes == with_errors
    lowest = ("global_window", "local_phrase", "fine_measure")
    every = {f"probe_r2_{name}" for name in (*lowest, "global_phrase", "global_measure", "local_measure")}
    every |= {f"probe_r2_{name}_{kind}" for name in lowest for kind in ("within_metre", "shuffled")}
    assert every <= probes
    assert probes - every <= {f"probe_r2_{name}_{attribute}" for name in lowest for attribute in NAMES}
    assert figures["flow_windows"] == 20 and figures["probe_windows"] == 40
    assert np.isfinite(list(figures.values())).all()


def test_differences_are_differences_and_figures_keep_their_bounds(figures):
    for k in (1, 2, 3):
        for kind in ("r2_window", "r2_measure_within_metre", "chroma", "onset_f1"):
            difference = figures[f"top_{k}_{kind}"] - figures[f"top_{k - 1}_{kind}"]
            assert figures[f"top_{k}_minus_top_{k - 1}_{kind}"] == pytest.approx(difference, abs=1e-12)
    for name, value in figures.items():
        if name.startswith(("top", "shuffled")) and "minus" not in name:
            assert 0 <= value <= 1 + 1e-9


def test_windows_of_the_same_metres_are_one_stratum(measured):
    _, windows, strata = measured
    same = (windows.metre[:, None] == windows.metre[None]).all((2, 3))
    np.testing.assert_array_equal(strata[:, None] == strata[None], same)
    assert not same.all()


def test_the_skip_connections_share_is_of_the_nll(measured):
    figures, windows, _ = measured
    nll, with_skip = (windows.costs[name].astype(np.float64) for name in ("nll", "nll_skip"))
    assert len(nll) == 20
    assert figures["skip_share"] == pytest.approx((nll.mean() - with_skip.mean()) / nll.mean(), rel=1e-6)
    assert abs(figures["skip_share"]) > 1e-3


def test_the_seed_decides(vae, figures):
    """The same figures again; another seed draws others."""
    again, other = (
        flow.information_flow(vae, "test", num_windows=20, num_probed=40, num_draws=1, seed=s) for s in (0, 1)
    )
    assert again == figures
    assert other["replace_global_noise"] != figures["replace_global_noise"]
    assert set(other) == set(figures)
