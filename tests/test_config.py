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
