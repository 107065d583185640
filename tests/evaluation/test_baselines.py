"""The n-gram baselines against the formula of the docstring, written without arrays, and against a known chain."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.evaluation.baselines import NGram
from musicvae_jax.types import Batch, Field

VOICES = (Field("high", 5), Field("low", 3))


def make_batch(seed, fields=VOICES, windows=6, measures=3, slots=4):
    rng = np.random.default_rng(seed)
    mask = rng.random((windows, measures, slots)) < 0.7
    mask[-1] = False  # a padding row
    tokens = np.stack([rng.geometric(0.4, mask.shape).clip(max=field.size) - 1 for field in fields], -1)
    return Batch(tokens.astype(np.int32), mask, np.zeros((windows, measures, 2), np.int32), np.arange(windows))


def chains(batch, fields):
    """[(field, token)] of each window, in reading order. A slot that ends a measure has only its first field."""
    result = []
    for tokens, mask in zip(batch.tokens, batch.mask, strict=True):
        slots = [slot for measure, there in zip(tokens, mask, strict=True) for slot in measure[there]]
        lengths = [1 if slot[0] == fields[0].end else len(fields) for slot in slots]
        result.append([(n, int(slot[n])) for slot, length in zip(slots, lengths, strict=True) for n in range(length)])
    return result


def reference_probability(model, batches, field, context, token):
    """p(token | context) by the definition: grams are counted in a dict, contexts shortened by recursion."""
    seen: dict = {}  # (context, token) of the highest order -> count
    for batch in batches:
        for chain in chains(batch, model.fields):
            past = [-1] * model.order
            for number, word in chain:
                if number == field:
                    key = (tuple(past[len(past) - model.order :]), word)
                    seen[key] = seen.get(key, 0) + 1
                past.append(word)

    def counts(order):
        if order == model.order:
            return seen
        lower: dict = {}
        for (longer, word), count in counts(order + 1).items():
            from_start = order > 0 and longer[1] == -1
            key = (longer[1:], word)
            lower[key] = lower.get(key, 0) + (count if from_start else 1)
        return lower

    def probability(context):
        table = counts(len(context))
        if not context:
            return (table.get(((), token), 0) + 1) / (sum(table.values()) + model.fields[field].size)
        here = {word: count for (past, word), count in table.items() if past == context}
        lower = probability(context[1:])
        if not here:
            return lower
        n = [list(table.values()).count(number) for number in range(5)]
        discount = [0, 0.5, 1, 1.5]
        if min(n[1:4]) > 0:
            y = n[1] / (n[1] + 2 * n[2])
            estimate = [0, 1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]]
            if all(0 < value <= number for number, value in enumerate(estimate) if number):
                discount = estimate
        taken = sum(discount[min(count, 3)] for count in here.values())
        count = here.get(token, 0)
        return (count - discount[min(count, 3)] + taken * lower) / sum(here.values())

    return probability(tuple(context))


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize("windows", [1, 2, 40])  # with 40 the discounts are estimated, with fewer they fall back
@pytest.mark.parametrize("end", [None, 1])
def test_equals_the_formula(order, windows, end):
    fields = (VOICES[0]._replace(end=end), VOICES[1])
    batches = [make_batch(seed, windows=windows + 1) for seed in range(2)]
    model = NGram(fields, order).fit(batches)
    held_out = make_batch(7, windows=3)  # the last one is padding
    for window, chain in enumerate(chains(held_out, fields)):
        past, expected = [-1] * order, 0.0
        for field, token in chain:
            context = past[len(past) - order :]
            expected -= math.log(reference_probability(model, batches, field, context, token))
            past.append(token)
        assert model.nll(held_out)[window] == pytest.approx(expected, rel=1e-12)


def test_discounts_are_estimated_where_they_can_be():
    model = NGram(VOICES, 3).fit([make_batch(seed, windows=41) for seed in range(2)])
    assert tuple(model._tables[0][-1].discounts) != (0.0, 0.5, 1.0, 1.5)


@given(
    order=st.integers(0, 3),
    windows=st.integers(1, 60),
    field=st.integers(0, 1),
    past=st.lists(st.integers(-1, 2), min_size=3, max_size=3),
)
def test_probabilities_are_positive_and_sum_to_one(order, windows, field, past):
    batch, context = make_batch(windows, windows=windows), past[3 - order :]
    model = NGram(VOICES, order).fit([batch])
    p = model.probabilities(context, field)
    assert (p > 0).all() and p.sum() == pytest.approx(1, rel=1e-12)
    expected = [reference_probability(model, [batch], field, context, token) for token in range(VOICES[field].size)]
    np.testing.assert_allclose(p, expected, rtol=1e-12)


def test_a_model_of_no_tokens_is_uniform():
    batch = make_batch(0)
    expected = batch.mask.sum((1, 2)) * (math.log(5) + math.log(3))
    for model in (NGram(VOICES, 3), NGram(VOICES, 3).fit([]), NGram(VOICES, 3).fit([make_batch(1, windows=1)])):
        np.testing.assert_allclose(model.nll(batch), expected, rtol=1e-12)


def test_pending_counts_are_merged_without_loss(monkeypatch):
    batches = [make_batch(seed) for seed in range(5)]
    expected = NGram(VOICES, 3).fit(batches).nll(batches[0])
    monkeypatch.setattr("musicvae_jax.evaluation.baselines._MAX_PENDING", 10)
    np.testing.assert_array_equal(NGram(VOICES, 3).fit(batches).nll(batches[0]), expected)


@pytest.mark.parametrize("order", [9, -1])
def test_an_order_that_does_not_fit_63_bits_is_refused(order):
    with pytest.raises(ValueError, match=f"order = {order}"):
        NGram((Field("melody", 130),), order)
