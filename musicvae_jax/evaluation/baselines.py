"""What held-out perplexity is compared with: n-gram models of the same tokens. NumPy only."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from musicvae_jax.types import Batch, Field, existing_fields

_MAX_PENDING = 1 << 22  # entries counted but not yet merged: 64 MiB
_FALLBACK_DISCOUNTS = (
    0.0,
    0.5,
    1.0,
    1.5,
)  # where there are too few counts to estimate them, as in KenLM (Heafield 2011)


class NGram:
    """Order-n Markov model of tokens: each depends on the n before it; order 0 is the unigram model.

    A window is one sequence: its unmasked slots in reading order, the fields of a slot one after another, those that do
    not exist left out. It starts afresh, after n start symbols, as the VAE does. Each field has its own distributions.

    Smoothing is interpolated modified Kneser-Ney (Chen & Goodman 1999, section 3), the strongest of the textbook rules
    on these tokens too. With h the context and h' the same without its oldest token,

        p(w | h) = (c(h w) - D(c(h w)) + p(w | h') sum_v D(c(h v))) / c(h),        p(w | h) = p(w | h') if c(h) = 0
        p(w)     = (c(w) + 1) / (sum_v c(v) + size)

    where c counts training tokens for the longest h and for contexts that begin at a window's start, and for shorter
    ones the different tokens seen before h w. Every token has a positive probability; they sum to one.

    Before `fit` the model is uniform.

    Args:
        fields: the variables of a slot, as `codec.fields`.
        order: how many tokens before it a token depends on.

    Raises:
        ValueError: if order < 0, or order + 1 tokens do not fit 63 bits.
    """

    def __init__(self, fields: Sequence[Field], order: int):
        self.fields = tuple(fields)
        self.order = order
        self._base = 1 + max(field.size for field in self.fields)  # digit 0 is the start symbol
        if order < 0 or self._base ** (order + 1) >= 2**63:
            raise ValueError(f"order = {order}: allowed is 0 or more, with {self._base}^(order + 1) below 2^63")
        self.fit(())

    def fit(self, batches: Iterable[Batch]) -> "NGram":
        """Counts the tokens of batches, in one pass; what was counted before is forgotten.

        Args:
            batches: with tokens int[batch, measure, slot, field] and mask bool[batch, measure, slot].

        Returns:
            The model itself.
        """
        counters = [_Counter() for _ in self.fields]
        for batch in batches:
            _, field, token, context = self._sequences(batch)
            for number, counter in enumerate(counters):
                here = field == number
                counter.add(self._pack(context[here], token[here]))
        self._tables = [self._smooth(*counter.result()) for counter in counters]
        return self

    def nll(self, batch: Batch) -> np.ndarray:
        """Negative log-likelihood in nats, summed over unmasked slots and fields: float64[batch]."""
        row, field, token, context = self._sequences(batch)
        nll = np.zeros(len(batch.tokens))
        for number in range(len(self.fields)):
            here = field == number
            p = self._probability(number, context[here], token[here])
            nll += np.bincount(row[here], -np.log(p), minlength=len(nll))
        return nll

    def probabilities(self, context: np.ndarray, field: int = 0) -> np.ndarray:
        """The distribution of the next token.

        Args:
            context: int[..., order], the tokens before it, oldest first; -1 is the start symbol.
            field: the number of the field that the next token is of.

        Returns:
            float64[..., size of the field].
        """
        context = np.asarray(context, np.int64)[..., None, ::-1] + 1
        token = np.arange(self.fields[field].size) + 1
        shape = (*context.shape[:-2], len(token))
        flat = np.broadcast_to(context, (*shape, self.order)).reshape(math.prod(shape), self.order)
        return self._probability(field, flat, np.broadcast_to(token, shape).ravel()).reshape(shape)

    def _sequences(self, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Rows, fields, tokens + 1, all int64[token], and contexts int64[token, order] of the tokens that exist."""
        tokens = np.asarray(batch.tokens)
        exists = existing_fields(tokens, np.asarray(batch.mask), self.fields)
        row, *_, field = np.nonzero(exists)
        chain = tokens[exists].astype(np.int64) + 1
        age = np.arange(len(chain)) - np.searchsorted(row, row)  # tokens since the window's chain began
        context = np.zeros((len(chain), self.order), np.int64)
        for past in range(min(self.order, len(chain))):  # context[:, 0] is the newest
            context[:, past] = np.where(age > past, np.roll(chain, past + 1), 0)
        return row, field, chain, context

    def _pack(self, context: np.ndarray, token: np.ndarray) -> np.ndarray:
        """One number per (context, token): digits in base `_base`, the token lowest, the oldest of the past highest."""
        key = np.zeros(len(token), np.int64)
        for past in reversed(range(context.shape[1])):
            key = key * self._base + context[:, past]
        return key * self._base + token

    def _smooth(self, grams: np.ndarray, counts: np.ndarray) -> list["_Table"]:
        """Tables of the orders 0 to `order` from the counts of the highest."""
        tables = [_make_table(grams, counts, self._base)]
        for order in reversed(range(self.order)):
            place = self._base**order  # of the oldest token that is kept
            grams = grams % (place * self._base)
            # Nothing comes before a window's start, so these keep their counts; the rest count what came before them.
            weight = np.where(grams // place == 0, counts, 1) if order else np.ones_like(counts)
            grams, counts = _merge(grams, weight)
            tables.insert(0, _make_table(grams, counts, self._base))
        return tables

    def _probability(self, field: int, context: np.ndarray, token: np.ndarray) -> np.ndarray:
        tables = self._tables[field]
        key = self._pack(context, token)
        p = (tables[0].count_of(key % self._base) + 1) / (tables[0].counts.sum() + self.fields[field].size)
        for order, table in enumerate(tables[1:], 1):
            p = table.interpolate(key % self._base ** (order + 1), p)
        return p


class _Table(NamedTuple):
    """Counts of one order; a gram is a context and a token, its number is context * base + token."""

    grams: np.ndarray  # int64[gram], sorted
    counts: np.ndarray  # int64[gram]
    contexts: np.ndarray  # int64[context], sorted
    totals: np.ndarray  # int64[context], sum of the counts
    reserved: np.ndarray  # float64[context], sum of the discounts
    discounts: np.ndarray  # float64[4], of a count of 0, 1, 2, and 3 or more
    base: int

    def count_of(self, gram: np.ndarray) -> np.ndarray:
        """How often grams were seen, int64[...]."""
        return _look_up(self.grams, self.counts, gram)

    def interpolate(self, gram: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """Probability of grams' tokens in their contexts, given that in the shorter contexts: both float64[...]."""
        count = self.count_of(gram)
        total = _look_up(self.contexts, self.totals, gram // self.base)
        reserved = _look_up(self.contexts, self.reserved, gram // self.base)
        discounted = count - self.discounts[np.minimum(count, 3)]
        return np.where(total > 0, (discounted + reserved * lower) / np.maximum(total, 1), lower)


def _make_table(grams: np.ndarray, counts: np.ndarray, base: int) -> _Table:
    contexts, first = np.unique(grams // base, return_index=True)
    discounts = _discounts(counts)
    reserved = discounts[np.minimum(counts, 3)]
    if not len(grams):  # reduceat refuses an empty array
        return _Table(grams, counts, contexts, counts, reserved, discounts, base)
    totals = np.add.reduceat(counts, first)
    return _Table(grams, counts, contexts, totals, np.add.reduceat(reserved, first), discounts, base)


def _discounts(counts: np.ndarray) -> np.ndarray:
    """What to take from a count of 0, 1, 2, and 3 or more (Chen & Goodman 1999, eq. 26)."""
    n1, n2, n3, n4 = (int((counts == number).sum()) for number in range(1, 5))
    if min(n1, n2, n3) == 0:
        return np.array(_FALLBACK_DISCOUNTS)
    y = n1 / (n1 + 2 * n2)
    discounts = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    sound = (discounts[1:] > 0).all() and (discounts <= np.arange(4)).all()
    return discounts if sound else np.array(_FALLBACK_DISCOUNTS)


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """values at sorted keys, 0 where a key is missing."""
    if not len(keys):
        return np.zeros(wanted.shape, values.dtype)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)


class _Counter:
    """Counts int64 keys that arrive in parts, in bounded memory beyond the result."""

    def __init__(self) -> None:
        self._parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
        self._pending = 0

    def add(self, keys: np.ndarray) -> None:
        part = np.unique(keys, return_counts=True)
        self._parts.append(part)
        self._pending += len(part[0])
        if self._pending > _MAX_PENDING:
            self._parts, self._pending = [self.result()], 0

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """The different keys, sorted, and how often each came."""
        keys, counts = (np.concatenate(arrays) for arrays in zip(*self._parts, strict=True))
        return _merge(keys, counts)


def _merge(keys: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Adds up the counts of equal keys; keys come out sorted."""
    if not len(keys):
        return keys, counts
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    first = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
    return keys[first], np.add.reduceat(counts, first)
