"""The file of an evaluation, and figures that are no numbers."""

import json
import math

import pytest

from musicvae_jax.evaluation.reconstruction import summarise
from musicvae_jax.evaluation.results import evaluation_path, finite, read_evaluation, write_evaluation
from musicvae_jax.evaluation.tables import evaluation_text

HEAD = {"split": "test", "num_examples": 1, "step": 5}


def totals(onsets: float) -> dict[str, float]:
    """Of one window of ten tokens."""
    counted = {"tokens": 10.0, "onsets": onsets, "windows": 1.0, "phrases": 1.0, "onset_nll": 2.0 * onsets}
    names = ["correct", "onset_correct", "free_correct", "free_onset_hits", "free_onset_found"]
    names += ["swapped_onset_hits", "swapped_onset_found"]
    return {**counted, "nll": 5.0, "kl": 1.0, **dict.fromkeys(names, float(onsets))}


def test_music_without_an_onset_has_figures_of_the_rest() -> None:
    none, some = summarise(totals(0)), summarise(totals(2))
    over_onsets = {"onset_perplexity", "accuracy_teacher_forced_onsets", "accuracy_free_running_onsets"}
    assert {name for name, value in none.items() if math.isnan(value)} == over_onsets
    assert none["perplexity"] == some["perplexity"] == pytest.approx(math.exp(0.5))
    assert some["onset_perplexity"] == pytest.approx(math.exp(2.0)) and some["accuracy_free_running_onsets"] == 1


def test_what_is_no_number_is_null_on_disk_and_a_dash_in_print(tmp_path) -> None:
    figures = HEAD | summarise(totals(0)) | {"kl_per_dim_global": {"global[0]": math.inf, "global[1]": 1.0}}
    path = write_evaluation(tmp_path, figures)
    found = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert found == finite(figures) == read_evaluation(path)
    assert found["onset_perplexity"] is None and found["kl_per_dim_global"] == {"global[0]": None, "global[1]": 1.0}
    (line,) = [line for line in evaluation_text(figures).splitlines() if "tokens that start a note" in line]
    assert line.endswith(" -")


def test_aims_for_what_is_no_number_are_left_out() -> None:
    levels = {"kl_global": 3.0, "kl_fine": 2.0, "perplexity": 2.0, "active_units_b_global": math.nan}
    figures = {**HEAD, **levels, "active_units_b_global_pitch": math.nan, "active_units_b_global_rhythm": 1.0}
    text = evaluation_text(figures)
    targets = [line.split()[0] for line in text.splitlines() if line.endswith(("met", "MISSED"))]
    assert {"perplexity", "kl_global", "active_units_b_global_rhythm"} <= set(targets)
    assert "active_units_b_global" not in targets and "nan" not in text


def test_every_split_has_a_file_of_its_own(tmp_path) -> None:
    assert evaluation_path("run", "test").name == "evaluation.json"
    assert evaluation_path("run", "test_airds").name == "evaluation.test_airds.json"
    assert write_evaluation(tmp_path, HEAD | {"split": "validation"}).name == "evaluation.validation.json"
