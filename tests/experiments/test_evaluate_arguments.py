"""What evaluate.py refuses, prints and writes."""

import pytest

from musicvae_jax.evaluation import rivals
from musicvae_jax.evaluation.figures import MarkovFigures, RivalFigures, read_evaluation
from musicvae_jax.evaluation.targets import check_targets
from tests.scripts import ROOT
from tests.tiny import replace
from tests.untrained import LEVELS_CONFIG, write_workdir

RESULTS = ROOT / "experiments" / "results"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--flow-windows", -1], "flow_windows = -1: allowed is 0 (off) or more"),
        (["--iwae-draws", -1], "iwae_draws = -1: allowed is 0 (off) or more"),
        (["--samples", -1], "samples = -1: allowed is 0 (off) or more"),
        (["--num-examples", 0], "num_examples = 0: allowed is 1 or more"),
        (["--seed", -1], "seed = -1: allowed is 0 or more"),
        (["--result", "a.json"], "allowed is one of the two: --workdir, a run to measure, or --result"),
    ],
)
def test_wrong_arguments_are_refused_before_the_run_is_read(arguments, said, tmp_path, call) -> None:
    status, _, error = call("evaluate.py", "--workdir", tmp_path / "none", *arguments)
    assert status == 2 and said in error and error.count("\n") == 1


def test_a_result_is_printed_with_its_targets(call) -> None:
    path = RESULTS / "folk.test.json"
    status, out, _ = call("evaluate.py", "--result", path)
    evaluation = read_evaluation(path)
    targets = check_targets(evaluation)
    assert status == 0 and "892 windows of 'test', checkpoint of step 2800" in out
    for target in targets:
        (line,) = [line for line in out.splitlines() if line.split()[:1] == [target.name] and target.goal in line]
        assert line.endswith("met" if target.met else "MISSED") and f"{target.value:.3f}" in line
    assert f"{evaluation.perplexity_elbo:.3f}" in out and len(targets) > 20


@pytest.mark.parametrize("text", ["[1]", "[" * 100_000, "", "1" * 5000, '{"split": "test"}'])
def test_a_file_that_is_no_evaluation_is_refused(text, tmp_path, call) -> None:
    (tmp_path / "a.json").write_text(text)
    status, out, error = call("evaluate.py", "--result", tmp_path / "a.json")
    assert status == 2 and not out and "a.json is no evaluation" in error and error.count("\n") == 1


def test_a_broken_evaluation_in_the_folder_is_refused_before_anything_is_measured(tmp_path, call) -> None:
    (write_workdir(tmp_path / "run") / "evaluation.validation.json").write_text("{")
    status, _, error = call("evaluate.py", "--workdir", tmp_path / "run")
    assert status == 2 and "evaluation.validation.json is no evaluation" in error and error.count("\n") == 1


RIVALS = RivalFigures(7.0, MarkovFigures(3.0, 6, "token", "slot", 1), {"window": 0.125})


@pytest.fixture
def measure(folk_data_dir, tmp_path, monkeypatch, call):
    """Measures an untrained model of three levels, beside made-up rivals: arguments -> output."""
    config = replace(LEVELS_CONFIG, data={"data_dir": folk_data_dir}, train={"batch_size": 8}, model={"skip": True})
    write_workdir(tmp_path / "run", config)
    monkeypatch.setattr(rivals, "measure_rivals", lambda *_, **__: RIVALS)

    def measure_(*arguments: object) -> str:
        status, out, error = call("evaluate.py", "--workdir", tmp_path / "run", "--data-dir", folk_data_dir, *arguments)
        assert status == 0, error
        return out

    return measure_


@pytest.mark.slow
def test_the_file_of_a_split_says_how_it_was_measured(measure, tmp_path) -> None:
    sizes = ("--num-examples", 8, "--flow-windows", 8, "--iwae-draws", 2, "--samples", 0)
    out = measure("--split", "test", *sizes, "--seed", 3)
    path = tmp_path / "run" / "evaluation.test.json"
    first, figures = path.read_text(), read_evaluation(path)
    assert (figures.split, figures.checkpoint, figures.seed, figures.num_examples) == ("test", "best", 3, 8)
    assert figures.train_seed == 0 and figures.rivals == RIVALS
    assert figures.flow and (figures.flow.windows, figures.flow.probe_windows) == (8, 32)
    assert figures.iwae and figures.flow.skip_share
    printed = {line.split()[-1]: line for line in out.splitlines() if line.strip()}
    for value, text in ((figures.iwae.nll, "bound of 2 draws"), (figures.flow.skip_share.value, "skip connection")):
        assert text in printed[f"{value:.3f}"]
    assert f"{figures.iwae.perplexity:.3f}" in printed

    for times in (1, 2):  # the validation split, if none is named
        out = measure("--checkpoint", "latest", "--num-examples", 8, "--flow-windows", 0, "--samples", 0, "--no-rivals")
        other = read_evaluation(tmp_path / "run" / "evaluation.validation.json")
        assert (other.split, other.checkpoint, other.flow) == ("validation", "latest", None) and "skip" not in out
        assert other.priors is None and other.samples is None
        assert other.rivals is None and "Markov" not in out
        assert other.times_measured == times and f"measured {times} time" in out
    assert str(tmp_path / "run" / "evaluation.validation.json") in out
    assert path.read_text() == first and figures.times_measured == 1
