"""Dims that follow attributes: what a pair costs, which pairs count, and where the gradient goes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.config import ConfigError, LevelConfig, ObjectiveConfig
from musicvae_jax.inference import reconstruct
from musicvae_jax.objectives.attributes import attribute_loss, attribute_notes, group_head_loss, pair_losses
from musicvae_jax.objectives.loss import objective
from musicvae_jax.objectives.rates import final_weights, weights_at
from musicvae_jax.types import ATTRIBUTES
from tests.models.variants import DEEP
from tests.tiny import make_batch, make_vae, replace, with_attributes

COLUMN = {attribute.name: number for number, attribute in enumerate(ATTRIBUTES)}
RULES = ("sign", "rank")
CONFIG = replace(
    DEEP,
    data={"attributes": True},
    objective={"attribute_weight": 2.0},
    **{"global": {"attributes": ("note_density",)}},
    fine={"attributes": ("contour", "note_density"), "groups": (2, 1, 0, 0, 0)},
)


def pair_loss(rule, codes, values, known=None, sharpness=1.0):
    """The mean over the pairs of rows of one attribute."""
    config = ObjectiveConfig(attribute_rule=rule, attribute_sharpness=sharpness)
    codes, values = (jnp.asarray(part, jnp.float32).reshape(-1, 1) for part in (codes, values))
    known = jnp.ones(codes.shape, bool) if known is None else jnp.asarray(known).reshape(-1, 1)
    loss, weight = pair_losses(config, *(codes, values, known) * 2)
    return loss.sum() / jnp.maximum(weight.sum(), 1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_the_right_order_costs_nothing_and_the_wrong_one_most(rule):
    values = [0.0, 1.0, 2.0, 5.0]
    right, constant, wrong = (pair_loss(rule, sign * 50 * np.array(values), values) for sign in (1, 0, -1))
    assert right == pytest.approx(0, abs=1e-6)
    assert constant == pytest.approx(12 / 16 if rule == "sign" else 1)  # four of sixteen pairs are of a row with itself
    assert wrong > 1.4


@pytest.mark.parametrize("rule", RULES)
def test_the_gradient_moves_codes_towards_the_order_of_the_attributes(rule):
    codes, values = np.array([0.3, 0.1, 0.2]), np.array([1.0, 2.0, 3.0])
    slope = jax.grad(lambda codes: pair_loss(rule, codes, values))(codes)
    assert slope[0] > 0 > slope[2]


def test_equal_attributes_pull_under_sign_and_not_under_rank():
    codes, values = np.array([0.0, 0.5, 3.0]), np.array([1.0, 1.0, 2.0])
    slopes = {rule: jax.grad(lambda codes, rule=rule: pair_loss(rule, codes, values))(codes) for rule in RULES}
    # The two equal rows: under rank only the third acts on each, and both go away from it.
    assert slopes["sign"][0] < 0 < slopes["sign"][1] + 1e-9 or slopes["sign"][1] > slopes["sign"][0]
    alone = {rule: jax.grad(lambda codes, rule=rule: pair_loss(rule, codes, values[:2]))(codes[:2]) for rule in RULES}
    assert alone["sign"][0] < 0 < alone["sign"][1]
    np.testing.assert_array_equal(alone["rank"], 0)


@pytest.mark.parametrize("rule", RULES)
def test_unknown_attributes_count_in_no_pair_and_have_no_gradient(rule):
    codes, values = np.array([0.3, 0.1, 0.2, 9.0]), np.array([1.0, 2.0, 3.0, 0.0])
    known = np.array([True, True, True, False])
    assert pair_loss(rule, codes, values, known) == pytest.approx(float(pair_loss(rule, codes[:3], values[:3])))
    slope = jax.grad(lambda codes: pair_loss(rule, codes, values, known))(codes)
    assert slope[3] == 0 and np.isfinite(slope).all()
    assert pair_loss(rule, codes, values, np.zeros(4, bool)) == 0


@pytest.fixture(scope="module")
def passed():
    """The output of an untrained model, and its batch."""
    vae, variables = make_vae(CONFIG)
    batch = with_attributes(make_batch(), CONFIG)
    keys = jax.random.split(jax.random.key(0), len(batch.index))
    return reconstruct(vae, variables, batch, keys), batch


@pytest.mark.parametrize("target", ["z", "e"])
def test_each_level_follows_attributes_of_its_own_span(passed, target):
    output, batch = passed
    config = replace(CONFIG, objective={"attribute_target": target})
    for name, level in config.levels.on.items():
        if not level.attributes:
            continue
        z, frame = output.latents[name], output.frame[name]
        codes = (z - frame.loc) / np.exp(frame.log_scale) if target == "e" else z
        expected = 0.0
        for attribute, dim in level.followed.items():
            values = batch.attributes[level.span_name][..., COLUMN[attribute]].reshape(-1)
            there = np.asarray(output.present[name]).reshape(-1) & np.isfinite(values)
            values = np.nan_to_num(values)
            expected += pair_loss("sign", codes[..., dim].reshape(-1), values, there, sharpness=10.0)
        np.testing.assert_allclose(attribute_loss(config, name, output, batch), expected, rtol=1e-5)


def test_missing_attributes_and_latents_of_the_prior_do_not_count(passed):
    output, batch = passed
    values = {span: rows.copy() for span, rows in batch.attributes.items()}
    values["window"][::2] = np.nan
    some = attribute_loss(CONFIG, "global", output, batch._replace(attributes=values))
    kept = dict.fromkeys(CONFIG.levels.on, np.arange(len(batch.index)) % 2 == 1)
    np.testing.assert_allclose(attribute_loss(CONFIG, "global", output._replace(kept=kept), batch), some, rtol=1e-6)
    assert not np.isclose(some, attribute_loss(CONFIG, "global", output, batch))
    with pytest.raises(ValueError, match="the batch has no attributes: allowed are"):
        attribute_loss(CONFIG, "global", output, batch._replace(attributes=()))
    values["window"][:] = np.nan
    assert attribute_loss(CONFIG, "global", output, batch._replace(attributes=values)) == 0


def test_the_objective_has_the_terms_by_name_and_checkpoints_do_not_count_them(passed):
    output, batch = passed
    terms = objective(CONFIG, output, batch, weights_at(CONFIG, 0))
    assert set(terms.batch) == {"attributes_global", "attributes_fine"}
    for name in ("global", "fine"):
        expected = 2.0 * attribute_loss(CONFIG, name, output, batch)
        np.testing.assert_allclose(terms.batch[f"attributes_{name}"], expected, rtol=1e-6)
    assert not objective(CONFIG, output, batch, final_weights(CONFIG)).batch
    off = replace(
        CONFIG, objective={"attribute_weight": 0.0}, **{"global": {"attributes": ()}}, fine={"attributes": ()}
    )
    plain = terms._replace(batch={}).loss()
    assert objective(off, output, batch, weights_at(off, 0)).loss() == plain < terms.loss()


def test_what_the_music_or_the_width_lacks_is_said_by_name(passed):
    _, batch = passed
    config = replace(
        CONFIG,
        **{"global": {"dim": 5, "groups": (1, 1, 1, 1, 1), "attributes": ("primary",)}},
        fine={"dim": 3, "groups": (2, 1, 0, 0, 0), "attributes": ("primary",)},
    )
    assert list(config.levels["global"].followed) == [
        "note_density", "mean_pitch", "pitch_class_entropy", "mean_velocity"
    ]  # fmt: skip
    assert list(config.levels["fine"].followed) == ["note_density", "mean_pitch"]
    values = {span: rows.copy() for span, rows in batch.attributes.items()}
    assert attribute_notes(config, batch) == [
        "fine: its 3 dims leave no room for harmony and dynamics; see levels.fine.groups"
    ]
    for rows in values.values():
        rows[..., COLUMN["mean_velocity"]] = np.nan
    assert attribute_notes(config, batch._replace(attributes=values)) == [
        "global/dynamics[0]: mean_velocity is undefined in this music, so the dim follows nothing",
        "fine: its 3 dims leave no room for harmony; see levels.fine.groups",
    ]
    off = {level: {"attributes": ()} for level in ("global", "fine")}
    assert (
        attribute_notes(replace(config, objective={"attribute_weight": 0.0}, **off), batch._replace(attributes=()))
        == []
    )


@pytest.mark.parametrize("names", [("style",), ("primary", "contour"), ("no_such",), ("arvae_contour",)])
def test_attributes_that_no_dim_can_follow_are_refused(names):
    with pytest.raises(ConfigError, match=r"LevelConfig\.attributes.*primary alone, or names among note_density"):
        LevelConfig(dim=8, groups=(4, 4, 0, 0, 0), attributes=names)


HEADS = replace(
    DEEP,
    data={"attributes": True},
    objective={"group_head_weight": 2.0},
    **{"global": {"dim": 5, "groups": (1, 1, 1, 1, 1), "group_heads": True}},
    fine={"dim": 3, "groups": (2, 1, 0, 0, 0), "group_heads": True},
)


@pytest.fixture(scope="module")
def headed():
    """A model with group heads, its variables, its output, and the batch."""
    vae, variables = make_vae(HEADS)
    batch = with_attributes(make_batch(), HEADS)
    keys = jax.random.split(jax.random.key(0), len(batch.index))
    return vae, variables, reconstruct(vae, variables, batch, keys), batch


def test_the_error_of_group_heads_is_that_of_attributes_in_standard_deviations(headed):
    *_, output, batch = headed
    for name, level in HEADS.levels.on.items():
        if not level.group_heads:
            assert name not in output.predicted
            continue
        expected, standard = 0.0, []
        columns = [COLUMN[attribute] for names in level.supervised.values() for attribute in names]
        assert output.predicted[name].shape[-1] == len(columns)
        for number, column in enumerate(columns):
            values = batch.attributes[level.span_name][..., column]
            known = np.isfinite(values) & np.asarray(output.present[name])
            z = np.where(known, (values - values[known].mean()) / np.sqrt(values[known].var() + 1e-6), 0)
            expected += 0.5 * ((np.asarray(output.predicted[name])[..., number] - z)[known] ** 2).mean()
            standard.append(z)
        np.testing.assert_allclose(group_head_loss(HEADS, name, output, batch), expected, rtol=1e-4)
        right = output._replace(predicted={name: np.stack(standard, -1)})
        assert group_head_loss(HEADS, name, right, batch) == pytest.approx(0, abs=1e-6)
    terms = objective(HEADS, output, batch, weights_at(HEADS, 0)).batch
    assert set(terms) == {"group_heads_global", "group_heads_fine"}
    np.testing.assert_allclose(terms["group_heads_fine"], 2 * group_head_loss(HEADS, "fine", output, batch), rtol=1e-6)
    assert not objective(HEADS, output, batch, final_weights(HEADS)).batch


def test_a_group_predicts_its_attributes_from_its_own_dims(headed):
    vae, variables, output, _ = headed
    level = HEADS.levels["global"]
    names = [(group, attribute) for group, own in level.supervised.items() for attribute in own]
    assert {group for group, _ in names} == {"rhythm", "pitch", "harmony", "dynamics"}
    assert not any(attribute.startswith("arvae_") for _, attribute in names)

    def predict(z):
        return vae.apply(variables, z, method=lambda model, z: model.group_heads["global"](z))

    z = output.latents["global"]
    before = np.asarray(predict(z))
    for group, dims in level.layout.items():
        changed = np.asarray(predict(z.at[..., dims].add(1.0)) != before).any((0, 1))
        np.testing.assert_array_equal(changed, [own == group for own, _ in names])


STYLED = replace(HEADS, **{"global": {"dim": 5, "groups": (1, 1, 0, 0, 3), "group_heads": True, "style_classes": 4}})


def test_the_dims_of_style_tell_labels_apart_by_a_linear_classifier():
    vae, variables = make_vae(STYLED)
    batch = with_attributes(make_batch(), STYLED)
    labels = np.array([0, 1, 2, 3, np.nan, 1, 1, np.nan], np.float32)
    batch.attributes["window"][:, 0, COLUMN["style"]] = labels
    output = reconstruct(vae, variables, batch, jax.random.split(jax.random.key(0), len(batch.index)))
    logits = np.asarray(output.predicted["global"])[:, 0, -4:]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -np.mean([log_p[row, int(label)] for row, label in enumerate(labels) if np.isfinite(label)])
    without = jax.tree.map(np.array, batch)
    without.attributes["window"][:, 0, COLUMN["style"]] = np.nan
    found, rest = (group_head_loss(STYLED, "global", output, own) for own in (batch, without))
    assert found - rest == pytest.approx(expected, rel=1e-4)

    def predict(z):
        return vae.apply(variables, z, method=lambda model, z: model.group_heads["global"](z))[..., -4:]

    z, own = output.latents["global"], STYLED.levels["global"].layout["style"]
    slope = jax.jacobian(predict)(z[0, 0])
    assert np.abs(slope[:, own]).min() > 0 and not slope[:, : own.start].any()
    np.testing.assert_allclose(slope, jax.jacobian(predict)(3 * z[0, 0]), rtol=1e-4)


@pytest.mark.parametrize("settings", [{"group_heads": False}, {"groups": (3, 2, 0, 0, 0)}, {"style_classes": -1}])
def test_styles_are_told_apart_by_heads_of_a_group_style_only(settings):
    with pytest.raises(ConfigError, match=r"LevelConfig\.style_classes"):
        replace(STYLED, **{"global": settings})


def test_a_level_without_a_group_that_has_attributes_has_no_heads():
    with pytest.raises(ConfigError, match=r"LevelConfig\.group_heads = True: allowed is False with no group but style"):
        LevelConfig(dim=3, groups=(0, 0, 0, 0, 3), group_heads=True)
