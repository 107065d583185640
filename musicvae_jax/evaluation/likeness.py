"""How like decoded windows are to the originals, in what a listener can check."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from musicvae_jax.codec.base import Codec, WindowNotes
from musicvae_jax.data.attributes import window_attributes
from musicvae_jax.evaluation.reconstruction import agreement
from musicvae_jax.types import ATTRIBUTES, STANDARD_SPANS, Batch, span_name

# Without style and chords, which notes do not tell, and without the attributes of a benchmark, see `own_attributes`.
COLUMNS = tuple(
    number
    for number, attribute in enumerate(ATTRIBUTES)
    if attribute.name not in ("style", "chord_change_rate") and not attribute.spans
)
NAMES = tuple(ATTRIBUTES[column].name for column in COLUMNS)
GROUP_OF = {name: ATTRIBUTES[column].group for name, column in zip(NAMES, COLUMNS, strict=True)}

# Span -> the columns that are defined for it alone: AR-VAE's four attributes of measures (Pati & Lerch 2021, section
# 4.1), and the nine factors of dMelodies, of two measures.
OWN_COLUMNS = {
    span: tuple(number for number, attribute in enumerate(ATTRIBUTES) if span in attribute.spans)
    for span in sorted({span for attribute in ATTRIBUTES for span in attribute.spans})
}


class Likeness(NamedTuple):
    """Decoded windows against the originals."""

    attributes: dict[str, np.ndarray]  # span -> float64[window, draw, time, attribute], of the decoded ones
    sums: dict[str, np.ndarray]  # float64[window], over draws: see `compare`


def true_attributes(batch: Batch, codec: Codec, spans: Sequence[int] = STANDARD_SPANS) -> dict[str, np.ndarray]:
    """Span name -> float64[window, time, attribute], columns as in `NAMES`; NaN where undefined."""
    found = window_attributes(batch, codec, spans=spans)
    return {span: values[..., COLUMNS].astype(np.float64) for span, values in found.items()}


def own_attributes(batch: Batch, codec: Codec, spans: Sequence[int]) -> dict[str, np.ndarray]:
    """Span name -> float64[window, time, attribute], columns as in `OWN_COLUMNS`, of the spans that have such."""
    spans = [span for span in spans if span in OWN_COLUMNS]
    found = window_attributes(batch, codec, spans=spans)
    return {span_name(span): found[span_name(span)][..., OWN_COLUMNS[span]].astype(np.float64) for span in spans}


def compare(draws: Sequence[np.ndarray], batch: Batch, codec: Codec, spans: Sequence[int] = STANDARD_SPANS) -> Likeness:
    """Compares several decodings of the same windows with the originals.

    The sums: ``chroma`` and ``rhythm``, cosines between the histograms of pitch classes and of onset times of a
    measure, summed over the ``measures`` in which the original has notes, 0 where the decoding has none; ``hits``,
    ``found`` and ``wanted``, notes that agree, decoded notes, notes of the original.

    Args:
        draws: int32[batch, measure, slot, field] each.
        batch: the originals, on the host.
        codec: of both.
        spans: of the attributes, in measures; 0 is the window.
    """
    metre = np.asarray(batch.metre)
    allowed = codec.slot_mask(metre)
    true = codec.notes(np.asarray(batch.tokens), np.asarray(batch.mask), metre)
    wanted = np.bincount(true.row, minlength=len(metre))
    attributes: dict[str, list[np.ndarray]] = {}
    sums: dict[str, np.ndarray] = {}
    for tokens in draws:
        for span, values in true_attributes(batch._replace(tokens=tokens, mask=allowed), codec, spans).items():
            attributes.setdefault(span, []).append(values)
        found = agreement(tokens, batch, codec)
        heard = similarities(true, codec.notes(tokens, allowed, metre), metre.shape[:2])
        heard |= {"hits": found["onset_hits"], "found": found["onset_found"], "wanted": wanted}
        sums = {name: sums.get(name, 0.0) + value for name, value in heard.items()}
    return Likeness({span: np.stack(parts, 1) for span, parts in attributes.items()}, sums)


def similarities(true: WindowNotes, heard: WindowNotes, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """The sums ``chroma``, ``rhythm`` and ``measures`` of one decoding, float64[row] each.

    Args:
        true: notes of the originals.
        heard: notes of the decodings.
        shape: rows and measures.
    """
    rows, measures = shape
    times = np.unique(np.concatenate([true.onset, heard.onset]))
    result = {}
    for name, size in (("chroma", 12), ("rhythm", max(len(times), 1))):
        histograms = []
        for notes in (true, heard):
            kind = notes.pitch % 12 if name == "chroma" else np.searchsorted(times, notes.onset)
            place = (notes.row * measures + notes.measure) * size + kind
            histograms.append(np.bincount(place, minlength=rows * measures * size).reshape(rows, measures, size))
        first, second = histograms
        norms = np.sqrt((first**2).sum(-1) * (second**2).sum(-1))
        cosine = (first * second).sum(-1) / np.maximum(norms, 1)  # a histogram with a note has a norm of at least 1
        result[name] = cosine.sum(1)
        result["measures"] = (first.sum(-1) > 0).sum(1).astype(np.float64)
    return result
