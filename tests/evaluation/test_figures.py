"""The tree of an evaluation, its file, and its text."""

import json
import math
from typing import Any

import pytest

from musicvae_jax.config import UserError
from musicvae_jax.evaluation.figures import Evaluation, evaluation_path, read_evaluation, write_evaluation
from musicvae_jax.evaluation.tables import evaluation_text, level_tables
from musicvae_jax.evaluation.targets import check_targets
from musicvae_jax.figures import Estimate, build, flatten
from tests.evaluation.trees import make_evaluation, make_level, put


def test_a_tree_is_built_from_its_dotted_names():
    evaluation = put(make_evaluation(), "flow.skip_share", Estimate(0.1, 0.02))
    flat = flatten(evaluation)
    assert build(Evaluation, flat) == evaluation
    assert build(Evaluation, flat | {"flow.later.figure": 1.0}) == evaluation  # unknown names are left out
    for name, value in {
        "levels.fine.groups.pitch.active_a": 0.92,
        "levels.fine.kl_per_dim.fine/rhythm[3]": 0.5,
        "flow.decoded.fine.r2_within_metre.measure.se": 0.006,
        "flow.probes.phrase.local.r2": 0.5,
        "flow.skip_share.value": 0.1,
    }.items():
        assert flat[name] == value
    assert not any(value is None or isinstance(value, dict) for value in flat.values())


def test_a_file_holds_null_for_what_is_not_finite_and_is_read_as_nan(tmp_path):
    evaluation = put(make_evaluation(), "levels.fine.kl_per_dim", {"fine/rhythm[0]": math.inf, "fine/rhythm[1]": 1.0})
    evaluation = put(evaluation, "onset_perplexity", math.nan)
    path = write_evaluation(tmp_path, evaluation)
    flat: dict[str, Any] = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert flat["onset_perplexity"] is None and flat["levels.fine.kl_per_dim.fine/rhythm[0]"] is None
    found = read_evaluation(path)
    assert math.isnan(found.onset_perplexity) and math.isnan(found.levels["fine"].kl_per_dim["fine/rhythm[0]"])
    assert put(found, "onset_perplexity", 1.0).flow == evaluation.flow
    (line,) = [line for line in evaluation_text(found).splitlines() if "tokens that start a note" in line]
    assert line.endswith(" -") and "nan" not in evaluation_text(found)


@pytest.mark.parametrize(("split", "name"), [("test", "evaluation.json"), ("validation", "evaluation.validation.json")])
def test_every_split_has_its_file(split, name, tmp_path):
    assert evaluation_path(tmp_path, split) == tmp_path / name
    evaluation = put(make_evaluation(), "split", split)
    assert write_evaluation(tmp_path, evaluation) == tmp_path / name
    assert read_evaluation(tmp_path / name) == evaluation


@pytest.mark.parametrize("text", ["no json", '{"sampled_measures": 16}', "[1]", '{"split": "test", "step.a": 1}'])
def test_a_file_that_is_no_evaluation_is_refused(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a.json is no evaluation: allowed is what"):
        read_evaluation(tmp_path / "a.json")


def test_the_only_level_has_its_column_and_no_targets():
    evaluation = put(put(make_evaluation(), "levels", {"fine": make_level(active_a=0.75)}), "flow", None)
    text = evaluation_text(evaluation)
    (line,) = (line for line in text.splitlines() if "sigma < 0.98" in line)
    assert line.endswith(" 0.750") and " met" not in text


def test_tables_show_every_level_and_target():
    evaluation = put(make_evaluation(), "flow.swapped.global.local", Estimate(1.5, 0.1))
    text = level_tables(evaluation)
    rows = [line.split() for line in text.splitlines()]
    assert ["by", "level", "global", "local", "fine"] in rows
    assert ["KL", "grows", "by,", "global", "swapped", "1.500", "2.500"] in rows
    decoded = next(row for row in rows if row[:2] == ["decoded", "from"])
    assert decoded[4:] == ["r2", "window", "r2", "phrase", "r2", "measure", "chroma", "rhythm", "onset", "F1"]
    assert ["down", "to", "global", "0.062", "0.062", "0.062", "0.062", "0.062", "0.062"] in rows
    assert text.count("MISSED") == 0 and text.count(" met") == len(check_targets(evaluation))
    (line,) = (line for line in level_tables(put(evaluation, "levels.fine.kl", 0.5)).splitlines() if "MISSED" in line)
    assert line.split() == ["levels.fine.kl", "0.500", ">=", "1", "MISSED"]


def test_the_text_shows_the_optional_figures_that_there_are():
    evaluation = put(make_evaluation(), "flow.skip_share", Estimate(0.125, 0.01))
    evaluation = put(evaluation, "baselines", {"markov6": 3.25, "another": 4.5})
    text = evaluation_text(evaluation)
    for value, words in ((0.125, "skip connection"), (3.25, "order-6 Markov"), (4.5, "another"), (77.0, "of 8 draws")):
        (line,) = (line for line in text.splitlines() if words in line and line.endswith(f"{value:.3f}"))
    without = evaluation_text(put(put(evaluation, "flow.skip_share", None), "iwae", None))
    assert "skip" not in without and "draws" not in without
