"""Laws of the n-gram baselines; `reference_probability` is the docstring's formula, written without arrays."""

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
    mask[-1] = False  # a row that pads a last batch
    tokens = np.stack([rng.geometric(0.4, mask.shape).clip(max=field.size) - 1 for field in fields], -1)
    return Batch(tokens.astype(np.int32), mask, np.zeros((windows, measures, 2), np.int32), np.arange(windows))


def chains(batch, fields):
    """[(field, token)] of each window, in reading order; of a slot that ends a measure only the first field."""
    result = []
    for tokens, mask in zip(batch.tokens, batch.mask, strict=True):
        slots = [slot for measure, there in zip(tokens, mask, strict=True) for slot in measure[there]]
        lengths = [1 if slot[0] == fields[0].end else len(fields) for slot in slots]
        result.append([(n, int(slot[n])) for slot, length in zip(slots, lengths, strict=True) for n in range(length)])
    return result


def reference_probability(model, batches, field, context, token):
    """p(token | context) from the definition: count grams in a dict, then recurse over contexts."""
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
    held_out = make_batch(7, windows=3)
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
def test_probabilities_sum_to_one_and_are_positive(order, windows, field, past):
    model = NGram(VOICES, order).fit([make_batch(windows, windows=windows)])
    p = model.probabilities(past[3 - order :], field)
    assert p.shape == (VOICES[field].size,)
    assert (p > 0).all()
    assert p.sum() == pytest.approx(1, rel=1e-12)


def test_order_0_is_counting():
    batch = make_batch(0)
    model = NGram(VOICES, 0).fit([batch])
    for number, field in enumerate(VOICES):
        counts = np.bincount(batch.tokens[batch.mask][:, number], minlength=field.size)
        expected = (counts + 1) / (counts.sum() + field.size)
        np.testing.assert_allclose(model.probabilities(np.zeros(0), number), expected, rtol=1e-12)


def test_uniform_before_fit_and_after_nothing():
    batch = make_batch(0)
    expected = batch.mask.sum((1, 2)) * (math.log(5) + math.log(3))
    for model in (NGram(VOICES, 3), NGram(VOICES, 3).fit([]), NGram(VOICES, 3).fit([make_batch(1, windows=1)])):
        np.testing.assert_allclose(model.nll(batch), expected, rtol=1e-12)


def test_masked_slots_do_not_count():
    batch = make_batch(0)
    other = batch._replace(tokens=np.where(batch.mask[..., None], batch.tokens, 1))
    assert (other.tokens != batch.tokens).any()
    model, twin = NGram(VOICES, 3).fit([batch]), NGram(VOICES, 3).fit([other])
    np.testing.assert_array_equal(model.nll(batch), model.nll(other))
    np.testing.assert_array_equal(model.nll(batch), twin.nll(batch))
    assert model.nll(batch)[-1] == 0  # the row that is all padding


def test_windows_start_afresh_and_batching_does_not_matter():
    batch = make_batch(0)
    rows = [Batch(*(part[row : row + 1] for part in batch)) for row in range(len(batch.tokens))]
    whole, apart = NGram(VOICES, 3).fit([batch]), NGram(VOICES, 3).fit(iter(rows))
    expected = np.concatenate([apart.nll(row) for row in rows])
    np.testing.assert_allclose(whole.nll(batch), expected, rtol=1e-12)


def test_pending_counts_are_merged_without_loss(monkeypatch):
    batches = [make_batch(seed) for seed in range(5)]
    expected = NGram(VOICES, 3).fit(batches).nll(batches[0])
    monkeypatch.setattr("musicvae_jax.evaluation.baselines._MAX_PENDING", 10)
    np.testing.assert_array_equal(NGram(VOICES, 3).fit(batches).nll(batches[0]), expected)


def test_finds_the_entropy_rate_of_a_known_chain():
    rng = np.random.default_rng(0)
    size, train, test = 4, 192, 64  # windows of 1024 tokens
    transition = rng.dirichlet(np.full(size, 0.5), (size, size))  # [oldest, newest, next], order 2
    tokens = np.empty((train + test, 1024), np.int64)
    tokens[:, :2] = rng.integers(size, size=(train + test, 2))
    uniform = rng.random(tokens.shape)
    true_nll = np.zeros(tokens.shape)
    for t in range(2, tokens.shape[1]):
        p = transition[tokens[:, t - 2], tokens[:, t - 1]]
        tokens[:, t] = (p.cumsum(-1) < uniform[:, t, None]).sum(-1).clip(max=size - 1)
        true_nll[:, t] = -np.log(p[np.arange(len(p)), tokens[:, t]])

    pair = np.full((size, size), 1 / size**2)  # stationary distribution of (oldest, newest)
    for _ in range(2000):
        pair = np.einsum("ab,abc->bc", pair, transition)
    entropy_rate = -(pair[..., None] * transition * np.log(transition)).sum()
    true_nll[:, :2] = math.log(size)

    shape = (-1, 64, 16, 1)
    batch = Batch(tokens.reshape(shape), np.ones((train + test, 64, 16), bool), None, np.arange(train + test))
    first, last = (
        Batch(batch.tokens[part], batch.mask[part], None, batch.index[part])
        for part in (slice(train), slice(train, None))
    )
    nll = NGram((Field("symbol", size),), 3).fit([first]).nll(last)

    # Each free parameter of an order-3 table costs 1/2 over the training set; smoothing may cost no more than that.
    excess = (nll.sum() - true_nll[train:].sum()) / nll.size / 1024
    assert 0 < excess < 2 * (size**3 * (size - 1) / 2) / (train * 1024)
    per_window = nll / 1024
    standard_error = per_window.std() / math.sqrt(test)
    start = (2 * math.log(size) - 2 * entropy_rate) / 1024  # the first two tokens are uniform
    assert per_window.mean() == pytest.approx(entropy_rate + start, abs=5 * standard_error)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="order = 9"):
        NGram((Field("melody", 130),), 9)
    with pytest.raises(ValueError, match="order = -1"):
        NGram((Field("melody", 130),), -1)
