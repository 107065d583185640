"""Directions of attributes: what to add to a level's latents so that the decoded music has one more unit of it."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import RidgeCV
from tqdm import tqdm

from musicvae_jax.analysis.codes import Code, check_attribute, decode, make_code, measure, move, repeat_code, unit_of
from musicvae_jax.config import UserError
from musicvae_jax.config.checks import check
from musicvae_jax.data.load import TRAIN, load_windows
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.evaluation.likeness import NAMES
from musicvae_jax.evaluation.trained import BAR_SECONDS, TrainedVAE
from musicvae_jax.training.workdir import write_text

_MOVES = (-1.0, -0.5, 0.5, 1.0)  # in standard deviations of the attribute
_PENALTIES = 10.0 ** np.arange(-2, 6)
_LEAST_GAIN = 0.1  # of what is asked: below it the decoder does not obey, and the vector is not stretched further


class Direction(NamedTuple):
    """A direction of a level's latents along which an attribute rises."""

    attribute: str
    level: str
    kind: str  # "probe": of a linear probe; "dim": the dim that follows the attribute
    vector: tuple[float, ...]  # one a dim: what is added to a latent for one more unit, after decoding
    unit: str
    r2: float  # of the attribute, predicted linearly from held-out latents: all dims of a probe, or that dim
    gain: float  # realised over asked before the vector was stretched
    linearity: float  # squared correlation of realised and asked changes
    spread: float  # standard deviation of the attribute over the level's spans
    effects: dict[str, float]  # attribute -> its change for one more unit: the side effects


class DirectionData(NamedTuple):
    """Training windows that directions are fitted to, and held-out windows that they are measured on."""

    fitted: Code
    attributes: dict[str, np.ndarray]  # level -> float64[window, time, attribute]
    held_out: Code


def direction_data(vae: TrainedVAE, num_windows: int = 1024, num_held_out: int = 32) -> DirectionData:
    """Windows at even distances over the training and the validation split."""
    codes = []
    for split, most in ((TRAIN, num_windows), ("validation", num_held_out)):
        source = load_windows(vae.config, split, attributes=False)
        num = min(most, len(source))
        codes.append(make_code(vae, make_eval_batches(source, num, num_examples=num)[0]))
    windows = codes[0].windows
    attributes = {
        name: measure(vae, windows.tokens, windows.metre, level.span) for name, level in vae.config.levels.on.items()
    }
    return DirectionData(codes[0], attributes, codes[1])


def find_directions(
    vae: TrainedVAE, attribute: str, data: DirectionData, levels: Sequence[str] = ()
) -> list[Direction]:
    """The directions of an attribute: for every level that of a linear probe, and the dim that follows it, if one does.

    A probe is a ridge regression y = w z + b; its direction is S w / (w S w) with S the covariance of the latents: how
    they change, over the music, with what the probe reads. Directions are then calibrated: held-out windows are moved
    and decoded, the vector is divided by realised / asked, and the change of every attribute is measured.

    Args:
        vae: the model.
        attribute: such as ``"note_density"``.
        data: of `direction_data`.
        levels: all if none is named.

    Raises:
        UserError: no latent has the attribute, such as tempo, or it does not vary in this music.
    """
    check_attribute(vae, attribute)
    on = tuple(vae.config.levels.on)
    check(set(levels) <= set(on), "levels", tuple(levels), f"some of {', '.join(on) or 'none: all are off'}")
    found = []
    for level in tqdm(levels or on, desc=f"directions of {attribute}", delay=BAR_SECONDS, dynamic_ncols=True):
        x, y = _cells(data.fitted.means[level], data.attributes[level], attribute)
        windows = data.held_out.windows
        of_held_out = measure(vae, windows.tokens, windows.metre, vae.config.levels[level].span)
        new = _cells(data.held_out.means[level], of_held_out, attribute)
        spread = float(y.std()) if len(y) else 0.0
        if not spread > 0 or len(new[1]) < 2:
            raise UserError(f"attribute = {attribute!r} does not vary over the latents of {level} in this music")
        for kind, weights in _weights(vae, level, attribute, x, y).items():
            covariance = np.cov(x, rowvar=False).reshape(x.shape[1], x.shape[1])
            along = weights if kind == "dim" else covariance @ weights
            vector = along / max(float(weights @ along), 1e-12)
            predicted = new[0] @ weights
            r2 = _squared_correlation(predicted, new[1])
            found.append(_calibrate(vae, data.held_out, attribute, level, kind, vector, r2, spread))
    return found


def best_direction(directions: Sequence[Direction], level: str) -> Direction:
    """That of a level whose decoded changes follow what is asked best.

    Raises:
        UserError: the level has none.
    """
    own = [one for one in directions if one.level == level]
    if not own:
        raise UserError(f"level = {level!r}: allowed is {' or '.join(dict.fromkeys(one.level for one in directions))}")
    return max(own, key=lambda one: one.linearity if one.gain > 0 else -1.0)


def save_directions(directions: Sequence[Direction], vae: TrainedVAE, workdir: str | Path) -> Path:
    """Writes WORKDIR/directions/ATTRIBUTE.json, of one attribute; returns its path."""
    path = Path(workdir) / "directions" / f"{directions[0].attribute}.json"
    rows = [direction._asdict() for direction in directions]
    write_text(path, json.dumps({"step": vae.step, "directions": rows}, indent=1) + "\n")
    return path


def load_directions(vae: TrainedVAE, workdir: str | Path, attribute: str) -> list[Direction]:
    """What `save_directions` wrote for the checkpoint of the model; [] if there is nothing."""
    path = Path(workdir) / "directions" / f"{attribute}.json"
    if not path.is_file():
        return []
    try:
        saved = json.loads(path.read_text())
        rows = [Direction(**row | {"vector": tuple(row["vector"])}) for row in saved["directions"]]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}; allowed is what `save_directions` wrote") from None
    return rows if saved["step"] == vae.step else []


def _weights(vae: TrainedVAE, level: str, attribute: str, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """The slope of the attribute by each dim, of a probe and of the dim that follows it: kind -> float64[dim]."""
    scale = np.maximum(x.std(0), 1e-6)
    weights = {"probe": RidgeCV(_PENALTIES).fit(x / scale, y).coef_ / scale}
    dim = vae.config.levels[level].followed.get(attribute)
    if dim is not None and x[:, dim].std() > 0:
        one = np.zeros(x.shape[1])
        one[dim] = np.cov(x[:, dim], y)[0, 1] / x[:, dim].var()
        if one[dim]:
            weights["dim"] = one
    return weights


def _calibrate(
    vae: TrainedVAE, code: Code, attribute: str, level: str, kind: str, vector: np.ndarray, r2: float, spread: float
) -> Direction:
    """Moves and decodes held-out windows, and measures what changes."""
    span, metre, num = vae.config.levels[level].span, np.asarray(code.windows.metre), len(_MOVES) + 1
    copies = repeat_code(code, num)
    asked = np.repeat([0.0, *_MOVES], len(metre)) * spread
    shift = np.broadcast_to(asked[:, None, None] * vector, copies.means[level].shape)
    tokens = decode(vae, move(vae, copies, level, shift), copies.windows.metre)
    values = measure(vae, tokens, copies.windows.metre, span)
    values = values.reshape(num, -1, values.shape[-1])
    changes = values[1:] - values[0]
    steps = np.broadcast_to((np.array(_MOVES) * spread)[:, None], changes.shape[:2])
    slopes = {name: _slope(steps, changes[..., column]) for column, name in enumerate(NAMES)}
    gain = slopes[attribute]
    stretch = max(gain, _LEAST_GAIN) if math.isfinite(gain) else 1.0
    known = np.isfinite(changes[..., NAMES.index(attribute)])
    linearity = _squared_correlation(steps[known], changes[..., NAMES.index(attribute)][known])
    effects = {name: slope / stretch for name, slope in slopes.items() if math.isfinite(slope)}
    unit = unit_of(attribute)
    numbers = tuple((vector / stretch).tolist())
    return Direction(attribute, level, kind, numbers, unit, r2, gain, linearity, spread, effects)


def _cells(means: np.ndarray, attributes: np.ndarray, attribute: str) -> tuple[np.ndarray, np.ndarray]:
    """Latents float64[cell, dim] and their attribute float64[cell], where it is defined."""
    y = attributes[..., NAMES.index(attribute)].reshape(-1)
    known = np.isfinite(y)
    return means.reshape(-1, means.shape[-1])[known].astype(np.float64), y[known]


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    """The slope of the line through 0: of y by x, where y is defined."""
    known = np.isfinite(y)
    return float((x[known] * y[known]).sum() / (x[known] ** 2).sum()) if known.any() else math.nan


def _squared_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """0 where one of them is constant."""
    if len(x) < 2 or not x.std() > 0 or not y.std() > 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1] ** 2)
