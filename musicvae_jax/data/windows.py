"""Windows: fixed numbers of measures, cut from pieces of any length.

A note that sounds across the start of a window starts again there, if the codec can say so: a model that sees only the
window cannot know which note a leading HOLD holds.
"""

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from musicvae_jax.codec.base import Codec, Encoded
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.score import Score
from musicvae_jax.codec.tracks import select_track
from musicvae_jax.data.attributes import PieceLabels, window_attributes
from musicvae_jax.data.conditions import Conditions
from musicvae_jax.data.piece_index import PieceFacts, PieceIndex, find_facts, gather_facts, piece_score
from musicvae_jax.data.splits import components, melody_signatures
from musicvae_jax.types import STANDARD_SPANS, Batch


class WindowSource(Sequence[Batch]):
    """All windows of a split in random access, numbered from 0.

    The windows of a piece start at measures 0, hop, 2 hop, ... The last ones extend beyond the end of the piece and are
    padded (tokens 0, mask False, metre (0, 0)). With hop = measures and min_measures = 1 they cover each measure once.

    Attributes:
        refusals: of the pieces without windows: the codec's errors, and ``"short"``.
        refused: reason -> number of refusals.
        dropped: reason -> what the codec dropped of the other pieces.
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
        spans: Sequence[int] = STANDARD_SPANS,
        styles: Sequence[str] = (),
        index: PieceIndex | None = None,
    ):
        """Counts the windows, with the index, or by encoding all pieces.

        Args:
            records: pieces in random access, as records (`records.to_record`) or scores.
            codec: makes tokens of them.
            measures: measures in a window.
            hop: measures from the start of one window to the next.
            min_measures: windows with fewer real measures are left out.
            cache_pieces: number of encoded pieces kept in memory (a folk tune takes about 4 kB).
            track: the melody that is taken of each piece, see `codec.tracks.select_track`; ``""``: the whole piece.
            attributes: whether batches have attributes.
            spans: of the attributes, in measures; 0 is the window.
            styles: all styles of the data set, for the attribute of that name.
            index: of these records with this codec and track, from `piece_index`.

        Raises:
            ValueError: measures or hop below 1, or min_measures outside 1..measures.
        """
        for name, value in (("measures", measures), ("hop", hop), ("cache_pieces", cache_pieces)):
            if value < 1:
                raise ValueError(f"{name} = {value}: allowed is 1 or more")
        if not 1 <= min_measures <= measures:
            raise ValueError(f"min_measures = {min_measures}: allowed is 1 to measures = {measures}")
        self.records, self.codec, self.measures, self.hop = records, codec, measures, hop
        self._cache_pieces, self._track, self._spans = cache_pieces, track, tuple(spans)
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
        self._labels = PieceLabels(self.scores(), styles) if attributes else None
        self._conditions: tuple[Conditions, np.ndarray] | None = None  # and what they say of each piece

    @property
    def conditions(self) -> Conditions | None:
        """What batches say of the conditions of their windows."""
        return self._conditions[0] if self._conditions else None

    @property
    def summary(self) -> str:
        """One line: how many windows of how many pieces, and how many pieces were refused, by reason."""
        line = f"{len(self):,} windows of {len(self.records) - len(self.refusals):,} pieces"
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in sorted(self.refused.items()))
        return f"{line}; refused {len(self.refusals):,} more: {reasons}" if reasons else line

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: Any) -> Any:
        """One window, a `Batch` without the batch axis, or a list of them for a slice."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"window {index}: allowed is 0 to {len(self) - 1}")
        one = self.gather(np.array([number]))
        attributes = {span: values[0] for span, values in one.attributes.items()} if one.attributes else ()
        conditions = one.conditions[0] if len(one.conditions) else ()
        return Batch(one.tokens[0], one.mask[0], one.metre[0], one.index[0], attributes, conditions)

    def gather(self, index: np.ndarray) -> Batch:
        """The batch of the windows index int[batch]; -1 gives a row of padding."""
        return self.with_attributes(self.cut(index))

    def tell(self, conditions: Conditions | None) -> None:
        """From now on batches have these conditions; None for batches without.

        Raises:
            ValueError: some are attributes, which this source does not measure.
        """
        if conditions and conditions.measured and self._labels is None:
            raise ValueError(f"conditions {conditions.measured} of a source without attributes: allowed are labels")
        self._conditions = None if conditions is None else (conditions, conditions.of_pieces(self.scores()))

    def with_attributes(self, batch: Batch, semitones: np.ndarray | int = 0) -> Batch:
        """A batch from `cut`, whose tokens may have been changed since, with attributes and conditions of its tokens.

        Rows of padding have NaN. A source that has neither returns the batch unchanged.

        Args:
            batch: the windows.
            semitones: int[batch], by how many the notes have been transposed.
        """
        pieces, starts = self._locate(batch.index)
        if self._labels is not None:
            changes = self._labels.changes(pieces, starts, self.measures)
            labels = {"changes": changes, "style": self._labels.style(pieces)}
            batch = batch._replace(attributes=window_attributes(batch, self.codec, spans=self._spans, **labels))
        if self._conditions is not None:
            conditions, of_pieces = self._conditions
            batch = batch._replace(conditions=conditions.of_windows(batch, of_pieces[pieces], semitones))
        return batch

    def cut(self, index: np.ndarray) -> Batch:
        """`gather` without attributes."""
        index = np.asarray(index, np.int64)
        shape = (len(index), self.measures, self.codec.slots)
        tokens = np.zeros((*shape, len(self.codec.fields)), np.int32)
        mask, metre = np.zeros(shape, bool), np.zeros((*shape[:2], 2), np.int32)
        pieces, starts = self._locate(index)
        for row in np.flatnonzero(index >= 0).tolist():
            (piece, first_slots), start = self._piece(int(pieces[row])), int(starts[row])
            window = slice(start, start + self.measures)
            real = np.s_[row, : len(piece.metre[window])]
            tokens[real], mask[real], metre[real] = piece.tokens[window], piece.mask[window], piece.metre[window]
            tokens[row, 0, 0] = first_slots[start]
        return Batch(tokens, mask, metre, index.astype(np.int32))

    def pitch_range(self, index: np.ndarray) -> np.ndarray:
        """Lowest and highest MIDI pitch of the piece of each window, int16[batch, 2]; (127, 0) without notes."""
        return self._pitches[self.pieces(index)]

    def pieces(self, index: np.ndarray) -> np.ndarray:
        """The piece of each window: int[batch] -> int[batch]. Padding, -1, counts as window 0."""
        return self._locate(index)[0]

    def scores(self) -> Iterator[Score | None]:
        """All pieces (their chosen track), None for one without windows: it may not even have a score."""
        for number, count in enumerate(np.diff(self._ends, prepend=0).tolist()):
            yield self._score(number) if count else None

    def score(self, index: int) -> Score:
        """The whole piece of a window (of its chosen track), with its title, tempo and key."""
        return self._score(int(self.pieces(np.array([index]))[0]))

    def describe(self, index: int) -> str:
        """The place of a window, with measures counted from 1: ``"ryan/0012 measures 5-12"``."""
        start = int(self._locate(np.array([index]))[1][0])
        score = self.score(index)
        return f"{score.source} measures {start + 1}-{min(start + self.measures, score.num_measures)}"

    def _locate(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The piece and the first measure of each window; padding, -1, counts as window 0."""
        index = np.maximum(index, 0)
        piece = np.searchsorted(self._ends, index, side="right")
        windows_before = np.where(piece > 0, self._ends[piece - 1], 0)
        return piece, (index - windows_before) * self.hop

    def _score(self, number: int) -> Score:
        return piece_score(self.records[number], self._track)

    def _short(self, number: int, min_measures: int) -> MusicError:
        score = self._score(number)
        detail = f"{score.num_measures} measures; allowed: {min_measures} and up"
        return MusicError(score.source, "measures", "short", detail)

    def _facts(self, number: int) -> PieceFacts:
        return find_facts(lambda: self._piece(number)[0], self.codec)  # keeps the encoded piece in the cache

    def _encode(self, number: int) -> tuple[Encoded, np.ndarray]:
        """An encoded piece, and for each measure the first slot of a window that starts with it."""
        encoded = self.codec.encode(self._score(number))
        return encoded, self.codec.first_slots(encoded.tokens, encoded.mask)

    def __getstate__(self) -> dict[str, Any]:
        # A worker process starts with an empty cache: an lru_cache cannot be pickled, and would be large.
        return {name: value for name, value in self.__dict__.items() if name != "_piece"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._piece = functools.lru_cache(self._cache_pieces)(self._encode)


class Families:
    """Labels windows by family: connected components of pieces that share four measures of melody, in any key.

    Splits are made of the same components, so one split may hold several versions of a chorale; their windows are not
    independent of each other. The melody is the first track; a piece without one is its own family.
    """

    def __init__(self, source: WindowSource):
        self._source = source
        self._signatures: dict[int, list[bytes]] = {}

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """The family of each window, named by its first piece: int[window] -> int64[window].

        Only the pieces of the given windows are compared. Padding, -1, counts as window 0.
        """
        index = np.maximum(index, 0)
        pieces, window, inverse = np.unique(self._source.pieces(index), return_index=True, return_inverse=True)
        for piece, number in zip(pieces.tolist(), index[window].tolist(), strict=True):
            if piece not in self._signatures:
                self._signatures[piece] = self._signatures_of(number)
        return pieces[components([self._signatures[piece] for piece in pieces.tolist()])][inverse]

    def _signatures_of(self, window: int) -> list[bytes]:
        try:
            return melody_signatures(select_track(self._source.score(window), 0))
        except MusicError:
            return []
