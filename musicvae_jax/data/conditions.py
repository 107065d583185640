"""Conditions: what is known of a window beside its notes, as numbers for a model and as words for people.

key, mode and style are labels of the piece, metre is that of the window's first measure, tempo is the piece's, and
attributes are those of the window's notes. A key moves with transposition. What is unknown is NaN.
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.notation import MODES, NATURAL, signature, tonic
from musicvae_jax.codec.score import TEMPOS, Metre, Score
from musicvae_jax.config import UserError, nearest
from musicvae_jax.types import ATTRIBUTES, NOMINAL, Array, Batch, span_name

TONICS = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_COLUMNS = {attribute.name: column for column, attribute in enumerate(ATTRIBUTES)}
_MOST_BEATS, _EXPONENTS = 24, 7  # metres up to 24 beats of 1/1 to 1/64
assert NOMINAL["metre"] == _MOST_BEATS * _EXPONENTS


@dataclasses.dataclass(frozen=True)
class Conditions:
    """The conditions of a model, and what their numbers mean.

    A class is its number. Tempo, as a logarithm, and attributes are counted in standard deviations from the mean of
    the training music.
    """

    names: tuple[str, ...]
    styles: tuple[str, ...] = ()  # of the data set; a style's number is its place
    scales: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)  # name -> mean and deviation

    def __post_init__(self) -> None:
        if "style" in self.names and len(self.styles) > NOMINAL["style"]:
            raise UserError(f"{len(self.styles)} styles: allowed as a condition are at most {NOMINAL['style']}")

    @property
    def measured(self) -> tuple[str, ...]:
        """The conditions that are attributes of a window's notes."""
        return tuple(name for name in self.names if name in _COLUMNS and name not in NOMINAL)

    def encode(self, asked: Mapping[str, Any]) -> np.ndarray:
        """The numbers of conditions that are asked for, NaN for all others: float32[condition].

        Args:
            asked: name -> value, as text or as a number: ``{"key": "G", "mode": "major", "metre": "6/8"}``.

        Raises:
            UserError: an unknown name or value; the message names the nearest ones.
        """
        for name in asked:
            if name not in self.names:
                known = f"{nearest(name, self.names)}" if self.names else "this model has no conditions"
                raise UserError(f"condition {name!r}: {known}")
        values = [self._number(name, asked[name]) if name in asked else np.nan for name in self.names]
        return np.array(values, np.float32)

    def decode(self, conditions: Array) -> dict[str, str]:
        """The known ones of float[condition] in words, as `encode` reads them."""
        pairs = zip(self.names, np.asarray(conditions).tolist(), strict=True)
        return {name: self._word(name, value) for name, value in pairs if not np.isnan(value)}

    def labelled(self, score: Score, conditions: Array) -> Score:
        """A score with the key, mode, tempo and style that float[condition] says."""
        said = self.decode(conditions)
        mode = said.get("mode", score.mode)
        changes: dict[str, Any] = {"mode": mode, "style": said.get("style", score.style)}
        if "key" in said:
            changes |= {"fifths": signature(TONICS.index(said["key"]), mode or "major")}
        if "tempo" in said:
            changes |= {"tempo": float(said["tempo"])}
        return dataclasses.replace(score, **changes)

    def of_pieces(self, scores: Iterable[Score | None]) -> np.ndarray:
        """What the pieces' labels say, NaN for metre and attributes: float32[piece, condition]."""
        rows = []
        for score in scores:
            said: dict[str, float] = {}
            if score is not None:
                root = tonic(score.fifths, score.mode)
                said |= {"key": np.nan if root is None else root, "tempo": self._scaled("tempo", np.log(score.tempo))}
                said |= {"mode": _place(score.mode, tuple(MODES)), "style": _place(score.style, self.styles)}
            rows.append([said.get(name, np.nan) for name in self.names])
        return np.array(rows, np.float32).reshape(-1, len(self.names))

    def of_windows(self, batch: Batch, labels: np.ndarray, semitones: np.ndarray | int = 0) -> np.ndarray:
        """The conditions of windows: float32[batch, condition].

        Args:
            batch: the windows, with attributes if some are conditions.
            labels: float32[batch, condition], `of_pieces` of their pieces.
            semitones: int[batch], by how many the notes have been transposed.
        """
        found = labels.copy()
        for column, name in enumerate(self.names):
            if name == "key":
                found[:, column] = (labels[:, column] + semitones) % 12
            elif name == "metre":
                found[:, column] = metre_number(batch.metre[:, 0])
            elif name in self.measured:
                found[:, column] = self._scaled(name, batch.attributes[span_name(0)][:, 0, _COLUMNS[name]])
        return found

    def fitted(self, scores: Iterable[Score | None], attributes: Mapping[str, np.ndarray]) -> Self:
        """These conditions with the mean and standard deviation of their numbers.

        Args:
            scores: training pieces.
            attributes: name -> float[window], NaN where undefined, of training windows.
        """
        values = dict(attributes) | {"tempo": np.log([score.tempo for score in scores if score is not None])}
        scales = {}
        for name in self.names:
            if name not in NOMINAL:
                known = values[name][np.isfinite(values[name])]
                mean, spread = (known.mean(), known.std()) if len(known) else (0.0, 0.0)
                scales[name] = (float(mean), max(float(spread), 1e-3))
        return dataclasses.replace(self, scales=scales)

    def to_json(self) -> str:
        """For a file; `from_json` reads it."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads `to_json`; raises ValueError, KeyError or TypeError for anything else."""
        parts = json.loads(text)
        scales = {name: (float(mean), float(spread)) for name, (mean, spread) in parts["scales"].items()}
        return cls(tuple(parts["names"]), tuple(parts["styles"]), scales)

    def _scaled(self, name: str, value: Array) -> Array:
        mean, spread = self.scales.get(name, (0.0, 1.0))
        return (value - mean) / spread

    def _number(self, name: str, value: Any) -> float:
        text = str(value).strip()
        if name == "key":
            letter = re.fullmatch(r"([A-Ga-g])([#b]?)", text)
            if letter is None:
                raise UserError(
                    f"condition key = {text!r}: allowed are {', '.join(TONICS)}, and other spellings such as C#"
                )
            return float((NATURAL[letter[1].upper()] + {"#": 1, "b": -1, "": 0}[letter[2]]) % 12)
        if name in ("mode", "style"):
            known = tuple(MODES) if name == "mode" else self.styles
            if text not in known:
                raise UserError(f"condition {name} = {text!r}: {nearest(text, known)}")
            return float(known.index(text))
        if name == "metre":
            try:
                number = float(metre_number(np.array(Metre.parse(text))))
            except MusicError as error:
                raise UserError(f"condition metre: {error}") from None
            if np.isnan(number):
                raise UserError(f"condition metre = {text!r}: allowed are up to {_MOST_BEATS} beats")
            return number
        try:
            number = float(text)
        except ValueError:
            number = np.nan
        allowed = TEMPOS if name == "tempo" else (-1e6, 1e6)
        if not allowed[0] <= number <= allowed[1]:
            raise UserError(f"condition {name} = {text!r}: allowed is a number from {allowed[0]:g} to {allowed[1]:g}")
        return float(self._scaled(name, np.log(number) if name == "tempo" else number))

    def _word(self, name: str, value: float) -> str:
        if name == "metre":
            beats, exponent = divmod(int(value), _EXPONENTS)
            return f"{beats + 1}/{2**exponent}"
        if name in NOMINAL:
            return {"key": TONICS, "mode": tuple(MODES), "style": self.styles}[name][int(value)]
        mean, spread = self.scales.get(name, (0.0, 1.0))
        number = value * spread + mean
        return f"{np.exp(number) if name == 'tempo' else number:.4g}"


NO_CONDITIONS = Conditions(())


def metre_number(metre: Array) -> Array:
    """The class of a metre int[..., 2]: float[...], NaN for padding and for metres of too many beats."""
    beats, unit = metre[..., 0], np.maximum(metre[..., 1], 1)
    number = (beats - 1) * _EXPONENTS + np.log2(unit)
    return np.where((beats >= 1) & (beats <= _MOST_BEATS), number, np.nan)


def _place(label: str, known: Sequence[str]) -> float:
    """The place of a label, NaN if it is not known."""
    return float(known.index(label)) if label in known else np.nan
