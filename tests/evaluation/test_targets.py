"""Which aims there are, which are met, and the tables that say so."""

import pytest

from musicvae_jax.evaluation.tables import evaluation_text, level_tables
from musicvae_jax.evaluation.targets import check_targets

LEVELS = {"global": "window", "local": "phrase", "fine": "measure"}


def everything_met() -> dict[str, float]:
    """An evaluation of three levels just inside every aim."""
    result = {"perplexity": 4.9, "onset_perplexity": 4.9, "kl_per_phrase": 10.0}
    for k, (level, span) in enumerate(LEVELS.items(), 1):
        result |= {f"kl_{level}": 1.0, f"active_units_a_{level}": 0.91, f"active_units_b_{level}": 0.91}
        result |= {f"active_units_{rule}_{level}_{group}": 1.0 for rule in "ab" for group in ("rhythm", "harmony")}
        result |= {f"active_units_{rule}_{level}_pitch": 0.92 for rule in "ab"}
        for kind in (f"r2_{span}_within_metre", "chroma", "rhythm"):
            name = f"top_{k}_minus_top_{k - 1}_{kind}"
            result |= {name: 0.011, f"{name}_se": 0.01}
            result |= {f"top_3_{kind}": 0.0625, f"top_3_{kind}_se": 0.006, f"shuffled_{kind}_se": 0.005}
        result |= {f"shuffled_{kind}": 0.049 for kind in ("chroma", "rhythm")}
        result[f"shuffled_r2_{span}_within_metre"] = 0.049
        result[f"probe_r2_{level}_{span}_shuffled"] = -0.049
    for pair in ("global_kl_local", "local_kl_fine"):
        result |= {f"swap_{pair}": 1.1, f"swap_{pair}_se": 1.0}
    result |= {"top_1_r2_window_within_metre": 0.2, "probe_r2_global_window": 0.2}
    return result | {"top_2_r2_phrase_within_metre": 0.5, "probe_r2_local_phrase": 0.5}


JUST_OUTSIDE = (
    {"perplexity": 5.0, "onset_perplexity": 5.0, "top_1_r2_window_within_metre": 0.19, "probe_r2_global_window": 0.19}
    | {"top_2_r2_phrase_within_metre": 0.49, "probe_r2_local_phrase": 0.49}
    | {f"kl_{level}": 0.99 for level in LEVELS}
    | {f"active_units_{rule}_{level}": 0.9 for rule in "ab" for level in LEVELS}
    | {f"active_units_{rule}_{level}_pitch": 0.9 for rule in "ab" for level in LEVELS}
    | {
        f"top_3_{kind}": 0.0599
        for kind in (*(f"r2_{span}_within_metre" for span in LEVELS.values()), "chroma", "rhythm")
    }
    | {"swap_global_kl_local": 1.0, "swap_local_kl_fine": 1.0}
    | {name: 0.01 for name in everything_met() if "minus" in name and not name.endswith("_se")}
    | {f"shuffled_r2_{span}_within_metre": 0.05 for span in LEVELS.values()}
    | {f"probe_r2_{level}_{span}_shuffled": -0.05 for level, span in LEVELS.items()}
)


def test_everything_just_inside_is_met():
    targets = check_targets(everything_met())
    assert all(target.met for target in targets)
    names = [target.name for target in targets]
    assert set(names) == {*JUST_OUTSIDE, "kl_per_phrase"}
    assert names.count("kl_per_phrase") == 2  # two bounds


@pytest.mark.parametrize("name", [*JUST_OUTSIDE, "kl_per_phrase"])
def test_what_is_just_outside_is_missed_and_nothing_else(name):
    for value in (9.99, 50.01) if name == "kl_per_phrase" else (JUST_OUTSIDE[name],):
        missed = [target for target in check_targets(everything_met() | {name: value}) if not target.met]
        assert [(target.name, target.value) for target in missed] == [(name, value)]


def test_nothing_is_above_an_error_that_is_not_known():
    evaluation = {name: value for name, value in everything_met().items() if not name.endswith("_se")}
    targets = check_targets(evaluation)
    missed = {target.name for target in targets if not target.met}
    assert all(target.goal == "> unknown" for target in targets if not target.met)
    assert missed == {name.removesuffix("_se") for name in everything_met() if name.endswith("_se")} - {
        f"shuffled_{kind}" for kind in ("chroma", "rhythm", *(f"r2_{span}_within_metre" for span in LEVELS.values()))
    }


def test_levels_that_are_off_have_no_aims():
    evaluation = {name: value for name, value in everything_met().items() if "local" not in name}
    # Two levels, the second of them fine.
    for kind in ("chroma", "rhythm", "r2_measure_within_metre"):
        evaluation[f"top_2_minus_top_1_{kind}"] = 1.0
    names = [target.name for target in check_targets(evaluation)]
    assert not [name for name in names if "local" in name or "top_2_r2_phrase_within_metre" in name or "top_3" in name]
    assert "top_2_minus_top_1_r2_measure_within_metre" in names


def test_the_only_level_is_shown_whichever_it_is():
    evaluation = {"num_examples": 9, "split": "test", "step": 5, "kl_fine": 2.0, "active_units_a_fine": 0.75}
    (line,) = (line for line in evaluation_text(evaluation).splitlines() if "sigma < 0.98" in line)
    assert line.endswith(" 0.750")


def test_tables_show_what_is_there():
    text = level_tables(
        everything_met() | {"swap_global_kl_local": 1.5, "swap_global_kl_fine": 2.5, "top_1_chroma": 0.5}
    )
    heads = [line.split() for line in text.splitlines() if "global" in line]
    assert ["by", "level", "global", "local", "fine"] in heads
    assert ["KL", "grows", "by,", "global", "swapped", "1.500", "2.500"] in heads
    assert text.count("MISSED") == 0
    assert text.count(" met") == len(check_targets(everything_met()))
    missed = level_tables(everything_met() | {"kl_fine": 0.5})
    (line,) = (line for line in missed.splitlines() if line.endswith("MISSED"))
    assert line.split() == ["kl_fine", "0.500", ">=", "1", "MISSED"]
