"""What people call a piece: a score, or a file of music, as a model takes it."""

import os
from typing import TypeAlias

from musicvae_jax.codec import MelodyCodec, Metre, MusicError, Score, read_scores
from musicvae_jax.codec.base import Codec
from musicvae_jax.config import UserError

Piece: TypeAlias = Score | str | os.PathLike[str]


def to_score(piece: Piece, codec: Codec, track: str = "auto") -> Score:
    """A score, or the first piece of a file that can be read.

    Args:
        piece: a score, which is returned as it is, or the path of a MIDI, MusicXML or ABC file.
        codec: of the model that takes the piece.
        track: see `read_pieces`.

    Raises:
        MusicError: the file cannot be read, or it is polyphonic and the model takes melodies.
        UserError: it is neither a score nor a path.
    """
    if isinstance(piece, Score):
        return piece
    if not isinstance(piece, str | os.PathLike):
        allowed = "a Score, or the path of a MIDI, MusicXML or ABC file"
        shown = " ".join(repr(piece).split())[:100]
        raise UserError(f"piece = {shown} is a {type(piece).__name__}: allowed is {allowed}")
    scores, refusals = read_pieces([piece], codec, track)
    if not scores:
        raise refusals[0]
    return scores[0]


def read_pieces(
    files: list[str | os.PathLike[str]] | tuple[str, ...], codec: Codec, track: str = "auto"
) -> tuple[list[Score], list[MusicError]]:
    """Scores and refusals. A model of melodies gets one melody of each file, other models get the whole file.

    Args:
        files: MIDI, MusicXML or ABC.
        codec: of the model that takes them.
        track: of the melody in a polyphonic file, see `codec.tracks.select_track`; ``"auto"`` as said above.
    """
    whole = track == "auto" and not isinstance(codec, MelodyCodec)
    return read_scores(files, "" if whole else track)


def to_metre(metre: "Metre | tuple[int, int] | str") -> Metre:
    """A metre, or a text such as ``"6/8"``.

    Raises:
        MusicError: another text.
        UserError: neither a metre nor a text.
    """
    if isinstance(metre, str):
        return Metre.parse(metre)
    try:
        numerator, denominator = metre
        return Metre(int(numerator), int(denominator))
    except (TypeError, ValueError):
        raise UserError(f"metre = {metre!r}: allowed is a text such as '6/8', or Metre(6, 8)") from None
