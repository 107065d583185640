"""What is reported of a folder: the windows that its splits share."""

import numpy as np

from musicvae_jax.codec import write_midi
from musicvae_jax.data.datasets.folder_pieces import FolderPiece
from musicvae_jax.data.datasets.folder_report import SharedWindows
from musicvae_jax.data.splits import sharing
from tests.data.melodies import random_melody


def test_pieces_that_share_windows_across_splits_are_counted() -> None:
    """Against sets of signatures, piece by piece."""
    rng = np.random.default_rng(0)
    pieces = []
    for number in range(60):
        signatures = {rng.integers(0, 300).item().to_bytes(8) for _ in range(rng.integers(0, 6))}
        split = ("train", "train", "validation", "test")[rng.integers(4)]
        pieces.append(FolderPiece((number, 0), str(number), split, {}, b"", b"", b"".join(sorted(signatures))))
    counter = SharedWindows()
    for piece in pieces:
        counter.add(piece)
    sets = [{piece.signatures[start : start + 8] for start in range(0, len(piece.signatures), 8)} for piece in pieces]
    for split, count in counter.counts().items():
        mine = [own for own, piece in zip(sets, pieces, strict=True) if piece.split == split]
        others = [own for own, piece in zip(sets, pieces, strict=True) if piece.split != split]
        assert count == sharing(mine, others).sum() > 0


def test_a_transposed_copy_in_another_split_is_seen(tmp_path, ready) -> None:
    folder, melody = tmp_path / "music", random_melody(0, 8, low=50, high=60)
    folder.mkdir()
    for semitones in range(12):
        notes = melody.notes + np.array([0, 0, semitones, 0, 0], np.int32)
        write_midi(type(melody)(notes, melody.measures), folder / f"{semitones:02}.mid")
    metadata = ready(folder).info.metadata
    assert len(metadata["shared_windows"]) > 1  # the copies fell into several splits
    assert all(row["share"] == 1 for row in metadata["shared_windows"].values())
