"""Windows: fixed numbers of measures cut out of pieces of any length.

A note that sounds across the border of a window starts anew there, where the codec can say so: a model that sees only
the window cannot know what a leading HOLD holds.
"""

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from musicvae_jax.codec.base import Codec
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.score import Score
from musicvae_jax.data.attributes import PieceLabels, window_attributes
from musicvae_jax.data.piece_index import PieceFacts, PieceIndex, find_facts, gather_facts, piece_score
from musicvae_jax.types import Batch


class _Piece(NamedTuple):
    """One encoded piece, ready to be sliced."""

    tokens: np.ndarray  # int32[measure, slot, field]
    first: np.ndarray  # int32[measure, field], what the first slot holds where a window starts with that measure
    mask: np.ndarray  # bool[measure, slot]
    metre: np.ndarray  # int32[measure, 2]
    dropped: dict[str, int]


class WindowSource(Sequence[Batch]):
    """All windows of a split, numbered from 0, in random access.

    Windows of a piece start at measure 0, hop, 2 hop, ...; the last ones run over the end of the piece and are padded
    (tokens 0, mask False, metre (0, 0)). ``hop = measures, min_measures = 1`` covers every measure exactly once.

    Attributes:
        refusals: why the pieces without windows have none: the codec's errors, and ``"short"``.
        refused: the same counted by reason.
        dropped: what the codec dropped of the others, summed over pieces by its own reasons.
    """

    def __init__(
        self,
        records: Sequence[Mapping[str, Any] | Score],
        codec: Codec,
        measures: int,
        hop: int,
        min_measures: int = 1,
        cache_pieces: int = 1 << 14,
        track: str = "",
        attributes: bool = False,
        styles: Sequence[str] = (),
        index: PieceIndex | None = None,
    ):
        """Counts the windows: by the index, or by encoding every piece once.

        Args:
            records: pieces in random access, as a data set stores them (`records.to_record`) or as scores.
            codec: what makes tokens of them.
            measures: measures in a window.
            hop: measures from one window to the next.
            min_measures: windows with fewer real measures are left out.
            cache_pieces: encoded pieces kept in memory (a folk tune takes about 4 kB).
            track: which melody of each piece is taken, see `codec.tracks.select_track`; ``""`` takes the whole piece.
            attributes: whether batches carry the attributes of their windows.
            styles: the data set's labels of style, for the attribute of that name.
            index: what `piece_index.make_index` found of these records with this codec and track.

        Raises:
            ValueError: measures or hop below 1, or min_measures outside 1..measures.
        """
        for name, value in (("measures", measures), ("hop", hop), ("cache_pieces", cache_pieces)):
            if value < 1:
                raise ValueError(f"{name} = {value}: allowed is 1 or more")
        if not 1 <= min_measures <= measures:
            raise ValueError(f"min_measures = {min_measures}: allowed is 1 to measures = {measures}")
        self.records, self.codec, self.measures, self.hop = records, codec, measures, hop
        self._cache_pieces, self._track = cache_pieces, track
        self._piece = functools.lru_cache(cache_pieces)(self._encode)
        index = gather_facts(map(self._facts, range(len(records)))) if index is None else index
        short = (index.measures > 0) & (index.measures < min_measures)
        refusals = index.refusals | {
            number: self._short(number, min_measures) for number in np.flatnonzero(short).tolist()
        }
        self.refusals = [refusals[number] for number in sorted(refusals)]
        self.refused = dict(Counter(error.reason for error in self.refusals))
        self.dropped = {reason: int(counts.sum()) for reason, counts in index.dropped.items()}
        self._pitches = index.pitches
        num_windows = np.where(index.measures < min_measures, 0, (index.measures - min_measures) // hop + 1)
        self._ends = np.cumsum(num_windows.astype(np.int64))
        # A piece that was refused may not even have a score.
        scores = (self._score(number) if windows else None for number, windows in enumerate(num_windows.tolist()))
        self._labels = PieceLabels(scores, styles) if attributes else None

    @property
    def summary(self) -> str:
        """A line to print: how many windows of how many pieces, and why others were refused."""
        line = f"{len(self):,} windows of {len(self.records) - len(self.refusals):,} pieces"
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in sorted(self.refused.items()))
        return f"{line}; refused {len(self.refusals):,} more: {reasons}" if reasons else line

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: Any) -> Any:
        """One window, a `Batch` without its batch axis; a slice gives a list of them."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"window {index}: allowed is 0 to {len(self) - 1}")
        one = self.gather(np.array([number]))
        attributes = {span: values[0] for span, values in one.attributes.items()} if one.attributes else ()
        return Batch(one.tokens[0], one.mask[0], one.metre[0], one.index[0], attributes)

    def gather(self, index: np.ndarray) -> Batch:
        """Several windows at once.

        Args:
            index: int[batch], numbers of windows; -1 gives a row of padding.

        Returns:
            The batch: tokens int32[batch, measure, slot, field] and the rest as in `Batch`.
        """
        return self.with_attributes(self.cut(index))

    def with_attributes(self, batch: Batch) -> Batch:
        """A batch that `cut` made, its tokens changed since or not, with the attributes of what it now holds.

        Without ``attributes`` it is the batch itself. Rows of padding have NaN.
        """
        if self._labels is None:
            return batch
        pieces, starts = self._locate(np.maximum(batch.index, 0))
        changes = self._labels.changes(pieces, starts, self.measures)
        found = window_attributes(batch, self.codec, changes=changes, style=self._labels.style(pieces))
        return batch._replace(attributes=found)

    def cut(self, index: np.ndarray) -> Batch:
        """`gather` without attributes."""
        index = np.asarray(index, np.int64)
        batch = self._empty(index)
        pieces, starts = self._locate(np.maximum(index, 0))
        for row, (number, piece_number, start) in enumerate(
            zip(index.tolist(), pieces.tolist(), starts.tolist(), strict=True)
        ):
            if number < 0:
                continue
            piece = self._piece(piece_number)
            tokens = piece.tokens[start : start + self.measures]
            batch.tokens[row, : len(tokens)] = tokens
            batch.tokens[row, 0, 0] = piece.first[start]
            batch.mask[row, : len(tokens)] = piece.mask[start : start + self.measures]
            batch.metre[row, : len(tokens)] = piece.metre[start : start + self.measures]
        return batch

    def pitch_range(self, index: np.ndarray) -> np.ndarray:
        """The lowest and highest MIDI pitch of the pieces that windows come from; (127, 0) where there is no note.

        Args:
            index: int[batch], numbers of windows.

        Returns:
            int16[batch, 2].
        """
        return self._pitches[self._locate(np.asarray(index))[0]]

    def pieces(self, index: np.ndarray) -> np.ndarray:
        """The numbers of the pieces that windows come from: int[batch] to int[batch]; -1 counts as window 0."""
        return self._locate(np.maximum(np.asarray(index), 0))[0]

    def score(self, index: int) -> Score:
        """The whole piece (its chosen track) that a window comes from, with its title, tempo and key."""
        return self._score(int(self._locate(np.array([index]))[0][0]))

    def describe(self, index: int) -> str:
        """Where a window comes from, measures counted from 1: ``"ryan/0012 measures 5-12"``."""
        start = int(self._locate(np.array([index]))[1][0])
        score = self.score(index)
        return f"{score.source} measures {start + 1}-{min(start + self.measures, score.num_measures)}"

    def _locate(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pieces and the first measures of windows."""
        piece = np.searchsorted(self._ends, index, side="right")
        before = np.where(piece > 0, self._ends[piece - 1], 0)
        return piece, (index - before) * self.hop

    def _empty(self, index: np.ndarray) -> Batch:
        shape = (len(index), self.measures, self.codec.slots)
        return Batch(
            tokens=np.zeros((*shape, len(self.codec.fields)), np.int32),
            mask=np.zeros(shape, bool),
            metre=np.zeros((len(index), self.measures, 2), np.int32),
            index=index.astype(np.int32),
        )

    def _score(self, number: int) -> Score:
        return piece_score(self.records[number], self._track)

    def _short(self, number: int, min_measures: int) -> MusicError:
        score = self._score(number)
        detail = f"{score.num_measures} measures; allowed: {min_measures} and up"
        return MusicError(score.source, "measures", "short", detail)

    def _facts(self, number: int) -> PieceFacts:
        return find_facts(lambda: self._piece(number), self.codec)  # what is encoded here stays in the cache

    def _encode(self, number: int) -> _Piece:
        encoded = self.codec.encode(self._score(number))
        first = self.codec.first_slots(encoded.tokens, encoded.mask)
        return _Piece(encoded.tokens, first, encoded.mask, encoded.metre, encoded.dropped)

    def __getstate__(self) -> dict[str, Any]:
        # A worker process starts with an empty cache: an lru_cache cannot be pickled, and would be large.
        return {name: value for name, value in self.__dict__.items() if name != "_piece"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._piece = functools.lru_cache(self._cache_pieces)(self._encode)
