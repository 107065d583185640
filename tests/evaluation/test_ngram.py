"""The n-gram models against the formula of the docstring, written without arrays."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.evaluation.ngram import NGram
from musicvae_jax.types import Batch, Field

VOICES = (Field("high", 5), Field("low", 3))
START = None
UNITS, PLACES = ["token", "slot"], ["none", "slot", "measure"]


def make_batch(seed, fields=VOICES, windows=6, measures=3, slots=4):
    rng = np.random.default_rng(seed)
    mask = rng.random((windows, measures, slots)) < 0.7
    mask[-1] = False  # a padding row
    tokens = np.stack([rng.geometric(0.4, mask.shape).clip(max=field.size) - 1 for field in fields], -1)
    metre = rng.choice([3, 4], (windows, measures, 2))
    short = rng.random(windows) < 0.3  # windows without their last measure
    mask[short, -1] = False
    metre[short, -1] = 0
    return Batch(tokens.astype(np.int32), mask, metre.astype(np.int32), np.arange(windows))


def windows_of(batch, fields):
    """Each window as its slots: (places, tokens). A slot that ends a measure has only its first field."""
    for row in range(len(batch.tokens)):
        count = sum(numerator > 0 for numerator, _ in batch.metre[row].tolist())
        slots = []
        for measure, slot in zip(*np.nonzero(batch.mask[row]), strict=True):
            tokens = batch.tokens[row, measure, slot].tolist()
            places = [(*batch.metre[row, measure].tolist(), int(slot)), (int(measure), count - int(measure))]
            slots.append((places, tokens[:1] if tokens[0] == fields[0].end else tokens))
        yield slots


def contexts(slots, number, field, order, unit, place):
    """All contexts of a token, the shortest first. A context is a tuple of what it knows, the newest last."""
    known = slots[number][0][: PLACES.index(place)]
    inside = slots[number][1][:field]
    if unit == "token":
        past = [token for _, tokens in slots[:number] for token in tokens] + inside
        steps = ([START] * order + past)[len(past) :] if order else []
    else:
        past = [tuple(tokens) for _, tokens in slots[:number]]
        steps = (([START] * order + past)[len(past) :] if order else []) + inside
    everything = known + steps[::-1]
    return [tuple(everything[:length]) for length in range(len(everything) + 1)]


def tokens_of(slots, field):
    """The numbers of the slots that have a field, and its tokens."""
    return [(number, tokens[field]) for number, (_, tokens) in enumerate(slots) if field < len(tokens)]


class Reference:
    """The formula, with dicts."""

    def __init__(self, fields, batches, order, unit, place):
        self.setting, self.fields, self.tables = (order, unit, place), fields, []
        windows = [slots for batch in batches for slots in windows_of(batch, fields)]
        for field in range(len(fields)):
            longest: Counter = Counter()
            for slots in windows:
                for number, token in tokens_of(slots, field):
                    longest[contexts(slots, number, field, *self.setting)[-1], token] += 1
            tables = [longest]
            length = max((len(context) for context, _ in longest), default=0)
            for shorter in reversed(range(length)):
                counts: Counter = Counter()
                for (context, token), count in tables[0].items():
                    from_start = context[:shorter][-1:] == (START,)
                    counts[context[:shorter], token] += count if from_start else 1
                tables.insert(0, counts)
            self.tables.append(tables)

    def probability(self, field, found, token):
        size = self.fields[field].size
        if not self.tables[field][-1]:
            return 1 / size
        p = (self.tables[field][0][(), token] + 1) / (self.tables[field][0].total() + size)
        for context, table in list(zip(found, self.tables[field], strict=True))[1:]:
            here = {word: count for (past, word), count in table.items() if past == context}
            if not here:
                continue
            n = [list(table.values()).count(number) for number in range(5)]
            discount = [0, 0.5, 1, 1.5]
            if min(n[1:4]) > 0:
                y = n[1] / (n[1] + 2 * n[2])
                estimate = [0, 1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]]
                if all(0 < value <= number for number, value in enumerate(estimate) if number):
                    discount = estimate
            taken = sum(discount[min(count, 3)] for count in here.values())
            count = here.get(token, 0)
            p = (count - discount[min(count, 3)] + taken * p) / sum(here.values())
        return p

    def nll(self, batch):
        result = []
        for slots in windows_of(batch, self.fields):
            chosen = [
                (field, contexts(slots, number, field, *self.setting), token)
                for field in range(len(self.fields))
                for number, token in tokens_of(slots, field)
            ]
            result.append(-sum(math.log(self.probability(*each)) for each in chosen))
        return result


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("windows", [1, 2, 40])  # with 40 the discounts are estimated, with fewer they fall back
@pytest.mark.parametrize("end", [None, 1])
def test_every_order_equals_the_formula(unit, place, windows, end):
    fields = (VOICES[0]._replace(end=end), VOICES[1])
    batches = [make_batch(seed, windows=windows + 1) for seed in range(2)]
    held_out = make_batch(7, windows=3)  # the last one is padding
    found = NGram(fields, 3, unit, place=place).fit(batches).nll(held_out)
    for order in range(4):
        expected = Reference(fields, batches, order, unit, place).nll(held_out)
        np.testing.assert_allclose(found[order], expected, rtol=1e-12)


def test_discounts_are_estimated_where_they_can_be():
    model = NGram(VOICES, 3).fit([make_batch(seed, windows=41) for seed in range(2)])
    longest = model._tables[0][-1].longest
    assert longest and tuple(longest.discounts) != (0.0, 0.5, 1.0, 1.5)


@given(windows=st.integers(1, 60), unit=st.sampled_from(UNITS), place=st.sampled_from(PLACES))
def test_probabilities_are_positive_and_sum_to_one(windows, unit, place):
    """Over all that the last slot of a window may hold, given the slots before it."""
    model = NGram(VOICES, 2, unit, place=place).fit([make_batch(windows, windows=windows)])
    one = make_batch(windows + 1, windows=2)
    after = Batch(*(np.repeat(leaf[:1], 15, 0) for leaf in one[:4]))
    measure, slot = (found[-1] for found in np.nonzero(after.mask[0]))
    after.tokens[:, measure, slot] = [(high, low) for high in range(5) for low in range(3)]
    before = after._replace(mask=after.mask.copy())
    before.mask[:, measure, slot] = False
    p = np.exp(model.nll(before) - model.nll(after))
    assert (p > 0).all()
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-9)


def test_a_model_of_no_tokens_is_uniform():
    batch = make_batch(0)
    expected = batch.mask.sum((1, 2)) * (math.log(5) + math.log(3))
    for model in (NGram(VOICES, 3), NGram(VOICES, 3).fit([]), NGram(VOICES, 3).fit([make_batch(1, windows=1)])):
        np.testing.assert_allclose(model.nll(batch), np.tile(expected, (4, 1)), rtol=1e-12)


def test_batches_do_not_matter():
    whole = make_batch(0, windows=9)
    parts = [Batch(*(leaf[rows] for leaf in whole[:4])) for rows in (slice(0, 4), slice(4, 9))]
    held_out = make_batch(1)
    one, other = (NGram(VOICES, 3, place="slot").fit(music).nll(held_out) for music in ([whole], parts))
    np.testing.assert_array_equal(one, other)


def test_an_order_below_0_is_refused():
    with pytest.raises(ValueError, match="max_order = -1"):
        NGram(VOICES, -1)
