"""Evaluation computes nothing that nobody reads."""

from collections import defaultdict

import numpy as np
import pytest

from musicvae_jax.data import windows
from musicvae_jax.data.attributes import window_attributes
from musicvae_jax.data.load import load_windows
from musicvae_jax.data.windows import Families
from musicvae_jax.evaluation import evaluate as evaluation
from musicvae_jax.evaluation import information_flow as flow
from musicvae_jax.evaluation.loading import load_workdir
from tests.tiny import replace
from tests.untrained import LEVELS_CONFIG, write_workdir


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, folk_data_dir):
    data = {"data_dir": folk_data_dir, "attributes": True}
    config = replace(LEVELS_CONFIG, data=data, train={"batch_size": 8})
    workdir = write_workdir(tmp_path_factory.mktemp("computed") / "run", config)
    (workdir / "metrics.jsonl").write_text('{"step": 1, "nll": 2.0}\n{"step": 2, "nll": 1.0}\n')
    return workdir


@pytest.fixture
def computed(monkeypatch):
    """The batches of windows whose attributes a source computed."""
    batches = []

    def compute(batch, *args, **more):
        batches.append(batch)
        return window_attributes(batch, *args, **more)

    monkeypatch.setattr(windows, "window_attributes", compute)
    return batches


def test_attributes_are_computed_where_they_are_asked_for(workdir, computed) -> None:
    config = load_workdir(workdir).config
    assert load_windows(config, "test").gather(np.array([0])).attributes and len(computed) == 1
    assert load_windows(config, "test", attributes=False).gather(np.array([0])).attributes == () and len(computed) == 1


def test_no_evaluation_computes_the_attributes_of_batches(workdir, computed, tmp_path, call) -> None:
    vae = load_workdir(workdir)
    evaluation.evaluate(vae, "test", num_examples=8)
    flow.information_flow(vae, "test", num_windows=8, num_probed=8, num_draws=1)
    assert call("generate.py", "gallery", "--workdir", workdir, "--out", tmp_path, "--num", 1).status == 0
    assert not computed


def test_a_split_is_signed_once(workdir, monkeypatch) -> None:
    made = []

    def sign(source):
        made.append(source)
        return Families(source)

    monkeypatch.setattr(flow, "Families", sign)
    flow.information_flow(load_workdir(workdir), "test", num_windows=8, num_probed=8, num_draws=1)
    assert len(made) == 2  # the split, and the training music that the probes are fitted to


def test_families_are_kept_apart_and_probes_are_fitted_to_other_music(workdir, monkeypatch) -> None:
    """Whatever pairs, draws or folds windows is told of their families; what is asked was not seen in the fit."""
    vae, seen = load_workdir(workdir), defaultdict(list)

    def note(module, name):
        function = getattr(module, name)

        def noting(*args):
            seen[name].append(args)
            return function(*args)

        monkeypatch.setattr(module, name, noting)

    for module, name in (
        (evaluation, "other_pieces"), (flow, "other_pieces"), (flow, "Bootstrap"), (flow, "_encode"),
        (flow, "probe_figures"),
    ):  # fmt: skip
        note(module, name)
    evaluation.evaluate(vae, "test", num_examples=8)
    flow.information_flow(vae, "test", num_windows=8, num_probed=8, num_draws=1)
    source = load_windows(vae.config, "test", attributes=False)
    families = Families(source)
    assert len(seen["other_pieces"]) == 2
    for index, metre, given in seen["other_pieces"]:
        np.testing.assert_array_equal(given, families(index))
        np.testing.assert_array_equal(metre, source.gather(index).metre)
    ((drawn, _),) = seen["Bootstrap"]
    np.testing.assert_array_equal(drawn, families(index[index >= 0]))
    (fitted, held_out), training = seen["_encode"], load_windows(vae.config, "train", min_measures=1)
    assert len(training) != len(source)
    for args, split in ((fitted, training), (held_out, source)):
        assert len(args[2]) == len(split)
        np.testing.assert_array_equal(args[2].gather(np.array([0])).tokens, split.gather(np.array([0])).tokens)
    ((codes, asked, _, _),) = seen["probe_figures"]
    np.testing.assert_array_equal(asked.metre, source.gather(index[index >= 0]).metre)
    assert len(codes.families) == 8 and not np.array_equal(codes.metre, asked.metre)
