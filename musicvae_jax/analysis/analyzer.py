"""`LatentAnalyzer`: a trained model to look into, to steer and to compare with, in one call."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from musicvae_jax.analysis.attribution import Attribution, attribute
from musicvae_jax.analysis.clusters import Clusters, cluster, nearest_pieces
from musicvae_jax.analysis.codes import Code, check_attribute, make_code
from musicvae_jax.analysis.corpus import KINDS, Embedding, embed, scores_of_split
from musicvae_jax.analysis.directions import (
    Direction,
    DirectionData,
    best_direction,
    direction_data,
    find_directions,
    load_directions,
    save_directions,
)
from musicvae_jax.analysis.editing import Edit, edit_score
from musicvae_jax.analysis.paths import Path as LatentPath
from musicvae_jax.analysis.paths import Traversal, code_of, interpolate_codes, swap_dims, traverse_dims
from musicvae_jax.codec.score import Score
from musicvae_jax.config.checks import check
from musicvae_jax.data.load import load_windows
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.evaluation.load import load_workdir
from musicvae_jax.evaluation.pieces import Piece
from musicvae_jax.evaluation.trained import TrainedVAE
from musicvae_jax.types import Batch


class LatentAnalyzer:
    """A trained model and its workdir. Every method is a call of the functions that its module holds.

    Example:
        >>> analyzer = LatentAnalyzer("runs/folk")
        >>> grid = analyzer.traverse_dimension("tune.abc", "fine/rhythm[0]")
        >>> louder = analyzer.edit("tune.abc", {"note_density": +2}, measures=range(4, 8))

    Attributes:
        vae: the model.
        workdir: the folder of its run, where directions are kept.
    """

    def __init__(self, workdir: str | Path, checkpoint: str = "best", *, vae: TrainedVAE | None = None):
        """Loads a run.

        Args:
            workdir: the folder of the run.
            checkpoint: ``"best"`` or ``"latest"``.
            vae: the model, if it is loaded already.
        """
        self.workdir = Path(workdir)
        self.vae = load_workdir(workdir, checkpoint) if vae is None else vae
        self._data: DirectionData | None = None

    def code(self, music: Piece | Batch | Sequence[Piece], start: int = 0) -> Code:
        """The code of a window of each piece that starts at a measure, counted from 0, or of a batch of windows."""
        if isinstance(music, Batch):
            return make_code(self.vae, music)
        if isinstance(music, Sequence) and not isinstance(music, str):
            codes = [code_of(self.vae, piece, start) for piece in music]
            check(bool(codes), "pieces", music, "one or more")
            rows = zip(*(code.windows[:4] for code in codes), strict=True)
            return make_code(self.vae, Batch(*(np.concatenate(leaves) for leaves in rows)))
        return code_of(self.vae, music, start)

    def traverse_dimension(
        self,
        music: Piece | Batch | Code | Sequence[Piece],
        name: str,
        range: tuple[float, float] = (-3, 3),  # noqa: A002 -- what it is called in the field
        steps: int = 7,
        *,
        start: int = 0,
    ) -> Traversal:
        """Moves a dim, or each dim of a group or level, and measures attributes along the way; see `traverse_dims`.

        Args:
            music: a piece, or several, of which one window is moved; or a batch of windows, or their code.
            name: of the dim, the group or the level.
            range: the first and the last shift.
            steps: shifts, at even distances.
            start: the first measure of the window in each piece, counted from 0.
        """
        check(np.shape(range) == (2,), "range", range, "two numbers, ascending")
        code = music if isinstance(music, Code) else self.code(music, start)
        return traverse_dims(self.vae, code, name, *range, steps)

    def interpolate(
        self,
        first: Piece,
        second: Piece,
        steps: int = 10,
        *,
        kind: Literal["linear", "spherical"] = "spherical",
        levels: Sequence[str] = (),
        starts: tuple[int, int] = (0, 0),
        even: bool = False,
    ) -> LatentPath:
        """The path between windows of two pieces, with its smoothness; see `paths.interpolate_codes`."""
        codes = [self.code(piece, start) for piece, start in zip((first, second), starts, strict=True)]
        return interpolate_codes(self.vae, codes[0], codes[1], steps, kind, levels, even=even)

    def find_directions(self, attribute: str, *, refresh: bool = False) -> list[Direction]:
        """The directions of an attribute in every level, calibrated; kept in WORKDIR/directions.

        Args:
            attribute: such as ``"note_density"``.
            refresh: find them again.
        """
        check_attribute(self.vae, attribute)
        kept = [] if refresh else load_directions(self.vae, self.workdir, attribute)
        if not kept:
            self._data = self._data or direction_data(self.vae)
            kept = find_directions(self.vae, attribute, self._data)
            save_directions(kept, self.vae, self.workdir)
        return kept

    def edit(
        self,
        piece: Piece,
        changes: Mapping[str, float],
        level: str = "",
        measures: Iterable[int] | None = None,
        *,
        track: str = "auto",
        seed: int = 0,
    ) -> Edit:
        """Changes a piece as asked, in musical units; see `editing.edit_score`.

        Args:
            piece: a score, or a file of one.
            changes: attribute -> change, such as ``{"note_density": +2, "mean_pitch": -3}``: in notes a measure and
                semitones.
            level: whose latents move; the finest if not given.
            measures: counted from 0, such as ``range(4, 8)``; all if not given.
            track: of a melody in a polyphonic file.
            seed: of random steps of the search.
        """
        level = level or list(self.vae.config.levels.on)[-1]
        check(level in self.vae.config.levels.on, "level", level, f"one of {', '.join(self.vae.config.levels.on)}")
        check(isinstance(changes, Mapping), "changes", changes, 'attribute -> change, such as {"note_density": +2}')
        for name in changes:
            check_attribute(self.vae, name)
        score = self.vae.score(piece, track)
        directions = [best_direction(self.find_directions(name), level) for name in changes]
        return edit_score(self.vae, score, changes, directions, level, measures, seed=seed)

    def swap(self, first: Piece, second: Piece, name: str) -> tuple[Score, Score]:
        """Two pieces with a dim, a group or a level of each other; see `paths.swap_dims`."""
        return swap_dims(self.vae, first, second, name)

    def embed(self, music: str | Path | Sequence[Score]) -> Embedding:
        """The latents of a folder of music, of a split such as ``"test"``, or of scores; see `corpus.embed`."""
        if isinstance(music, str) and not Path(music).is_dir() and "/" not in music:
            music = scores_of_split(self.vae, music)
        return embed(self.vae, music)[0]

    def cluster(self, embedding: Embedding, level: str = "", k: int | None = None, *, tsne: bool = True) -> Clusters:
        """Clusters of the pieces of a table of latents, by one level, the coarsest if not given; see `clusters`."""
        level = level or self.vae.config.levels.top
        labels = {name: values for name, values in embedding.labels_of_pieces().items() if name in KINDS}
        return cluster(embedding.pieces(level), labels, k, tsne=tsne)

    def nearest(self, embedding: Embedding, title: str, level: str = "", num: int = 5) -> list[tuple[str, float]]:
        """The titles of the pieces nearest to one; see `clusters.nearest_pieces`.

        Pieces without a title of their own are named by it and their source, such as ``"melody (tunes/a.mid)"``.
        """
        names = embedding.names_of_pieces()
        return nearest_pieces(embedding.pieces(level or self.vae.config.levels.top), names, title, num)

    def attribute(self, music: Piece | Batch | Sequence[Piece], of: str = "measure") -> Attribution:
        """Which latents the decoder uses for what; see `attribution.attribute`."""
        return attribute(self.vae, self.code(music), of)

    def windows(self, split: str = "validation", num: int = 64) -> Batch:
        """Windows at even distances over a split."""
        source = load_windows(self.vae.config, split, attributes=False)
        num = min(num, len(source))
        return make_eval_batches(source, num, num_examples=num)[0]
