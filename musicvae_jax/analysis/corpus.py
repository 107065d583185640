"""The latents of a corpus as a table: a row a window, a named column a dim, and what is known of the piece."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.files import ABC_SUFFIXES, MIDI_SUFFIXES, MUSICXML_SUFFIXES
from musicvae_jax.codec.score import Score
from musicvae_jax.config import UserError
from musicvae_jax.data.load import load_windows
from musicvae_jax.evaluation.pieces import read_pieces
from musicvae_jax.evaluation.trained import BAR_SECONDS, TrainedVAE
from musicvae_jax.files import replacing
from musicvae_jax.models.spans import present_latents
from musicvae_jax.types import Batch

_SUFFIXES = (*MIDI_SUFFIXES, *ABC_SUFFIXES, *MUSICXML_SUFFIXES)
KINDS = ("book", "key", "mode", "metre", "style")  # labels that several pieces share
LABELS = ("title", "source", *KINDS)


class Embedding(NamedTuple):
    """Posterior means of all windows of a corpus."""

    latents: np.ndarray  # float32[window, column]; NaN where a window has no such latent
    columns: tuple[str, ...]  # such as "fine/rhythm[3]@2": the dim, and the place of the latent in its window
    piece: np.ndarray  # int32[window], number of the piece
    measure: np.ndarray  # int32[window], its first measure, counted from 0
    labels: dict[str, np.ndarray]  # of `LABELS` -> str[window], "" if unknown

    def pieces(self, level: str) -> np.ndarray:
        """The means of a level's latents over each piece: float64[piece, dim]."""
        names = [column.partition("@")[0] for column in self.columns]
        dims = list(dict.fromkeys(name for name in names if name.startswith(f"{level}/")))
        if not dims:
            raise UserError(
                f"level = {level!r}: allowed is {' or '.join(dict.fromkeys(n.split('/')[0] for n in names))}"
            )
        own = np.stack([self.latents[:, [n == dim for n in names]] for dim in dims], -1)  # [window, time, dim]
        parts = (own[self.piece == number].reshape(-1, len(dims)) for number in np.unique(self.piece))
        return np.stack([np.nanmean(part.astype(np.float64), 0) for part in parts])

    def labels_of_pieces(self) -> dict[str, np.ndarray]:
        """Label -> str[piece]."""
        _, first = np.unique(self.piece, return_index=True)
        return {name: values[first] for name, values in self.labels.items()}

    def names_of_pieces(self) -> list[str]:
        """The title of each piece; with its source, or only that, where the title is not its own."""
        labels = self.labels_of_pieces()
        titles, counts = np.unique(labels["title"], return_counts=True)
        several = {"", *titles[counts > 1].tolist()}
        pairs = zip(labels["title"].tolist(), labels["source"].tolist(), strict=True)
        return [f"{title} ({source})".strip() if title in several else title for title, source in pairs]


def find_music(folder: str | Path) -> list[Path]:
    """The files of music below a folder, sorted.

    Raises:
        UserError: there is no such folder, or no music in it.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"folder = {str(folder)!r}: no such folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    if not found:
        raise UserError(f"folder = {str(folder)!r} has no music: allowed are files {', '.join(_SUFFIXES)}")
    return found


def scores_of_split(vae: TrainedVAE, split: str) -> list[Score]:
    """The pieces of a split that the codec takes."""
    source = load_windows(vae.config, split, attributes=False)
    _, first = np.unique(source.pieces(np.arange(len(source))), return_index=True)
    return [source.score(int(window)) for window in first]


def embed(
    vae: TrainedVAE, music: str | Path | Sequence[Score], track: str = "auto"
) -> tuple[Embedding, list[MusicError]]:
    """Encodes all windows of a folder of music, or of scores.

    Args:
        vae: the model.
        music: a folder, or scores.
        track: of a melody in a polyphonic file, see `pieces.read_pieces`.

    Returns:
        The table, and what was refused.

    Raises:
        UserError: nothing can be encoded.
    """
    refusals: list[MusicError] = []
    if isinstance(music, str | Path):
        scores, refusals = read_pieces([str(path) for path in find_music(music)], vae.codec, track)
    else:
        scores = list(music)
    levels, longest = vae.config.levels.on, vae.config.data.measures
    columns = [
        f"{name}@{time}"
        for level, own in levels.items()
        for time in range(own.num_latents(longest))
        for name in own.dim_names(level)
    ]
    batches: list[Batch] = []
    labels: dict[str, list[str]] = {name: [] for name in LABELS}
    for score in tqdm(scores, desc="read", unit="piece", delay=BAR_SECONDS, dynamic_ncols=True):
        try:
            batches.append(vae.windows(score))
        except MusicError as error:
            refusals.append(error)
            continue
        known = labels_of(score)
        for name in LABELS:
            labels[name] += [known[name]] * len(batches[-1].index)
    if not batches:
        raise refusals[0] if refusals else UserError("no pieces: allowed is one or more")
    windows = Batch(*(np.concatenate(leaves) for leaves in zip(*(batch[:4] for batch in batches), strict=True)))
    posterior = vae.encode(windows)
    parts = []
    for level, own in levels.items():
        there = np.asarray(present_latents(windows.metre, own))[..., None]
        means = np.where(there, np.asarray(posterior[level].loc, np.float32), np.nan)
        parts.append(means.reshape(len(means), -1))
    piece = np.repeat(np.arange(len(batches), dtype=np.int32), [len(batch.index) for batch in batches])
    found = {name: np.array(values, str) for name, values in labels.items()}
    return Embedding(np.concatenate(parts, 1), tuple(columns), piece, windows.index, found), refusals


def labels_of(score: Score) -> dict[str, str]:
    """What is known of a piece, by `LABELS`; the book is the first part of an id such as ``"ryan/0012"``."""
    book = score.source.partition("/")[0] if "/" in score.source and not score.source.startswith("/") else ""
    key = "" if score.fifths is None else f"{score.fifths:+d} fifths"
    return {
        "title": score.title,
        "source": score.source,
        "book": book,
        "key": key,
        "mode": score.mode,
        "metre": str(score.metre(0)) if score.num_measures else "",
        "style": score.style,
    }


def save_embedding(embedding: Embedding, path: str | Path) -> None:
    """Writes an ``.npz`` file: ``latents``, ``columns``, ``piece``, ``measure``, and each label."""
    arrays = {"latents": embedding.latents, "columns": np.array(embedding.columns), "piece": embedding.piece}
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays, measure=embedding.measure, **embedding.labels)


def load_embedding(path: str | Path) -> Embedding:
    """What `save_embedding` wrote."""
    with np.load(path) as arrays:
        labels = {name: arrays[name] for name in LABELS}
        columns = tuple(arrays["columns"].tolist())
        return Embedding(arrays["latents"], columns, arrays["piece"], arrays["measure"], labels)
