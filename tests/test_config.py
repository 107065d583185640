"""Configs as JSON."""

import json

import pytest

from musicvae_jax.config import CodecConfig, Config, ConfigError, from_json, to_json


def test_json_there_and_back():
    config = Config(codec=CodecConfig(name="performance", subdivisions=("0", "1/3"), slots=64, tracks=3))
    assert from_json(to_json(config)) == config


def test_a_config_from_before_a_field_existed_has_its_default():
    tree = json.loads(to_json(Config()))
    tree["codec"] = {"name": "melody", "subdivisions": ["0", "1/2"], "slots": 9}
    assert from_json(json.dumps(tree)) == Config(codec=CodecConfig(subdivisions=("0", "1/2"), slots=9))


def test_a_codec_that_does_not_exist():
    tree = {"codec": {"name": "remi"}}
    with pytest.raises(ConfigError, match="'remi': allowed is 'melody' or 'voices' or 'performance'"):
        from_json(json.dumps(tree))


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("num_steps", '"9"', "'9': allowed is a value of type int"),
        ("num_steps", "9.0", "9.0: allowed is a value of type int"),
        ("num_steps", "true", "True: allowed is a value of type int"),
        ("learning_rate", "true", "True: allowed is a value of type float"),
        ("learning_rate", "NaN", "nan: allowed is a number above 0"),
        ("clip_norm", "Infinity", "inf: allowed is a number above 0"),
    ],
)
def test_a_value_of_another_type_or_none_at_all(field, value, allowed):
    with pytest.raises(ConfigError, match=f"TrainConfig.{field} = {allowed}"):
        from_json(f'{{"train": {{"{field}": {value}}}}}')
