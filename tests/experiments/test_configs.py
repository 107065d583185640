"""Every experiment that can be called by name."""

import pytest
from configs import CONFIGS
from configs.ablations import ABLATIONS, change
from configs.options import options, plain

from musicvae_jax.config import Config, LevelConfig, LevelsConfig, differences, from_json, to_json
from musicvae_jax.objectives.controller import check_set_points
from musicvae_jax.training.monitor import CollapseMonitor

NAMED: dict[str, Config] = {name: config for name, (_, config) in CONFIGS.items()}
NAMED |= {
    f"{name}/{variant}": config for name, ablation in ABLATIONS.items() for variant, config in ablation.variants.items()
}


@pytest.mark.parametrize("name", NAMED)
def test_it_can_be_trained_and_read_back(name):
    check_set_points(NAMED[name])
    assert from_json(to_json(NAMED[name])) == NAMED[name]


def test_the_monitor_has_time_to_speak_in_all_that_are_published_but_the_shortest():
    assert {name for name in CONFIGS if CollapseMonitor(NAMED[name]).silence} == {"demo"}


OFF = LevelsConfig(global_=LevelConfig(dim=0))
NO_LATENT = change(CONFIGS["folk-basic"][1], OFF, objective={"beta": 1.0, "beta_warmup_steps": 0})


@pytest.mark.parametrize("config", [*(config for _, config in CONFIGS.values()), NO_LATENT], ids=[*CONFIGS, "none"])
def test_each_option_is_one_change_of_the_config_without_options(config):
    found = options(config)
    base = found["plain"]
    assert base == plain(base) == plain(found["all of the config"])
    assert found["all of the config"] == config
    single = [made for option, made in found.items() if option != "all of the config"]
    assert len({to_json(made) for made in single}) == len(single)
    for made in single[1:]:
        places = {place.rpartition(".")[2] for place in differences(base, made)}
        assert places and len(places - {"kl_estimate"}) <= 2, places  # a learned base needs a KL of draws
