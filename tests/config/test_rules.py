"""What goes with what: each rule refuses a config that breaks it, and accepts one that just does not."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from musicvae_jax.config import Config, ConfigError
from musicvae_jax.config.rules import RULES, rules_table
from musicvae_jax.inference import forward
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.types import LEVELS, VAEOutput
from tests.config.rule_cases import CASES
from tests.models.variants import SUBSETS, THREE, each
from tests.tiny import FIELDS, SLOTS, make_batch, replace

ROOT = Path(__file__).parents[2]


LISTS = {("model", "conditions"), *((level, "attributes") for level in LEVELS)}


def changes(text: str) -> dict[str, dict]:
    """``"fine.dim=3 fine.base=ar1"`` to ``{"fine": {"dim": 3, "base": "ar1"}}``."""
    parts: dict[str, dict] = {}
    for place, word in (item.split("=") for item in text.split()):
        part, field = place.split(".")
        value = json.loads(word) if word in ("true", "false") or word[0].isdigit() else word
        parts.setdefault(part, {})[field] = (value,) if (part, field) in LISTS else value
    return parts


def refused(**parts: dict) -> str:
    with pytest.raises(ConfigError) as error:
        replace(THREE, **parts)
    return str(error.value)


def test_every_rule_is_tested():
    assert list(CASES) == [(rule.setting, rule.excluded) for rule in RULES]


@pytest.mark.parametrize(("rule", "case"), [(rule, case) for rule, cases in CASES.items() for case in cases])
def test_a_rule_refuses_with_the_values_and_accepts_what_just_fits(rule, case):
    wrong, mended = case.split(" -> ")
    message = refused(**changes(wrong.replace("|", "")))
    assert " does not go with ".join(rule) in message
    for part, fields in changes(wrong.split("|")[-1]).items():
        for field, value in fields.items():
            assert f"{'levels.' * (part in LEVELS)}{part}.{field} = {value!r}" in message
    both = [changes(wrong.replace("|", "")), changes(mended)]
    replace(THREE, **{part: both[0].get(part, {}) | both[1].get(part, {}) for part in {**both[0], **both[1]}})


def test_the_document_shows_the_rules():
    text = (ROOT / "docs" / "levels.md").read_text()
    assert text.split("<!-- rules -->")[1].split("<!-- /rules -->")[0].strip() == rules_table()
    assert len(rules_table().splitlines()) == 2 + len(RULES)


def shapes_of_a_pass(config: Config) -> tuple[VAEOutput, VAEOutput]:
    """The shapes of a pass in evaluation and in training."""
    vae, batch = MusicVAE(config.model, config.levels, fields=FIELDS, slots=SLOTS), make_batch()

    def both(keys):
        output, variables = vae.init_with_output({"params": keys[0], "latent": keys[1]}, batch)
        return output, forward(vae, variables, batch, keys[2:], deterministic=False)

    return jax.eval_shape(both, jax.random.split(jax.random.key(0), 2 + len(batch.index)))


@pytest.mark.parametrize("inference", ["bottom_up", "ladder"])
@pytest.mark.parametrize("causal", [(), ("local", "fine")])
@pytest.mark.parametrize("level_dropout", [0.0, 0.2])
@pytest.mark.parametrize("ar1", [(), ("local",), ("local", "fine")])
@pytest.mark.parametrize("norms", [(), ("global",), ("fine",), LEVELS])
def test_combinations_keep_their_guarantees_or_are_refused(inference, causal, level_dropout, ar1, norms):
    options = {
        name: {
            "prior_context": "causal" if name in causal else "independent",
            "base": "ar1" if name in ar1 else "normal",
            "batch_norm": 0.6 if name in norms else 0.0,
        }
        for name in LEVELS
    }
    parts = options | {"model": {"inference": inference, "level_dropout": level_dropout}}
    floors = {*ar1, *norms}  # levels whose KL has a floor
    allowed = (
        not (floors and inference == "ladder")
        and not (floors & {*causal})
        and not ({*ar1} & {*norms})
        and not (level_dropout and {*norms} - {"global"})
    )
    if not allowed:
        assert refused(**parts)
        return
    for output in shapes_of_a_pass(replace(THREE, **parts)):
        assert output.logits[0].shape == (8, 3, SLOTS, 5)
        assert set(output.moments) == set(norms)


@pytest.mark.parametrize("name", SUBSETS)
def test_other_options_go_with_every_subset_of_levels(name):
    """Skip connection, span heads, level dropout, dropout, remat and bfloat16, under each context."""
    levels = list(SUBSETS[name].levels.on)
    config = replace(
        SUBSETS[name],
        model={
            "context": ("none", "previous", "flat")[len(levels) - 1], "skip": True, "dropout": 0.1,
            "token_dropout": 0.1, "level_dropout": 0.2 if len(levels) > 1 else 0.0, "dtype": "bfloat16", "remat": True,
        },
        objective={"span_weight": 0.1},
        **each(levels, span_head=True),
    )  # fmt: skip
    for output in shapes_of_a_pass(config):
        assert set(output.span_nll) == set(output.kl) == set(levels)
        for leaf in jax.tree.leaves((output.kl, output.latents, output.span_nll)):
            assert leaf.dtype == jnp.float32
