"""With every level off the model is a language model: the decoder alone."""

import jax
import numpy as np
import pytest

from musicvae_jax.config import UserError
from musicvae_jax.evaluation.evaluate import evaluate
from musicvae_jax.evaluation.load import load_workdir
from musicvae_jax.evaluation.tables import evaluation_text
from musicvae_jax.inference import reconstruct
from musicvae_jax.objectives.loss import elbo_terms, objective
from musicvae_jax.objectives.rates import weights_at
from musicvae_jax.rng import row_keys
from musicvae_jax.training.loop import train
from tests.data.melodies import random_melody
from tests.tiny import CONFIG, make_batch, make_vae, replace
from tests.trained import small_config

OFF = {"global": {"dim": 0}}


def test_its_parameters_are_those_of_the_decoder_and_its_loss_is_the_nll():
    config = replace(CONFIG, **OFF)
    model, variables = make_vae(config)
    assert list(variables["params"]) == ["decoder"]
    _, with_latent = make_vae(CONFIG)
    rest = {name for name in with_latent["params"]["decoder"] if not name.startswith("read_")}
    assert set(variables["params"]["decoder"]) == rest
    batch = make_batch()
    output = reconstruct(model, variables, batch, row_keys(jax.random.key(0), np.arange(8)))
    terms = objective(config, output, batch, weights_at(config, 0))
    elbo = elbo_terms(output, batch)
    assert list(terms.per_example) == ["nll"] and not terms.batch and (elbo.total_kl == 0).all()
    np.testing.assert_allclose(terms.loss(), elbo.nll.mean(), rtol=1e-6)


def test_its_probabilities_of_all_windows_sum_to_one():
    """A window of two slots of the fields of sizes 5 and 3 has 15 x 15 contents."""
    model, variables = make_vae(replace(CONFIG, **OFF))
    first = jax.tree.map(lambda leaf: np.repeat(leaf[:1], 225, 0), make_batch())
    mask = np.zeros_like(first.mask)
    mask[:, 0, :2] = True
    pairs = np.stack(np.unravel_index(np.arange(225), (5, 3, 5, 3)), -1).reshape(225, 2, 2)
    tokens = np.zeros_like(first.tokens)
    tokens[:, 0, :2] = pairs
    batch = first._replace(tokens=tokens, mask=mask)
    output = reconstruct(model, variables, batch, row_keys(jax.random.key(0), np.arange(225)))
    np.testing.assert_allclose(np.exp(-elbo_terms(output, batch).nll).sum(), 1, rtol=1e-4)


@pytest.mark.slow
def test_it_is_trained_evaluated_and_sampled_and_encodes_nothing(folk_data_dir, tmp_path):
    config = replace(small_config(folk_data_dir), train={"num_steps": 4, "eval_every": 4}, **OFF)
    assert train(config, tmp_path / "run").finished
    model = load_workdir(tmp_path / "run")
    figures = evaluate(model, "validation", num_examples=8)
    assert "perplexity" in evaluation_text(figures)
    assert figures.kl == 0 and figures.perplexity == figures.perplexity_elbo > 1 and not figures.levels
    assert len(model.sample(2)) == 2
    for encoding in (model.reconstruct, lambda score: model.interpolate(score, score)):
        with pytest.raises(UserError, match="all are off"):
            encoding(random_melody(0, 2))
