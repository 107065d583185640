"""Rivals of a VAE on the same music: Markov chains of the same tokens, and a copy of a similar training window.

They get what the model gets: the metre, the place in the window, and the transpositions of the data; of a large data
set there are fewer transpositions, or none (`MAX_FITTED`, `MAX_COPIED`). They know pitches, not intervals, and no later
metre.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from musicvae_jax.codec import make_codec
from musicvae_jax.codec.base import Codec
from musicvae_jax.config import Config
from musicvae_jax.data.load import TRAIN, load_windows
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.evaluation.bootstrap import strata_of
from musicvae_jax.evaluation.figures import MarkovFigures, RivalFigures
from musicvae_jax.evaluation.likeness import true_attributes
from musicvae_jax.evaluation.ngram import NGram, Place, Unit
from musicvae_jax.evaluation.reconstruction import agreement, f1
from musicvae_jax.types import Batch, existing_fields, span_name

VALIDATION = "validation"
MAX_ORDER: dict[Unit, int] = {"token": 24, "slot": 8}
MAX_GRAMS = 200_000_000  # tokens x orders of a chain, some 10 GB: of much music, shorter contexts
MAX_FITTED = 70_000_000  # tokens that a chain is fitted to: fewer transpositions of a large data set
MAX_COPIED = 60_000  # windows that may be copied, likewise
_BATCH = 256


@dataclasses.dataclass(frozen=True)
class Chain:
    """What a Markov chain depends on, beside its order, and what it is fitted to."""

    unit: Unit = "token"
    place: Place = "slot"
    copies: int = 1  # transpositions of the training music, the nearest first


def measure_rivals(config: Config, split: str, *, num_examples: int | None = None) -> RivalFigures:
    """Measures all rivals on a split.

    What the Markov chain depends on, its order and the transpositions that it is fitted to are chosen on the
    validation split. It is fitted to every measure of the training split once, because Kneser-Ney smoothing depends on
    what is rare, and in overlapping windows nothing is rare. The copies are of training windows as they are trained on.

    Args:
        config: of the data.
        split: such as ``"test"``.
        num_examples: only so many windows, spread evenly; all if not given.
    """
    codec = make_codec(config.codec)
    held_out = make_eval_batches(load_windows(config, split, attributes=False), _BATCH, num_examples=num_examples)
    train = load_windows(config, TRAIN, attributes=False, hop=config.data.measures, min_measures=1)
    validation = make_eval_batches(load_windows(config, VALIDATION, attributes=False), _BATCH)
    unigram = NGram(codec.fields, 0).fit(make_eval_batches(train, _BATCH))
    chain, order, model = choose_chain(config, train, validation)
    return RivalFigures(
        unigram=float(_perplexities(unigram, held_out, codec)[0]),
        markov=MarkovFigures(float(_perplexities(model, held_out, codec)[order]), order, **dataclasses.asdict(chain)),
        copy_onset_f1=copy_onset_f1(config, held_out),
    )


def choose_chain(config: Config, train: WindowSource, validation: Sequence[Batch]) -> tuple[Chain, int, NGram]:
    """A Markov chain and its order. Each choice, one after the other, is the best on the validation split.

    What is cheap to compare comes first. In several keys, what has no pitch in its context is counted several times.
    """
    codec = train.codec
    tokens = sum(_count(batch, codec) for batch in make_eval_batches(train, _BATCH))
    copies = _copies(config, tokens, MAX_FITTED)

    def fit(chain: Chain) -> tuple[float, int, NGram]:
        order = min(MAX_ORDER[chain.unit], max(MAX_GRAMS // max(tokens * chain.copies, 1), 1))
        model = NGram(codec.fields, order, chain.unit, place=chain.place)
        model.fit(_transposed(train, chain.copies))
        found = _perplexities(model, validation, codec)
        return float(found.min()), int(found.argmin()), model

    best = Chain()
    perplexity, order, model = fit(best)
    unit: Unit = "slot" if len(codec.fields) > 1 else "token"  # of one field, a slot is a token
    changes: list[dict[str, Any]] = [
        {"unit": unit},
        {"place": "none"},
        {"place": "measure"},
        {"copies": copies},
        {"unit": "token"},
    ]
    for change in changes:
        other = dataclasses.replace(best, **change)
        if other != best:
            found = fit(other)
            if found[0] < perplexity:
                best, (perplexity, order, model) = other, found
    return best, order, model


def copy_onset_f1(config: Config, held_out: Sequence[Batch]) -> dict[str, float]:
    """Onset F1 of a copy: in place of a held-out window, the training window with the nearest attributes.

    Both have the same metres; a window whose metres no training window has gets no notes. The distance is Euclidean,
    over all attributes of all spans of one kind, each in units of its standard deviation over the training windows.

    Returns:
        Kind of span -> onset F1 of the copies that are nearest by its attributes: ``window``, ``measure``.
    """
    source = load_windows(config, TRAIN, attributes=False)
    training = list(_transposed(source, _copies(config, len(source), MAX_COPIED)))
    tokens = np.concatenate([batch.tokens for batch in training])
    codec, result = source.codec, {}
    for span in (0, 1):
        rows = _nearest(_described(training, codec, span), _described(held_out, codec, span))
        parts = np.split(rows, np.cumsum([len(batch.index) for batch in held_out])[:-1])
        sums = [_hits_found_wanted(tokens, own, batch, codec) for own, batch in zip(parts, held_out, strict=True)]
        result[span_name(span)] = f1(*np.sum(sums, 0))
    return result


def _described(batches: Sequence[Batch], codec: Codec, span: int) -> tuple[np.ndarray, np.ndarray]:
    """The attributes of all spans of windows, float64[window, attribute], and the metres, int32[window, measure, 2]."""
    found = [true_attributes(batch, codec, (span,))[span_name(span)] for batch in batches]
    attributes, metre = np.concatenate(found), np.concatenate([batch.metre for batch in batches])
    return attributes.reshape(len(attributes), -1), metre


def _nearest(known: tuple[np.ndarray, np.ndarray], asked: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """For each asked window the nearest known one of the same metres, -1 without one: int64[window]."""
    (x, x_metre), (y, y_metre) = known, asked
    defined = np.isfinite(x)
    number = np.maximum(defined.sum(0), 1)
    centre = np.where(defined, x, 0).sum(0) / number
    scale = np.sqrt(np.where(defined, (x - centre) ** 2, 0).sum(0) / number)
    # An undefined attribute counts as the mean.
    x, y = (np.nan_to_num((values - centre) / np.where(scale > 0, scale, 1)) for values in (x, y))
    kind = strata_of(np.concatenate([x_metre, y_metre]))
    rows = np.full(len(y), -1)
    for metre in np.unique(kind[len(x) :]):
        here, there = np.flatnonzero(kind[: len(x)] == metre), np.flatnonzero(kind[len(x) :] == metre)
        if len(here):
            # |x - y|^2 less |y|^2, which is the same for all x.
            distance = (x[here] ** 2).sum(1) - 2 * y[there] @ x[here].T
            rows[there] = here[distance.argmin(1)]
    return rows


def _hits_found_wanted(tokens: np.ndarray, rows: np.ndarray, batch: Batch, codec: Codec) -> np.ndarray:
    """Notes that agree, notes of the copies and notes of the originals, over a batch: int[3]."""
    real, metre = np.asarray(batch.index) >= 0, np.asarray(batch.metre)
    found = agreement(tokens[rows], batch, codec)
    copied = real & (rows >= 0)
    wanted = codec.notes(np.asarray(batch.tokens), np.asarray(batch.mask), metre).row
    return np.array([found["onset_hits"][copied].sum(), found["onset_found"][copied].sum(), real[wanted].sum()])


def _transposed(source: WindowSource, copies: int) -> Iterator[Batch]:
    """All windows of a source, each in so many keys: its own, a semitone up, one down, two up, ...

    A piece is not moved beyond the pitches 0 to 127.
    """
    for padded in make_eval_batches(source, _BATCH):
        batch = Batch(*(leaf[padded.index >= 0] for leaf in padded[:4]))
        low, high = source.pitch_range(batch.index).T.astype(np.int64)
        for copy in range(copies):
            semitones = (copy + 1) // 2 * (1 if copy % 2 else -1)
            shifts = np.clip(semitones, np.minimum(-low, 0), np.maximum(127 - high, 0))
            tokens = batch.tokens.copy()
            for shift in np.unique(shifts):
                tokens[shifts == shift] = source.codec.transpose(tokens[shifts == shift], int(shift))
            yield batch._replace(tokens=tokens)


def _copies(config: Config, size: int, most: int) -> int:
    """In how many keys music of this size is taken: all that training sees, while they fit a total size."""
    return min(2 * config.data.transpose + 1, max(most // max(size, 1), 1))


def _count(batch: Batch, codec: Codec) -> int:
    return int(existing_fields(batch.tokens, batch.mask, codec.fields).sum())


def _perplexities(model: NGram, batches: Sequence[Batch], codec: Codec) -> np.ndarray:
    """exp(nll / tokens) under every order: float64[order]."""
    nll = sum(model.nll(batch).sum(1) for batch in batches)
    return np.exp(nll / sum(_count(batch, codec) for batch in batches))
