"""From tokens to a score, the same for every codec: a codec says which notes tokens mean, this makes music of them."""

import numpy as np

from musicvae_jax.codec.base import Codec, WindowNotes
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.score import DURATION, ONSET, PITCH, TRACK, VELOCITY, Metre, Score


def decode(codec: Codec, tokens: np.ndarray, metre: np.ndarray, **labels: object) -> Score:
    """The score that tokens say.

    Args:
        codec: of the tokens.
        tokens: int[measure, slot, field]; what lies beyond a measure's own slots is ignored.
        metre: int[measure, 2]; a measure of (0, 0) is padding and is left out.
        labels: other fields of `Score`.

    Raises:
        MusicError: "token" outside the vocabulary, "metre" that does not fit, "invalid" shapes.
    """
    tokens, metre = np.asarray(tokens), np.asarray(metre)
    num_fields = len(codec.fields)
    if tokens.ndim != 3 or tokens.shape[2] != num_fields or metre.shape != (len(tokens), 2):
        allowed = f"[measure, slot, {num_fields}] with [measure, 2]"
        detail = f"tokens {tokens.shape} with metre {metre.shape}; allowed: {allowed}"
        raise MusicError("tokens", "shape", "invalid", detail)
    real = metre.any(1)
    tokens, metre = tokens[real], metre[real]
    tokens, mask = _fit(tokens, codec.slot_mask(metre), metre)
    for number, field in enumerate(codec.fields):
        values = tokens[..., number][mask]
        if values.size and not 0 <= values.min() <= values.max() < field.size:
            detail = f"{field.name} {values.min()} to {values.max()}; allowed: 0 to {field.size - 1}"
            raise MusicError("tokens", "vocabulary", "token", detail)
    found = codec.notes(tokens[None], mask[None], metre[None])
    lengths = np.array([Metre(*row).ticks for row in metre.tolist()], np.int64)
    starts = np.cumsum(lengths) - lengths
    measures = np.concatenate([starts[:, None], metre], axis=1).astype(np.int32)
    return Score(_rows(found, starts), measures, **labels)  # type: ignore[arg-type]


def _fit(tokens: np.ndarray, mask: np.ndarray, metre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tokens with as many slots as the mask; raises "metre" where a measure needs slots that the tokens lack."""
    wanted, given = mask.shape[1], tokens.shape[1]
    lacking = mask[:, given:].any(1)
    if lacking.any():
        number = int(lacking.argmax())
        needed = int(mask[number].sum())
        detail = f"{Metre(*metre[number].tolist())} needs {needed} slots; the tokens have {given}"
        raise MusicError("tokens", f"measure {number + 1}", "metre", detail)
    return np.pad(tokens[:, :wanted], ((0, 0), (0, max(wanted - given, 0)), (0, 0))), mask


def _rows(found: WindowNotes, starts: np.ndarray) -> np.ndarray:
    """`Score.notes` of one window's notes."""
    notes = np.zeros((len(found.row), 5), np.int32)
    notes[:, ONSET] = starts[found.measure] + found.onset
    for column, values in (
        (DURATION, found.duration),
        (PITCH, found.pitch),
        (VELOCITY, found.velocity),
        (TRACK, found.track),
    ):
        notes[:, column] = values
    return notes[np.lexsort(notes[:, [TRACK, PITCH, ONSET]].T)]
