"""What rivals are fitted to, what is chosen on validation, and which windows are copied."""

import dataclasses

import numpy as np
import pytest

from musicvae_jax.codec import MelodyCodec, Metre, Score, VoicesCodec
from musicvae_jax.config import Config, DataConfig
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.evaluation import rivals
from musicvae_jax.evaluation.ngram import NGram, Place
from musicvae_jax.types import Batch
from tests.data.melodies import random_melody

CODEC = MelodyCodec()
MEASURES = 2
PLACES: tuple[Place, ...] = ("none", "slot", "measure")


def source_of(seeds, hop=MEASURES) -> WindowSource:
    return WindowSource([random_melody(seed, 6) for seed in seeds], CODEC, MEASURES, hop)


@pytest.fixture
def splits(monkeypatch):
    """Splits of random melodies in place of a data set; returns what was loaded: (split, settings)."""
    sources = {"train": range(12), "validation": range(20, 24), "test": range(30, 34)}
    loaded = []

    def load(config: Config, split: str, **changes):
        loaded.append((split, changes))
        return source_of(sources[split], changes.get("hop", 1 if split == "train" else MEASURES))

    monkeypatch.setattr(rivals, "load_windows", load)
    monkeypatch.setattr(rivals, "MAX_ORDER", {"token": 4, "slot": 2})
    return loaded


def make_config(transpose: int) -> Config:
    return Config(data=DataConfig(measures=MEASURES, hop=1, transpose=transpose))


def test_the_unigram_counts_every_training_measure_once(splits):
    found = rivals.measure_rivals(make_config(0), "test")
    train, held_out = (make_eval_batches(source_of(seeds), 64)[0] for seeds in (range(12), range(30, 34)))
    counts = np.bincount(train.tokens[train.mask][:, 0], minlength=130)
    tokens = held_out.tokens[held_out.mask][:, 0]
    assert found.unigram == pytest.approx(np.exp(-np.log((counts[tokens] + 1) / (counts.sum() + 130)).mean()))
    assert ("train", {"attributes": False, "hop": MEASURES, "min_measures": 1}) in splits


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_chain_is_the_best_on_validation_whatever_split_is_measured(splits, split):
    found = rivals.measure_rivals(make_config(1), split).markov
    train, validation, held_out = (
        source_of(seeds)
        for seeds in (range(12), range(20, 24), range(20, 24) if split == "validation" else range(30, 34))
    )
    nll: dict[tuple[int, Place, int], tuple[float, NGram]] = {}
    for copies in (1, 3):
        shifts = (0, 1, -1)[:copies]
        windows = [
            batch._replace(tokens=CODEC.transpose(batch.tokens, shift))
            for batch in make_eval_batches(train, 64)
            for shift in shifts
        ]
        for place in PLACES:
            model = NGram(CODEC.fields, 4, place=place).fit(windows)
            values = np.sum([model.nll(batch).sum(1) for batch in make_eval_batches(validation, 64)], 0)
            for order, value in enumerate(values.tolist()):
                nll[copies, place, order] = value, model
    # First the place, in the music's own keys; then the keys.
    place = min((key for key in nll if key[0] == 1), key=lambda key: nll[key][0])[1]
    chosen = min((key for key in nll if key[1] == place), key=lambda key: nll[key][0])
    assert (found.copies, found.place, found.order) == chosen
    batches = make_eval_batches(held_out, 64)
    tokens = sum(int(batch.mask.sum()) for batch in batches)
    expected = np.exp(sum(nll[chosen][1].nll(batch).sum(1)[found.order] for batch in batches) / tokens)
    assert found.perplexity == pytest.approx(float(expected)) and found.unit == "token"


def canon(seed: int) -> Score:
    """Two voices of random notes; the lower one repeats, an octave lower, what the upper one had before."""
    melody = random_melody(seed, 6)
    lower = melody.notes.copy()
    lower[:, 0] += 480
    lower[:, 2] -= 12
    lower[:, 4] = 1
    notes = np.concatenate([melody.notes, lower[:-2]])
    return dataclasses.replace(melody, notes=notes[np.lexsort((notes[:, 4], notes[:, 2], notes[:, 0]))])


def test_every_later_choice_of_a_chain_of_several_voices_is_better_or_not_taken(monkeypatch):
    codec = VoicesCodec(voices=2)
    train, validation = (
        WindowSource([canon(n) for n in seeds], codec, MEASURES, MEASURES) for seeds in (range(9), [9])
    )
    batches, config = make_eval_batches(validation, 64), make_config(1)
    found: list[tuple] = []

    def recorded(model, *arguments):
        values = perplexities(model, *arguments)
        found.append((model.unit, model.place, model.max_order, values))
        return values

    perplexities = rivals._perplexities
    monkeypatch.setattr(rivals, "_perplexities", recorded)
    chain, order, model = rivals.choose_chain(config, train, batches)
    assert perplexities(model, batches, codec)[order] == min(values.min() for *_, values in found)
    assert {unit for unit, *_ in found} == {"token", "slot"} and {place for _, place, *_ in found} == set(PLACES)
    assert {most for *_, most, _ in found} == {24, 8}
    assert (model.unit, model.place) == (chain.unit, chain.place)
    # Of more music there are fewer keys and shorter contexts.
    tokens = sum(int(batch.mask.sum()) * 2 for batch in make_eval_batches(train, 64))
    monkeypatch.setattr(rivals, "MAX_FITTED", 2 * tokens)
    monkeypatch.setattr(rivals, "MAX_GRAMS", 4 * tokens)
    found.clear()
    chain, order, _ = rivals.choose_chain(config, train, batches)
    assert chain.copies <= 2 and {most for *_, most, _ in found} == {4, 2}


def test_a_window_that_is_in_the_training_music_is_copied_exactly(splits):
    held_out = make_eval_batches(source_of([3, 5]), 4)
    assert rivals.copy_onset_f1(make_config(0), held_out) == pytest.approx({"window": 1.0, "measure": 1.0})


def test_a_window_in_another_key_is_copied_from_the_transposed_music(splits):
    (batch,) = make_eval_batches(source_of([3]), 4)
    higher = batch._replace(tokens=CODEC.transpose(batch.tokens, 2))
    assert rivals.copy_onset_f1(make_config(2), [higher])["measure"] == 1
    assert rivals.copy_onset_f1(make_config(1), [higher])["measure"] < 1


def test_copies_have_the_same_metres(splits):
    """All training windows are in 4/4: for a waltz there is no copy, and no note is found."""
    waltz = WindowSource([random_melody(3, 6, metre=Metre(3, 4))], CODEC, MEASURES, MEASURES)
    found = rivals.copy_onset_f1(make_config(0), make_eval_batches(waltz, 4))
    assert found == {"window": 0.0, "measure": 0.0}


def test_music_is_transposed_within_the_pitches_of_midi():
    low = dataclasses.replace(random_melody(1, 2))
    notes = low.notes.copy()
    notes[:, 2] -= notes[:, 2].min()
    source = WindowSource([dataclasses.replace(low, notes=notes)], CODEC, MEASURES, MEASURES)
    batches = list(rivals._transposed(source, 5))
    first = batches[0]
    moved = [int((batch.tokens - first.tokens)[CODEC.is_onset(first.tokens)].max(initial=-128)) for batch in batches]
    assert moved == [0, 1, 0, 2, 0]  # down is not possible
    assert all(isinstance(batch, Batch) for batch in batches)
