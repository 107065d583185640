"""What moving one dim does to the music that is decoded."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Control:
    """How well a dim controls an attribute, and only that (Tan & Herremans 2020, section 4.3)."""

    consistency: float  # 1 - standard deviation of the attribute over items at one value / that over the data
    restrictiveness: float  # 1 - standard deviation of another attribute along the move / that over the data, the mean
    monotonicity: float  # R2 of a line through attribute and value
    changes: np.ndarray  # float64[attribute], from the first value to the last, in standard deviations over the data


def control_scores(values: np.ndarray, decoded: np.ndarray, spread: np.ndarray, asked: int) -> Control:
    """Figures of a dim that was set to several values.

    Args:
        values: float[value], what the dim was set to, ascending.
        decoded: float[value, draw, item, attribute], measured after decoding; NaN where undefined. A draw is one
            decoding of every item with the same noise at every value.
        spread: float[attribute], standard deviations over the data.
        asked: the attribute that the dim is to control.

    Raises:
        ValueError: there are fewer than two ascending values, or the shapes do not fit.

    Example:
        >>> import numpy as np
        >>> values = np.linspace(-1, 1, 8)
        >>> decoded = np.zeros((8, 2, 100, 2)) + values[:, None, None, None] * [1, 0]
        >>> figures = control_scores(values, decoded, spread=np.ones(2), asked=0)
        >>> figures.consistency, figures.restrictiveness, figures.monotonicity, figures.changes
        (1.0, 1.0, 1.0, array([2., 0.]))
    """
    values, decoded, spread = (np.asarray(part, np.float64) for part in (values, decoded, spread))
    if values.ndim != 1 or len(values) < 2 or np.any(np.diff(values) <= 0):
        raise ValueError(f"values = {values}: allowed are two or more, ascending")
    if decoded.ndim != 4 or len(decoded) != len(values) or spread.shape != decoded.shape[-1:]:
        raise ValueError(
            f"decoded of shape {decoded.shape}, spread of shape {spread.shape}: "
            f"allowed are [value, draw, item, attribute] with {len(values)} values, and [attribute]"
        )
    scaled = decoded / np.where(spread > 0, spread, np.nan)
    over_items = _std(scaled[..., asked], axis=2)
    others = [number for number in range(len(spread)) if number != asked]
    along = _std(scaled[..., others], axis=0)
    of_value = _mean(scaled, axis=(1, 2))
    return Control(
        consistency=float(1 - _mean(over_items)),
        restrictiveness=float(1 - _mean(along)),
        monotonicity=_explained(values, decoded[..., asked]),
        changes=of_value[-1] - of_value[0],
    )


def _explained(values: np.ndarray, attribute: np.ndarray) -> float:
    """R2 of the line through all points that are defined; NaN where the attribute is constant."""
    x = np.broadcast_to(values[:, None, None], attribute.shape)
    known = np.isfinite(attribute)
    x, y = x[known], attribute[known]
    if len(y) < 2 or np.ptp(y) == 0 or np.ptp(x) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1] ** 2)


def _std(values: np.ndarray, axis: int) -> np.ndarray:
    """Over what is defined; NaN of fewer than two values."""
    known = np.isfinite(values)
    centred = np.where(known, values - np.expand_dims(_mean(values, axis), axis), 0)
    count = known.sum(axis)
    return np.where(count > 1, np.sqrt((centred**2).sum(axis) / np.maximum(count, 1)), np.nan)


def _mean(values: np.ndarray, axis: int | tuple[int, ...] | None = None) -> np.ndarray:
    """Over what is defined; NaN of nothing."""
    known = np.isfinite(values)
    count = known.sum(axis)
    return np.where(count > 0, np.where(known, values, 0).sum(axis) / np.maximum(count, 1), np.nan)
