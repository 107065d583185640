"""`information_flow` on a decoder that repeats its latents, and on a model of three levels that nothing has trained."""

import dataclasses
import itertools
import json
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.codec import MelodyCodec
from musicvae_jax.config import Config, LevelConfig, LevelsConfig
from musicvae_jax.data import windows
from musicvae_jax.data.load import load_windows
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.data.prepare import list_styles
from musicvae_jax.data.windows import Families
from musicvae_jax.evaluation import evaluate as evaluation
from musicvae_jax.evaluation import information_flow as flow
from musicvae_jax.evaluation.bootstrap import Bootstrap, estimate
from musicvae_jax.evaluation.figures import ANOTHER_PIECE, PRIORS, FlowFigures, write_evaluation
from musicvae_jax.evaluation.likeness import NAMES, true_attributes
from musicvae_jax.evaluation.load import load_workdir
from musicvae_jax.evaluation.probes import ProbeData, probe_figures
from musicvae_jax.evaluation.reconstruction import other_pieces
from musicvae_jax.evaluation.tables import evaluation_text
from musicvae_jax.evaluation.trained import EVALUATION_ROWS, on_all_devices
from musicvae_jax.figures import flatten
from musicvae_jax.types import Batch
from tests.tiny import replace
from tests.untrained import LEVELS_CONFIG, write_workdir

CODEC = MelodyCodec(subdivisions=("0", "1/2"), slots=8)
TWO = Config(levels=LevelsConfig(global_=LevelConfig(dim=1), local=LevelConfig(dim=1)))
WINDOWS, MEASURES = 200, 8


def make_melodies(seed: int = 0) -> Batch:
    """Melodies in 4/4; each has its own density and centre, and each of its phrases a centre of its own."""
    rng = np.random.default_rng(seed)
    shape = (WINDOWS, MEASURES, 8)
    centre = rng.integers(50, 80, (WINDOWS, 1, 1)) + np.repeat(rng.integers(-6, 7, (WINDOWS, 2, 1)), 4, 1)
    density = rng.uniform(0.2, 0.9, (WINDOWS, 1, 1))
    pitches = centre + rng.integers(-4, 5, shape)
    tokens = np.where(rng.random(shape) < density, pitches + 2, 0)[..., None].astype(np.int32)
    metre = np.full((WINDOWS, MEASURES, 2), 4, np.int32)
    return Batch(tokens, np.ones(shape, bool), metre, np.arange(WINDOWS, dtype=np.int32))


def decode(batch: Batch, num_draws: int, calls: list):
    """Decodes with a model whose global latent is the first phrase, its local latent the second one.

    Priors draw other melodies. Each call of the decoder adds its mask and its key to ``calls``.
    """

    def infer(model, variables, placed, keys):
        del model, variables, keys
        tokens = jnp.asarray(placed.tokens)
        return SimpleNamespace(latents={"global": tokens[:, :4], "local": tokens[:, 4:]})

    def sample_prior(model, variables, metre, keys, given):
        del model, variables, metre
        other = make_melodies(1 + int(jax.random.key_data(keys)[0, -1])).tokens
        return {"global": other[:, :4], "local": other[:, 4:]} | given

    def sample_tokens(model, variables, latents, metre, mask, key, sampling):
        del model, variables, metre, sampling
        calls.append((mask, jax.random.key_data(key).tolist()))
        return jnp.concatenate([latents["global"], latents["local"]], 1)

    with pytest.MonkeyPatch.context() as patch:
        for function in (infer, sample_prior, sample_tokens):
            patch.setattr(flow, function.__name__, function)
        vae: Any = SimpleNamespace(model=None, config=TWO, codec=CODEC, variables={})
        other = np.roll(np.arange(WINDOWS), WINDOWS // 2)
        return flow.decode_from_levels(vae, batch, batch, other, jax.random.key(0), num_draws)


@pytest.fixture(scope="module")
def decoded():
    return decode(make_melodies(), 2, [])


@pytest.fixture(scope="module")
def samples(decoded):
    """Source -> fields of `LikenessFigures` -> float64[resample]."""
    bootstrap, true = Bootstrap(np.arange(WINDOWS)), true_attributes(make_melodies(), CODEC)
    strata = np.zeros(WINDOWS, int)
    return {name: flow._likeness_samples(bootstrap, true, likeness, strata) for name, likeness in decoded.items()}


def test_decodings_share_the_noise_of_a_draw_and_are_not_told_how_many_notes_there_are():
    batch = make_melodies()
    shorter = np.arange(8) < 6
    batch = batch._replace(tokens=np.where(shorter[:, None], batch.tokens, 0), mask=batch.mask & shorter)
    calls: list = []
    decode(batch, 2, calls)
    masks, keys = zip(*calls, strict=True)
    assert len(calls) == 2 * 4  # priors, two levels, and another piece
    assert keys == (keys[0],) * 4 + (keys[4],) * 4 and keys[0] != keys[4]
    for mask in masks:
        np.testing.assert_array_equal(mask, CODEC.slot_mask(batch.metre))


def test_all_latents_give_everything_back(samples):
    found = flatten(flow._estimates(samples["local"]))
    assert found == pytest.approx({name: float(name.endswith("value")) for name in found}, abs=1e-9)


def test_priors_and_other_pieces_explain_nothing(samples):
    for name in (PRIORS, ANOTHER_PIECE):
        found = flow._estimates(samples[name])
        # Of either sign, because products of different draws have no noise.
        assert all(abs(r2.value) < min(2 * r2.se, 0.05) for r2 in found.r2.values())
        assert found.onset_f1.value < 0.2


def test_half_of_the_latents_gives_half_of_the_measures_back(samples, decoded):
    assert decoded["global"].sums["measures"].sum() == 2 * (make_melodies().tokens > 0).any((2, 3)).sum()  # two draws
    top, chance = (estimate(samples[name]["chroma"]) for name in ("global", PRIORS))
    assert top.value == pytest.approx((1 + chance.value) / 2, abs=5 * np.hypot(top.se, chance.se))


SIZES = {"num_windows": 20, "num_probed": 40, "num_draws": 1}  # 20 leaves padding rows in the last batch


@pytest.fixture(scope="module")
def vae(tmp_path_factory, folk_data_dir):
    data = {"data_dir": folk_data_dir, "attributes": True}
    config = replace(LEVELS_CONFIG, data=data, train={"batch_size": 8}, model={"skip": True})
    return load_workdir(write_workdir(tmp_path_factory.mktemp("flow") / "run", config, seed=1))


class Large(Families):
    """Families of many neighbouring pieces, so that the few windows here have relatives."""

    def __call__(self, index: np.ndarray) -> np.ndarray:
        return super().__call__(index) // 50


@pytest.fixture(scope="module", autouse=True)
def large_families():
    with pytest.MonkeyPatch.context() as patch:
        for module in (evaluation, flow):
            patch.setattr(module, "Families", Large)
        yield


@pytest.fixture(scope="module")
def families(vae):
    return Large(load_windows(vae.config, "test", attributes=False))


@pytest.fixture(scope="module")
def measured(vae) -> tuple[FlowFigures, flow.Windows]:
    """The figures, and the measured windows that they summarise."""
    seen: list[flow.Windows] = []
    measure = flow._measure

    def noting(*args: Any) -> flow.Windows:
        seen.append(measure(*args))
        return seen[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "_measure", noting)
        return flow.information_flow(vae, "test", **SIZES), seen[0]


def test_every_level_and_span_has_its_figures(measured):
    figures, _ = measured
    levels = ["global", "local", "fine"]
    assert figures.own_span == {"global": "window", "local": "2_measures", "fine": "measure"}
    assert set(figures.decoded) == {PRIORS, *levels, ANOTHER_PIECE} and list(figures.added) == levels
    assert set(figures.replaced) == {*levels}
    assert all(set(by) == {"prior_mean", "noise", "other_piece"} for by in figures.replaced.values())
    assert {upper: set(below) for upper, below in figures.swapped.items()} == {
        "global": {"local", "fine"}, "local": {"fine"},
    }  # fmt: skip
    assert {span: list(probes) for span, probes in figures.probes.items()} == {
        "measure": levels, "2_measures": levels[:2], "phrase": levels[:1], "window": levels[:1],
    }  # fmt: skip
    for probes in figures.probes.values():
        *upper, finest = probes.values()
        assert finest.shuffled is not None and finest.within_metre is not None and set(finest.attributes) <= {*NAMES}
        assert all(probe.shuffled is None and not probe.attributes for probe in upper)
    assert (figures.windows, figures.draws, figures.probe_windows) == (20, 1, 40)
    flat = flatten(figures)
    assert np.isfinite([value for value in flat.values() if not isinstance(value, str)]).all()
    for name, value in flat.items():
        if name.startswith("decoded"):
            assert 0 <= value <= 1 + 1e-9


def test_what_a_level_adds_is_a_difference(measured):
    figures, _ = measured
    for above, level in itertools.pairwise((PRIORS, "global", "local", "fine")):
        trees = figures.decoded[above], figures.decoded[level], figures.added[level]
        lower, upper, added = map(flatten, trees)
        for name in added:
            if name.endswith("value"):
                assert added[name] == pytest.approx(upper[name] - lower[name], abs=1e-12)


def test_windows_are_resampled_by_family_and_compared_within_equal_metres(measured, families):
    figures, found = measured
    kinds = [metre.tobytes() for metre in found.metre]
    assert 1 < len(set(kinds)) < 20
    strata = np.array([kinds.index(kind) for kind in kinds])
    assert 1 < len(set(families(found.index))) < 20
    bootstrap = Bootstrap(families(found.index), 0)
    for name, likeness in found.decoded.items():
        for span, original in found.attributes.items():
            pair = original, likeness.attributes[span]
            assert figures.decoded[name].r2[span] == estimate(bootstrap.squared_correlation(*pair))
            within = estimate(bootstrap.squared_correlation(*pair, strata))
            assert figures.decoded[name].r2_within_metre[span] == within != figures.decoded[name].r2[span]


def test_the_share_of_the_skip_connection_is_of_the_nll(measured):
    figures, found = measured
    nll, with_skip = (np.asarray(values, np.float64) for values in found.costs[:2])
    assert figures.skip_share and len(nll) == 20
    assert figures.skip_share.value == pytest.approx((nll.mean() - with_skip.mean()) / nll.mean(), rel=1e-6)
    assert abs(figures.skip_share.value) > 1e-3


def test_probes_are_fitted_to_training_music(vae, measured):
    def encode(split: str, **settings: int) -> ProbeData:
        source = load_windows(vae.config, split, attributes=False, **settings)
        index = np.concatenate([batch.index for batch in make_eval_batches(source, EVALUATION_ROWS, num_examples=40)])
        batch = source.gather(index[index >= 0])
        means = {level: np.asarray(gaussian.loc) for level, gaussian in vae.encode(batch).items()}
        attributes = true_attributes(batch, vae.codec, vae.config.spans)
        return ProbeData(means, attributes, batch.metre, Large(source)(batch.index))

    expected = flatten(probe_figures(encode("train", min_measures=1), encode("test"), vae.config))
    assert flatten(measured[0].probes) == pytest.approx(expected, abs=1e-4)


def test_partners_are_chosen_by_family(vae, families, monkeypatch):
    seen: list[tuple] = []

    def noting(*args: np.ndarray) -> np.ndarray:
        seen.append(args)
        return other_pieces(*args)

    for module in (evaluation, flow):
        monkeypatch.setattr(module, "other_pieces", noting)
    evaluation.evaluate(vae, "test", num_examples=8)
    flow.information_flow(vae, "test", num_windows=8, num_probed=8, num_draws=1)
    source = load_windows(vae.config, "test", attributes=False)
    assert len(seen) == 2
    for index, metre, given in seen:
        np.testing.assert_array_equal(given, families(index))
        np.testing.assert_array_equal(metre, source.gather(index).metre)


@pytest.fixture
def no_attributes(monkeypatch) -> None:
    """Fails the test where a source of windows computes attributes."""
    monkeypatch.setattr(windows, "window_attributes", lambda *_, **__: pytest.fail("attributes are computed"))


@pytest.mark.usefixtures("no_attributes")  # beside those that are measured
def test_the_seed_decides(vae, measured):
    again, other = (flow.information_flow(vae, "test", **SIZES, seed=seed) for seed in (0, 1))
    assert again == measured[0]
    assert other.replaced["global"]["noise"] != again.replaced["global"]["noise"]


@pytest.mark.usefixtures("no_attributes")
def test_a_gallery_and_an_evaluation_compute_no_attributes(vae, tmp_path, call):
    workdir = write_workdir(tmp_path / "run", vae.config)
    (workdir / "metrics.jsonl").write_text('{"step": 1, "nll": 2.0}\n{"step": 2, "nll": 1.0}\n')
    assert (
        call(
            "generate.py", "gallery", "--trust-config", "--workdir", workdir, "--out", tmp_path / "out", "--num", 1
        ).status
        == 0
    )
    evaluation.evaluate(vae, "test", num_examples=8)
    assert load_windows(vae.config, "test", attributes=False).gather(np.array([0])).attributes == ()


def test_one_window_leaves_some_figures_open(vae, tmp_path):
    """They are null in the file, and the tables show a dash."""
    found = flow.information_flow(vae, "test", num_windows=1, num_probed=4, num_draws=1)
    figures = dataclasses.replace(evaluation.evaluate(vae, "test", num_examples=1), flow=found)
    text = write_evaluation(tmp_path, figures).read_text()
    written = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert None in written.values() and written["num_examples"] == 1 and written["nll"] > 0
    table = evaluation_text(figures)
    (row,) = [line.split() for line in table.splitlines() if line.strip().startswith("priors alone")]
    assert "-" in row and "nan" not in table


def test_figures_do_not_depend_on_the_batch_size_of_training(vae, measured):
    """The pairs of swapped windows and all noise are those of the evaluation."""
    larger = dataclasses.replace(vae, config=replace(vae.config, train={"batch_size": 64}))
    assert flow.information_flow(larger, "test", **SIZES) == measured[0]
    found, expected = (evaluation.evaluate(each, "test", num_examples=40) for each in (larger, vae))
    assert found == expected


def test_styles_are_those_of_the_pieces_where_windows_carry_attributes(vae):
    own, parallel = on_all_devices(vae)
    source = load_windows(vae.config, "test", attributes=True)
    styles = list_styles("folk_tunes", vae.config.data.data_dir)
    data = flow._encode(own, parallel, source, Families(source), 40, seed=0)
    chosen = np.concatenate(
        [b.index[b.index >= 0] for b in make_eval_batches(source, EVALUATION_ROWS, num_examples=40)]
    )
    wanted = [source.score(number).style for number in chosen]
    assert data.style is not None
    found = [styles[int(number)] if np.isfinite(number) else "" for number in data.style]
    assert found == wanted and len(set(wanted)) > 2
    without = load_windows(vae.config, "test", attributes=False)
    assert flow._encode(own, parallel, without, Families(without), 8, seed=0).style is None
