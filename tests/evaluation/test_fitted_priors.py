"""Priors fitted to a model that stays as it is."""

import dataclasses
import json
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

from musicvae_jax import evaluate, load_workdir
from musicvae_jax.config import ConfigError, PriorConfig, UserError
from musicvae_jax.data.conditions import Conditions
from musicvae_jax.data.load import load_windows
from musicvae_jax.data.prepare import list_styles
from musicvae_jax.evaluation import fitted_priors, prior_fitting
from musicvae_jax.evaluation.fitted_priors import FittedPrior, bases_of, level_of, load_prior, save_prior
from musicvae_jax.evaluation.prior_fitting import fit_main, fit_prior
from musicvae_jax.inference import responsibilities, sample_prior
from musicvae_jax.models.conditions import hide_conditions
from musicvae_jax.rng import row_keys
from musicvae_jax.training.state import make_model, state_shapes
from musicvae_jax.types import Variables
from tests.tiny import FIELDS, replace
from tests.untrained import LEVELS_CONFIG, write_workdir

STEPS: dict = {"num_steps": 30, "batch_size": 8, "learning_rate": 1e-2}


def mixture(*levels: str, **settings: Any) -> PriorConfig:
    """A mixture of three Gaussians, fitted in a moment."""
    return PriorConfig(**{"base": "mixture", "levels": levels, "modes": 3} | STEPS | settings)


@pytest.fixture(scope="module", autouse=True)
def few_windows_often():
    """Measurements of fits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prior_fitting, "_EVERY", 5)
        patch.setattr(prior_fitting, "_VALIDATION_WINDOWS", 64)
        yield


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, folk_data_dir):
    config = replace(
        LEVELS_CONFIG,
        data={"data_dir": folk_data_dir, "min_measures": 4},
        local={"free_bits": "per_dim", "nats": 0.1},
    )
    return write_workdir(tmp_path_factory.mktemp("priors") / "run", config, seed=1)


@pytest.fixture(scope="module")
def vae(workdir):
    return load_workdir(workdir)


@pytest.fixture(scope="module")
def fitted(vae) -> FittedPrior:
    return fit_prior(vae, mixture("global", "fine", memory_layers=1))


PARTS = ("bases_", "memories_", "metres_")  # what the parameters of a prior's bases begin with


def others(variables: Variables) -> dict:
    return {name: leaf for name, leaf in variables["params"].items() if not name.startswith(PARTS)}


def test_a_fit_lowers_the_kl_and_leaves_the_rest(vae, fitted):
    assert set(fitted.before) == set(fitted.after) == {"global", "fine"}
    assert sum(fitted.after.values()) < sum(fitted.before.values()) - 3
    jax.tree.map(np.testing.assert_array_equal, others(vae.variables), others(fitted.vae.variables))
    levels = fitted.vae.config.levels
    assert [levels[name].base for name in ("global", "local", "fine")] == ["mixture", "normal", "mixture"]
    assert [levels[name].memory_layers for name in ("global", "local", "fine")] == [0, 0, 1]  # one global latent
    assert [levels[name].metre_context for name in ("global", "local", "fine")] == [True, False, False]  # at the top
    assert levels.local == vae.config.levels.local
    before, after = (evaluate(own, "validation", num_examples=32) for own in (vae, fitted.vae))
    assert before.nll == pytest.approx(after.nll, rel=1e-5)
    assert before.levels["local"].kl == pytest.approx(after.levels["local"].kl, rel=1e-4)
    assert after.kl < before.kl - 2


def test_a_saved_prior_comes_back(vae, fitted, workdir):
    folder = save_prior(fitted, workdir, "genres-3")
    assert folder == workdir / "priors" / "genres-3"
    assert json.loads((folder / "fit.json").read_text())["after"] == fitted.after
    again = load_prior(vae, workdir, "genres-3")
    assert again.config == fitted.vae.config and again.model == fitted.vae.model
    jax.tree.map(np.testing.assert_array_equal, again.variables, fitted.vae.variables)
    metre, keys = np.full((2, 4, 2), 4, np.int32), row_keys(jax.random.key(3), np.arange(2))
    drawn = [sample_prior(own.model, own.variables, metre, keys) for own in (again, fitted.vae, vae)]
    jax.tree.map(np.testing.assert_array_equal, drawn[0], drawn[1])
    assert np.abs(drawn[0]["global"] - drawn[2]["global"]).min() > 0


def test_a_prior_of_another_step_or_name_is_refused(vae, fitted, workdir):
    save_prior(fitted, workdir, "old")
    with pytest.raises(UserError, match="prior = 'old': allowed is one that was fitted to step 7 of the run"):
        load_prior(vae.__class__(**{**vars(vae), "step": 7}), workdir, "old")
    with pytest.raises(UserError, match=r"prior = 'flow': allowed is one of .*old"):
        load_prior(vae, workdir, "flow")
    for name in ("", "../x", "a/b", ".hidden"):
        with pytest.raises(UserError, match="letters, digits"):
            save_prior(fitted, workdir, name)


@pytest.mark.parametrize("file", ["config.json", "fit.json", "bases.npz"])
@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"{}", b"9" * 5000, b"PK\x05\x06" + bytes(18)]
)
def test_a_damaged_prior_is_named(vae, fitted, workdir, file, text):
    folder = save_prior(fitted, workdir, "damaged")
    (folder / file).write_bytes(text)
    with pytest.raises(UserError, match=f"priors/damaged.*{file}"):
        load_prior(vae, workdir, "damaged")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"base": "flow", "levels": ("globl",)}, r"prior\.levels = .*globl.*: allowed is some of global, local, fine"),
        ({"base": "vamp", "levels": ("fine",)}, "base = vamp does not go with a level below the top"),
        ({"base": "flow", "num_steps": 0}, "num_steps = 0"),
        ({"base": "flow", "learning_rate": -1.0}, "learning_rate = -1.0: allowed is 0 or more"),
        ({"base": "flow", "flow_layers": 0}, "flow_layers = 0"),
        ({"base": "flow", "memory_layers": -1}, "memory_layers = -1"),
        (
            {"base": "flow", "memory_layers": 2, "levels": ("global",)},
            r"prior\.memory_layers = 2: allowed is 0: no level that gets the prior has earlier latents",
        ),
        ({"base": "vamp", "memory_layers": 1}, r"prior\.memory_layers = 1: allowed is 0"),
        ({"base": "flow", "style_weight": 1.0}, "style_weight = 1.0: allowed is 0 but for a mixture of the top level"),
        ({"base": "none"}, r"prior\.base = 'none': allowed is mixture, flow or vamp"),
        ({"base": "flow", "levels": ("fine", "fine")}, "each once"),
        (
            {"base": "mixture", "modes": 2, "style_weight": 1.0},
            "0 but with a mode for each style, and these are [0-9]+",
        ),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(vae, arguments, said):
    with pytest.raises(UserError, match=said):
        fit_prior(vae, PriorConfig(**arguments))


def test_a_learned_base_has_no_free_bits_and_a_kl_by_draws():
    start = replace(LEVELS_CONFIG, fine={"free_bits": "per_dim", "nats": 0.2})
    changed = replace(start, prior={"base": "flow", "levels": ("fine",)}).fitted
    fine = changed.levels.fine
    assert (fine.free_bits, fine.nats, fine.kl_estimate) == ("none", 0.0, "draw")
    assert changed.levels.global_ == LEVELS_CONFIG.levels.global_ and changed.prior == PriorConfig()


def test_a_prior_that_does_not_go_with_the_levels_is_refused_with_the_config():
    """Before the model is trained."""
    with pytest.raises(
        ConfigError, match=r"flow.* does not go with inference = ladder.* \(so the model would be with its fitted prior"
    ):
        replace(LEVELS_CONFIG, model={"inference": "ladder"}, prior={"base": "flow"})
    for style in ({"base": "flow"}, {"base": "mixture", "levels": ("fine",)}):
        with pytest.raises(ConfigError, match=r"prior\.style_weight = 1\.0: allowed is 0 but for a mixture of the top"):
            replace(LEVELS_CONFIG, prior={"style_weight": 1.0, **style})
    with pytest.raises(ConfigError, match=r"prior\.levels = \('fine',\): allowed is some of global"):
        replace(LEVELS_CONFIG, local={"dim": 0}, fine={"dim": 0}, prior={"base": "flow", "levels": ("fine",)})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"global": {"dim": 0}},
        {"global": {"dim": 0}, "local": {"prior_context": "causal"}},
        {"model": {"conditions": ("key",), "condition_levels": True}},
        {"global": {"base": "mixture", "kl_estimate": "draw"}, "data": {"attributes": True}},
    ],
)
@pytest.mark.parametrize("prior", [{"base": "flow", "memory_layers": 1}, {"base": "mixture", "memory_layers": 1}])
def test_a_fitted_prior_changes_no_parameter_but_those_of_bases(changes, prior):
    """So that the parameters of any trained model fit."""
    config = replace(LEVELS_CONFIG, **changes, prior=prior)
    shapes = [state_shapes(one, make_model(one, FIELDS)).params for one in (config, config.fitted)]
    before, after = ({name: leaf for name, leaf in own.items() if not level_of(name)} for own in shapes)
    assert jax.tree.map(np.shape, before) == jax.tree.map(np.shape, after)
    assert {level_of(name) for name in shapes[1]} >= set(config.levels.on)


@pytest.mark.parametrize("names", [("key", "mode"), ("key", "note_density")])
def test_a_fit_sees_conditions_as_training_does(folk_data_dir, tmp_path, monkeypatch, names):
    seen = []

    def hide(conditions, key, probability):
        seen.append((conditions.shape, probability))
        return hide_conditions(conditions, key, probability)

    monkeypatch.setattr(prior_fitting, "hide_conditions", hide)
    data = {"data_dir": folk_data_dir, "min_measures": 4, "attributes": "note_density" in names}
    config = replace(LEVELS_CONFIG, data=data, model={"conditions": names, "condition_dropout": 0.3})
    workdir = write_workdir(tmp_path / "run", config, seed=1)
    (workdir / "conditions.json").write_text(Conditions(names).to_json())
    fit_prior(load_workdir(workdir), mixture("global", num_steps=1, batch_size=6))
    assert seen == [((6, 2), 0.3)]


def test_the_prior_that_a_config_asks_for_is_the_one_that_is_used(folk_data_dir, tmp_path, capsys):
    """Once it is fitted; the model's own can still be had."""
    data = {"data_dir": folk_data_dir, "min_measures": 4}
    config = dataclasses.replace(replace(LEVELS_CONFIG, data=data), prior=mixture("fine"))
    workdir = write_workdir(tmp_path / "run", config, seed=1)
    assert load_workdir(workdir).prior == "own"
    assert "has no prior for step 0 yet: the model's own is used" in capsys.readouterr().err
    prior = fit_main(workdir)
    assert prior is not None and prior.after["fine"] < prior.before["fine"]
    assert fit_main(workdir) is None  # it is there
    vae = load_workdir(workdir)
    assert vae.prior == "main" and vae.config == config.fitted
    jax.tree.map(np.testing.assert_array_equal, vae.variables, prior.vae.variables)
    own = load_workdir(workdir, prior="own")
    assert own.prior == "own" and own.config == config
    assert capsys.readouterr().err.count("the model's own is used") == 0
    with pytest.raises(UserError, match=r"vae\.prior = 'main': allowed is 'own'"):
        fit_prior(vae, mixture("fine"))
    save_prior(fit_prior(own, mixture("fine", modes=2, num_steps=1)), workdir, "main")  # not what the config asks for
    assert load_workdir(workdir).prior == "own"
    assert fit_main(workdir) is not None and load_workdir(workdir).prior == "main"
    (workdir / "priors" / "main" / "fit.json").write_text('{"step": 1}')  # of another checkpoint
    assert load_workdir(workdir).prior == "own"


def test_the_best_parameters_on_validation_are_kept(vae):
    """Steps that are far too large gain nothing, so the first parameters stay."""
    wild = fit_prior(vae, PriorConfig(base="flow", levels=("fine",), num_steps=3, batch_size=8, learning_rate=30.0))
    # A flow starts as N(0, 1), and both KLs are of the same draws.
    assert wild.after["fine"] == pytest.approx(wild.before["fine"], rel=1e-4)


def test_a_prior_that_is_not_written_to_its_end_leaves_the_old_one(vae, fitted, workdir, monkeypatch):
    folder = save_prior(fitted, workdir, "kept")
    (folder / "evaluation.validation.json").write_text("{}")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = fit_prior(vae, mixture("fine", num_steps=1))

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fitted_priors, "write_text", fail)
        with pytest.raises(KeyboardInterrupt):
            save_prior(other, workdir, "kept")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    save_prior(other, workdir, "kept")
    assert sorted(path.name for path in folder.iterdir()) == ["bases.npz", "config.json", "fit.json"]
    assert load_prior(vae, workdir, "kept").config == other.vae.config
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]


def test_gaussians_are_fitted_to_mean_styles(vae):
    """Held-out styles are more probable by nearly a nat than under a fit that does not know of styles."""
    source = load_windows(vae.config, "validation", attributes=False)
    data = vae.config.data
    source.tell(Conditions(("style",), list_styles(data.dataset, data.data_dir)))
    batch = source.gather(np.arange(0, len(source), 8))
    style = batch.conditions[:, 0]
    known = np.isfinite(style)
    error = []
    for weight in (0.0, 20.0):
        own = fit_prior(vae, mixture("global", modes=16, style_weight=weight)).vae
        shares = responsibilities(own.model, own.variables, batch._replace(conditions=()))["global"][:, 0]
        error.append(-np.log(np.asarray(shares)[known, style[known].astype(int)]).mean())
    assert error[1] < error[0] - 0.9


def test_levels_that_are_fitted_together_are_those_that_are_fitted_alone(vae):
    """Each with the best of its own moments: the rate is so high that it gets worse and better."""
    together = fit_prior(vae, mixture("global", "fine", learning_rate=0.3))
    alone = fit_prior(vae, mixture("fine", learning_rate=0.3))
    assert together.after["fine"] == pytest.approx(alone.after["fine"], rel=1e-4)
    pair = (bases_of(fit.vae.variables)["bases_fine"] for fit in (together, alone))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), *pair)
