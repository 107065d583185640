"""The file of an evaluation, and its text."""

import dataclasses
import json
import math

import pytest

from musicvae_jax.config import UserError
from musicvae_jax.evaluation.figures import evaluation_path, read_evaluation, write_evaluation
from musicvae_jax.evaluation.tables import evaluation_text, level_tables, seeds_text
from musicvae_jax.evaluation.targets import check_targets
from tests.evaluation.trees import make_conditions, make_evaluation, make_priors, make_samples, put, without


def test_what_is_not_finite_is_null_in_the_file_and_a_dash_in_the_text(tmp_path):
    evaluation = put(
        make_evaluation(), {"levels.fine.kl_per_dim.fine/rhythm[0]": math.inf, "onset_perplexity": math.nan}
    )
    path = write_evaluation(tmp_path, evaluation)
    flat = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert flat["onset_perplexity"] is None and flat["levels.fine.kl_per_dim.fine/rhythm[0]"] is None
    found = read_evaluation(path)
    assert math.isnan(found.onset_perplexity) and found.flow == evaluation.flow
    (line,) = [line for line in evaluation_text(found).splitlines() if "tokens that start a note" in line]
    assert line.endswith(" -") and "nan" not in evaluation_text(found)


@pytest.mark.parametrize(
    ("split", "name"), [("test", "evaluation.test.json"), ("validation", "evaluation.validation.json")]
)
def test_every_split_has_its_file(split, name, tmp_path):
    assert evaluation_path(tmp_path, split) == tmp_path / name
    evaluation = put(make_evaluation(), {"split": split})
    assert write_evaluation(tmp_path, evaluation) == tmp_path / name
    assert read_evaluation(tmp_path / name) == evaluation


@pytest.mark.parametrize("text", ["no json", '{"sampled_measures": 16}', "[1]", '{"split": "test", "step.a": 1}'])
def test_a_file_that_is_no_evaluation_is_refused(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a.json is no evaluation: allowed is what"):
        read_evaluation(tmp_path / "a.json")


def test_the_only_level_has_its_column_and_no_targets():
    evaluation = put(make_evaluation(), {"levels.fine.active_a": 0.75})
    text = evaluation_text(without(evaluation, "flow", "levels.global", "levels.local"))
    (line,) = (line for line in text.splitlines() if "sigma < 0.98" in line)
    assert line.endswith("  0.750") and " met" not in text


def test_tables_show_every_level_and_target():
    evaluation = put(make_evaluation(), {"flow.swapped.global.local.value": 1.5, "flow.swapped.global.fine.value": 2.5})
    text = level_tables(evaluation)
    rows = [line.split() for line in text.splitlines()]
    assert ["by", "level", "global", "local", "fine"] in rows
    assert ["KL", "grows", "by,", "global", "swapped", "1.500", "2.500"] in rows
    head = next(row for row in rows if row[:2] == ["decoded", "from"])
    assert head[4:] == ["r2", "window", "r2", "phrase", "r2", "measure", "chroma", "rhythm", "onset", "F1"]
    assert ["down", "to", "global", *["0.062"] * 6] in rows
    assert text.count("MISSED") == 0 and text.count(" met") == len(check_targets(evaluation))
    (line,) = (line for line in level_tables(put(evaluation, {"levels.fine.kl": 0.5})).splitlines() if "MISSED" in line)
    assert line.split() == ["levels.fine.kl", "0.500", ">=", "1", "MISSED"]


def test_the_text_has_the_optional_figures_that_there_are():
    optional: dict = {"flow.skip_share.value": 0.125, "flow.skip_share.se": 0.01, "rivals.unigram": 4.5}
    chain = {"perplexity": 3.25, "order": 6, "unit": "token", "place": "slot", "copies": 11}
    optional |= {f"rivals.markov.{name}": value for name, value in chain.items()}
    evaluation = put(make_evaluation(), optional | {"rivals.copy_onset_f1.measure": 0.375})
    lines = evaluation_text(evaluation).splitlines()
    for value, words in (
        (0.125, "skip connection"),
        (3.25, "last 6 tokens and the place"),
        (4.5, "unigram"),
        (0.375, "by measure"),
        (77.0, "of 8 draws"),
    ):
        assert any(words in line and line.endswith(f"{value:.3f}") for line in lines)
    text = evaluation_text(without(evaluation, "flow.skip_share", "iwae"))
    assert "skip" not in text and "draws" not in text


def test_priors_and_samples_have_tables(tmp_path):
    evaluation = dataclasses.replace(make_evaluation(), priors=make_priors(), samples=make_samples())
    assert read_evaluation(write_evaluation(tmp_path, evaluation)) == evaluation
    text = evaluation_text(evaluation)
    rows = [line.split() for line in text.splitlines()]
    assert ["prior", "against", "posteriors", "global", "local", "fine", "all"] in rows
    for words, values in (
        ("per latent, in all per window", ["1.000", "2.000", "3.000", "17.000"]),
        ("classifier, mlp", ["0.500", "0.562", "0.625", "0.688"]),
        ("discrepancy, squared", ["0.000", "0.010", "0.020", "0.030"]),
        ("mean_pitch", ["0.625", "0.812", "0.938"]),
        ("  mean  ", ["0.688", "0.812", "0.938"]),
        ("/ that of held-out music", ["0.800"]),
        ("share that is memorised", ["0.008"]),
    ):
        (line,) = (line for line in text.splitlines() if words in line)
        assert line.split()[-len(values) :] == values
    without_levels = evaluation_text(dataclasses.replace(evaluation, priors=None))
    assert "prior against" not in without_levels and "memorised" in without_levels
    older = without(evaluation, *(f"samples.overlap_of_posteriors.{name}" for name in make_samples().overlap))
    assert "from posteriors" in text and "from posteriors" not in evaluation_text(older)


def test_conditions_are_a_table_and_come_back_from_the_file(tmp_path):
    evaluation = dataclasses.replace(make_evaluation(), conditions=make_conditions())
    assert read_evaluation(write_evaluation(tmp_path, evaluation)) == evaluation
    rows = [line.split() for line in evaluation_text(evaluation).splitlines()]
    assert ["key", "0.800", "0.600", "0.700", "0.250"] in rows
    assert ["style", "0.600", "0.600", "0.500", "0.375"] in rows
    assert ["perplexity_elbo", "3.875", "4.000"] in rows and ["diversity", "0.562", "0.500", "0.625"] in rows


def test_of_several_runs_the_mean_and_its_standard_error_are_shown():
    runs = [put(make_evaluation(), {"onset_f1": value, "kl": 5.0}) for value in (0.1, 0.2, 0.6)]
    lines = seeds_text(runs).splitlines()
    (f1,) = (line for line in lines if "onset F1, decoded from the latents alone" in line)
    (kl,) = (line for line in lines if "KL, nats per window" in line)
    assert f1.endswith(" 0.300 ± 0.153") and kl.endswith(" 5.000") and "3 runs" in lines[0]
    names = [line[:70].strip() for line in lines[1:]]
    assert names == [line[:70].strip() for line in evaluation_text(runs[0]).splitlines()[1 : len(lines)]]
    with pytest.raises(UserError, match="two files are of a run with seed 3: allowed is one file of each seed"):
        seeds_text([put(run, {"train_seed": seed}) for run, seed in zip(runs, (3, 1, 3), strict=True)])
    for changed in ({"split": "other"}, {"num_examples": 3}):
        with pytest.raises(UserError, match="as in the first file"):
            seeds_text([runs[0], put(runs[1], changed)])
