"""Which windows are of the same music: of one piece, or of pieces that share some."""

import numpy as np

from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.tracks import select_track
from musicvae_jax.data.datasets.pieces import GRID
from musicvae_jax.data.splits import components, window_signatures
from musicvae_jax.data.windows import WindowSource


class Families:
    """Labels the windows of a split by the connected components of pieces that share four measures, in any key.

    Splits are dealt out by such components, so that one may hold several versions of a chorale: they are no strangers
    to each other. Here as there the first track is what is compared; a piece without one is on its own.
    """

    def __init__(self, source: WindowSource):
        self._source = source
        self._signatures: dict[int, list[bytes]] = {}

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """The families of windows, the number of their first piece: int[window] to int64[window].

        Only pieces of the windows that are given bind each other. Rows of padding, -1, count as window 0.
        """
        index = np.maximum(index, 0)
        pieces, first, place = np.unique(self._source.pieces(index), return_index=True, return_inverse=True)
        for piece, window in zip(pieces.tolist(), index[first].tolist(), strict=True):
            if piece not in self._signatures:
                self._signatures[piece] = self._sign(window)
        return pieces[components([self._signatures[piece] for piece in pieces.tolist()])][place]

    def _sign(self, window: int) -> list[bytes]:
        try:
            return window_signatures(GRID.encode(select_track(self._source.score(window), 0)), GRID)
        except MusicError:
            return []
