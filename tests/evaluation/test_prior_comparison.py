"""Priors of one model beside each other."""

import dataclasses
import json
import math

import numpy as np
import pytest

from musicvae_jax import load_windows, load_workdir, make_eval_batches
from musicvae_jax.config import PriorConfig, UserError
from musicvae_jax.evaluation.fitted_priors import OWN
from musicvae_jax.evaluation.prior_comparison import (
    PriorComparison,
    PriorRow,
    compare_priors,
    comparison_text,
    read_comparison,
    write_comparison,
)
from musicvae_jax.evaluation.prior_fitting import fit_prior
from musicvae_jax.figures import Estimate
from tests.evaluation.trees import make_priors, make_samples
from tests.tiny import replace
from tests.untrained import LEVELS_CONFIG, write_workdir


def make_comparison(seed: int = 0, gain: float = 2.0) -> PriorComparison:
    kl = {"global": 7.0, "local": 24.0, "fine": 34.0}
    none = Estimate(0.0, 0.0)
    base, measured = dict.fromkeys(kl, "normal"), (make_priors(), make_samples())
    own = PriorRow(base, kl, -130.0, -120.0, 4.0, 3.5, none, none, *measured)
    other = dataclasses.replace(own, kl=kl | {"fine": 34.0 - gain}, iwae_gain=Estimate(gain, 0.25))
    other = dataclasses.replace(other, base=base | {"local": "flow", "fine": "flow"})
    return PriorComparison("validation", 512, 64, 2800, seed, 0, {OWN: own, "flow": other})


def cells(text: str, heading: str) -> list[str]:
    """The column of a table under a heading."""
    for table in text.split("\n\n")[1:]:
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        if heading in rows[0]:
            return [row[rows[0].index(heading)] for row in rows[2:]]
    raise AssertionError(heading)


def test_a_file_comes_back_and_others_are_refused(tmp_path):
    comparison = make_comparison()
    assert read_comparison(write_comparison(tmp_path / "a" / "b.json", comparison)) == comparison
    json.loads((tmp_path / "a" / "b.json").read_text(), parse_constant=pytest.fail)
    (tmp_path / "c.json").write_text("[1]")
    with pytest.raises(UserError, match=r"c.json is no comparison: allowed is what experiments/compare_priors.py"):
        read_comparison(tmp_path / "c.json")


def test_a_table_has_a_row_for_each_prior():
    text = comparison_text([make_comparison()])
    assert text.startswith("512 windows of 'validation', 64 draws of each posterior, seed 0\n")
    assert cells(text, "prior") == ["`own`, normal", "`flow`, normal, flow"]
    assert cells(text, "KL `fine`") == ["34.00", "32.00"] and cells(text, "KL") == ["65.00", "63.00"]
    assert cells(text, "gain in IWAE") == ["0.00 ± 0.00", "2.00 ± 0.25"]
    assert cells(text, "accuracy `local`") == ["0.562 ± 0.020"] * 2
    assert cells(text, "gap `local`, per latent") == ["2.00"] * 2
    assert cells(text, "least overlap") == ["0.500"] * 2 and cells(text, "diversity") == ["0.800"] * 2


def test_of_several_runs_it_has_means_and_errors_over_runs():
    runs = [make_comparison(seed, gain) for seed, gain in enumerate((1.0, 2.0, 6.0))]
    text = comparison_text(runs)
    assert "3 runs, mean ± standard error over runs" in text
    assert cells(text, "gain in IWAE") == ["0.00", "3.00 ± 1.53"] and cells(text, "KL `global`") == ["7.00"] * 2
    with pytest.raises(UserError, match=r"train_seed of the files = \[1, 1\]"):
        comparison_text([runs[1]] * 2)
    with pytest.raises(UserError, match="as in the first"):
        comparison_text([runs[0], dataclasses.replace(runs[1], draws=8)])


@pytest.fixture(scope="module")
def vae(tmp_path_factory, folk_data_dir):
    data, off = {"data_dir": folk_data_dir, "min_measures": 4}, {"dim": 0}
    config = replace(LEVELS_CONFIG, data=data, local=off, fine=off)
    return load_workdir(write_workdir(tmp_path_factory.mktemp("comparison") / "run", config, seed=1))


def test_a_fitted_prior_gains_what_its_kl_falls_by(vae):
    """In the ELBO exactly, because the draws are the same; the nll is that of the model."""
    prior = PriorConfig(base="mixture", modes=3, num_steps=30, batch_size=8, learning_rate=1e-2)
    fitted = fit_prior(vae, prior).vae
    found = compare_priors(vae, {"modes": fitted}, "validation", num_windows=40, num_draws=4)
    own, other = found.priors[OWN], found.priors["modes"]
    assert (found.windows, found.draws, list(found.priors)) == (40, 4, ["own", "modes"])
    assert set(own.base.values()) == {"normal"} and set(other.base.values()) == {"mixture"}
    saved = sum(own.kl.values()) - sum(other.kl.values())
    assert saved > 0.5 and other.elbo_gain.value == pytest.approx(saved, rel=1e-4) and other.elbo_gain.se > 0
    assert own.elbo_gain.value == own.iwae_gain.value == 0
    assert other.elbo - own.elbo == pytest.approx(saved, rel=1e-3)
    for row in (own, other):
        assert row.iwae > row.elbo and row.perplexity_iwae < row.perplexity_elbo
        batches = make_eval_batches(load_windows(vae.config, "validation"), 40, num_examples=40)
        assert row.perplexity_elbo == pytest.approx(np.exp(-40 * row.elbo / batches[0].mask.sum()))
    assert own.fit.levels["global"].mutual_information == pytest.approx(other.fit.levels["global"].mutual_information)
    assert math.isfinite(own.samples.memorised) and own.samples.threshold == other.samples.threshold


def test_names_that_figures_cannot_have_are_refused(vae):
    for name in (OWN, "flow.4"):
        with pytest.raises(UserError, match=f"prior = '{name}': allowed is a name without dots, other than 'own'"):
            compare_priors(vae, {name: vae}, "validation")
