"""N-gram models of the same tokens: what held-out perplexity is compared with. NumPy only."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from musicvae_jax.types import Batch, Field, existing_fields

Unit = Literal["token", "slot"]
Place = Literal["none", "slot", "measure"]

# Where there are too few counts to estimate them, as in KenLM (Heafield 2011).
_FALLBACK_DISCOUNTS = (0.0, 0.5, 1.0, 1.5)
_PLACES = get_args(Place)
_START = 0  # in place of a token before the window's first; a token w is w + 1


class NGram:
    """Markov model: a token depends on its field, on its place and on the tokens before it.

    A window is one sequence: its unmasked slots in reading order, the fields of a slot one after another, those that do
    not exist left out. It starts afresh, after start symbols, as the VAE does. Each field has its own distributions.

    The contexts of a token, from the shortest to the longest: nothing; with ``place = "slot"`` the metre and the number
    of the slot in its measure; with ``place = "measure"`` then also the number of the measure, from the start and from
    the end of the window, which the VAE is given, too; then with ``unit = "token"`` also the last 1, 2, ..., order
    tokens; with ``unit = "slot"`` the last 1, 2, ... tokens of its own slot, then also those of the last 1, 2,
    ..., order slots.

    Smoothing is interpolated modified Kneser-Ney (Chen & Goodman 1999, section 3). With h a context and h' the next
    shorter one,

        p(w | h) = (c(h w) - D(c(h w)) + p(w | h') sum_v D(c(h v))) / c(h),        p(w | h) = p(w | h') if c(h) = 0
        p(w)     = (c(w) + 1) / (sum_v c(v) + size)

    where c counts training tokens for the longest h and for contexts that begin at a window's start, and for shorter
    ones the different longer contexts that were seen with h w. Every token has a positive probability; they sum to one.

    A context is a hash of 64 bits, so it may be of any length. Of a hundred million contexts two have the same hash
    with a probability of 3e-4. All orders up to ``max_order`` are fitted at once: they differ in which h is longest.

    Before `fit` the model is uniform.

    Args:
        fields: the variables of a slot, as `codec.fields`.
        max_order: how many tokens, or slots, before it a token depends on at most.
        unit: what the order counts.
        place: what a token is told of its place.

    Raises:
        ValueError: if max_order < 0.
    """

    def __init__(self, fields: Sequence[Field], max_order: int, unit: Unit = "token", *, place: Place = "none"):
        if max_order < 0:
            raise ValueError(f"max_order = {max_order}: allowed is 0 or more")
        self.fields, self.max_order, self.unit, self.place = tuple(fields), max_order, unit, place
        self.fit(())

    def fit(self, batches: Iterable[Batch]) -> "NGram":
        """Counts the tokens of batches; what was counted before is forgotten.

        Args:
            batches: with tokens int[batch, measure, slot, field], mask bool[batch, measure, slot] and
                metre int[batch, measure, 2].

        Returns:
            The model itself.
        """
        batches = list(batches)
        # Field by field, because the contexts of one field take several times the memory of all tokens.
        self._tables = [
            _count([self._sequence(batch, number) for batch in batches], field.size, self.max_order)
            for number, field in enumerate(self.fields)
        ]
        return self

    def nll(self, batch: Batch) -> np.ndarray:
        """Negative log-likelihood in nats, summed over unmasked slots and fields.

        Returns:
            float64[order, batch], under the models of order 0 to max_order.
        """
        nll = np.zeros((self.max_order + 1, len(batch.tokens)))
        for number, (field, tables) in enumerate(zip(self.fields, self._tables, strict=True)):
            found = self._sequence(batch, number)
            for order, p in enumerate(_probabilities(field.size, found, tables, self.max_order)):
                nll[order] += np.bincount(found.rows, -np.log(p), minlength=nll.shape[1])
        return nll

    def _sequence(self, batch: Batch, number: int) -> "_Tokens":
        """The tokens of a field, by its number, with their contexts."""
        tokens = np.asarray(batch.tokens)
        exists = existing_fields(tokens, np.asarray(batch.mask), self.fields)
        row, measure, slot, field = np.nonzero(exists)
        chain = tokens[exists].astype(np.uint64) + np.uint64(1)
        metre = np.asarray(batch.metre)[row, measure].T
        history, index = chain, np.arange(len(chain))  # what contexts grow by, and where a token stands in it
        if self.unit == "slot":
            index = np.cumsum(field == 0) - 1
            history = np.zeros(int((field == 0).sum()), np.uint64)
            for other in range(len(self.fields)):
                here = field == other
                history[index[here]] = _mix(history[index[here]], chain[here])
        age = index - index[np.searchsorted(row, row)]  # tokens or slots since the window began

        here = np.flatnonzero(field == number)
        found = _Tokens(row[here], chain[here], [], [])
        context = np.zeros(len(here), np.uint64)
        found.add(context, False)
        window = np.asarray(batch.metre)[..., 0] > 0
        left = window.sum(1)[row] - measure
        facts = [(*metre, slot), (measure, left)]
        for told in facts[: _PLACES.index(self.place)]:
            for fact in told:
                context = _mix(context, fact[here])
            found.add(context, False)
        if self.unit == "slot":
            for past in range(1, number + 1):
                context = _mix(context, chain[here - past])
                found.add(context, False)
        for past in range(1, self.max_order + 1):
            is_there = age[here] >= past
            context = _mix(context, np.where(is_there, history[index[here] - past], _START))
            found.add(context, ~is_there)
        return found


class _Tokens(NamedTuple):
    """Tokens of one field, with their contexts from the shortest to the longest."""

    rows: np.ndarray  # int[token], of the batch
    tokens: np.ndarray  # uint64[token], token + 1
    contexts: list[np.ndarray]  # of hashes, uint64[token]
    from_start: list[np.ndarray]  # bool[token], contexts that begin before the window

    def add(self, context: np.ndarray, from_start: np.ndarray | bool) -> None:
        """Adds the next longer context."""
        self.contexts.append(context)
        self.from_start.append(np.broadcast_to(from_start, context.shape))


class _Weights(NamedTuple):
    """Counts of grams, and what follows from them, by the places of grams and contexts in their `_Table`."""

    counts: np.ndarray  # int32[gram]
    totals: np.ndarray  # int32[context], sum of the counts
    reserved: np.ndarray  # float64[context], sum of the discounts
    discounts: np.ndarray  # float64[4], of a count of 0, 1, 2, and 3 or more


class _Table(NamedTuple):
    """Contexts of one length. A gram is the hash of a context and a token."""

    grams: np.ndarray  # uint64[gram], sorted
    contexts: np.ndarray  # uint64[context], sorted
    longest: _Weights | None  # where these contexts are the longest; None where they are that of no order
    shorter: _Weights | None  # where longer ones follow; None for the longest of all

    def probability(self, weights: _Weights, context: np.ndarray, token: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """Probability of tokens in their contexts, given that in the next shorter contexts: both float64[...]."""
        count = _look_up(self.grams, weights.counts, _mix(context, token))
        total = _look_up(self.contexts, weights.totals, context)
        reserved = _look_up(self.contexts, weights.reserved, context)
        discounted = count - weights.discounts[np.minimum(count, 3)]
        return np.where(total > 0, (discounted + reserved * lower) / np.maximum(total, 1), lower)


def _mix(context: np.ndarray, token: np.ndarray | int) -> np.ndarray:
    """The hash of a context and what it grows by (the mixing function of SplitMix64, Steele et al. 2014)."""
    x = context * np.uint64(0x9E3779B97F4A7C15) + np.asarray(token).astype(np.uint64) + np.uint64(1)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _count(parts: Sequence[_Tokens], size: int, max_order: int) -> list[_Table]:
    """The tables of one field of so many classes, from its training tokens, the shortest contexts first."""
    token = np.concatenate([part.tokens for part in parts]) if parts else np.zeros(0, np.uint64)
    if not len(token):
        return []
    tables: list[_Table] = []
    kept, counts = np.arange(0), np.zeros(0, np.int64)  # a token of each longer gram, and the count of that gram
    lengths = len(parts[0].contexts)
    for length in reversed(range(lengths)):
        context = np.concatenate([part.contexts[length] for part in parts])
        grams, one, number = _distinct(_mix(context, token))
        contexts, _, of = _distinct(context[one])
        add_one = 0 if length else size
        times = np.bincount(number)
        longest, shorter = _weigh(times, of, add_one) if length >= lengths - 1 - max_order else None, None
        if tables:  # nothing comes before a window's start, so these grams keep their counts
            from_start = np.concatenate([part.from_start[length] for part in parts])[kept]
            times = np.bincount(number[kept], np.where(from_start, counts, 1)).astype(np.int64)
            shorter = _weigh(times, of, add_one)
        tables.insert(0, _Table(grams, contexts, longest, shorter))
        kept, counts = one, times
    return tables


def _distinct(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The different hashes, sorted; where one of each is; and the number of each hash among the different ones.

    `np.unique` without its stable sort: half the time.
    """
    order = np.argsort(hashes)
    hashes = hashes[order]
    new = np.append(True, hashes[1:] != hashes[:-1])
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(new) - 1
    return hashes[new], order[new], number


def _weigh(counts: np.ndarray, of: np.ndarray, add_one: int) -> _Weights:
    """Discounts of grams that were counted so often, of these contexts.

    With ``add_one``, a number of classes, one is added to the count of each of them in place of a discount.
    """
    discounts = np.zeros(4) if add_one else _discounts(counts)
    totals = np.bincount(of, counts) + add_one
    reserved = np.bincount(of, discounts[np.minimum(counts, 3)]) + add_one
    return _Weights(counts.astype(np.int32), totals.astype(np.int32), reserved, discounts)


def _probabilities(size: int, found: _Tokens, tables: Sequence[_Table], max_order: int) -> Iterator[np.ndarray]:
    """The probabilities of tokens of one field under order 0 to max_order: float64[token] each."""
    p = np.full(len(found.tokens), 1 / size)
    if not tables:
        yield from [p] * (max_order + 1)
    for table, context in zip(tables, found.contexts, strict=False):
        if table.longest:
            yield table.probability(table.longest, context, found.tokens, p)
        if table.shorter:
            p = table.probability(table.shorter, context, found.tokens, p)


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
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)
