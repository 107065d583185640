"""What compare_priors.py refuses, measures and prints."""

import shutil

import pytest

from musicvae_jax.evaluation import prior_comparison
from musicvae_jax.evaluation.prior_comparison import read_comparison
from tests.evaluation.trees import make_priors, make_samples
from tests.pictures import assert_picture


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--num-windows", 0], "num_windows = 0: allowed is 1 or more"),
        (["--iwae-draws", 0], "iwae_draws = 0: allowed is 1 or more"),
        (["--result", "a.json"], "allowed is one of the two: --workdir, a run to measure, or --result"),
    ],
)
def test_wrong_arguments_are_refused_before_the_run_is_read(arguments, said, tmp_path, call) -> None:
    status, _, error = call("compare_priors.py", "--workdir", tmp_path / "none", *arguments)
    assert status == 2 and said in error and error.count("\n") == 1


def test_the_priors_of_a_run_are_measured_and_printed(run, tmp_path, call, monkeypatch) -> None:
    # Bounds are measured; the rest of the figures is tested in tests/evaluation/test_prior_comparison.py.
    monkeypatch.setattr(prior_comparison, "prior_figures", lambda *_, **__: make_priors())
    monkeypatch.setattr(prior_comparison, "sample_figures", lambda *_, **__: make_samples())
    workdir = shutil.copytree(run, tmp_path / "run")
    sizes = ("--prior.base", "mixture", "--prior.num-steps", 2, "--prior.batch-size", 4, "--name", "modes")
    assert call("fit_prior.py", "--workdir", workdir, "--trust-config", *sizes).status == 0
    ended = call("compare_priors.py", "--workdir", workdir, "--trust-config", "--num-windows", 12, "--iwae-draws", 2)
    assert ended.status == 0, ended.error
    path = workdir / "priors" / "comparison.validation.json"
    for picture in ("overlaps.validation.png", "samples.png"):
        assert_picture(path.parent / picture)
    found = read_comparison(path)
    assert (found.windows, found.draws, list(found.priors)) == (12, 2, ["own", "modes"])
    assert "| `own`, normal |" in ended.out and "| `modes`, mixture |" in ended.out and str(path) in ended.out
    printed = call("compare_priors.py", "--result", path)
    assert printed.status == 0 and printed.out.strip() in ended.out
    ended = call("compare_priors.py", "--workdir", workdir, "--trust-config", "--priors", "flow")
    assert ended.status == 2 and "prior = 'flow': allowed is one of modes" in ended.error
