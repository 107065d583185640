"""What the named groups of a level's dims tell of the attributes that give them their names."""

import numpy as np

from musicvae_jax.config import Config
from musicvae_jax.evaluation.disentanglement import (
    interpretability,
    label_accuracy,
    leakage,
    modularity,
    mutual_information_gap,
    separated_attribute_predictability,
    spearman,
)
from musicvae_jax.evaluation.figures import FactorFigures, GroupFigures, MeasureFigures
from musicvae_jax.evaluation.likeness import GROUP_OF, NAMES
from musicvae_jax.evaluation.probes import ProbeData
from musicvae_jax.types import PRIMARY, Array

_ROWS = 4096  # of the latents between whose neighbours distances are measured


def group_figures(data: ProbeData, config: Config, seed: int = 0) -> dict[str, GroupFigures]:
    """MIG and leakage of every level, from posterior means and attributes of the level's own span.

    Attributes that the music does not have, such as those of dynamics on a grid, are left out. Nearest neighbours are
    those among at most 4,096 latents at even distances.

    Args:
        data: held-out windows.
        config: of the model.
        seed: of the halves of the families, between which leakage is measured.
    """
    figures = {}
    for name, level in config.levels.on.items():
        means, values, own_values = (
            data.means[name],
            data.attributes[level.span_name],
            (data.own or {}).get(level.span_name),
        )
        draws = data.draws[name] if data.draws else means
        codes, drawn, attributes = (np.asarray(part).reshape(-1, part.shape[-1]) for part in (means, draws, values))
        there = np.isfinite(attributes).any(1)
        families = np.repeat(data.families, means.shape[1])[there]
        codes, drawn, attributes = codes[there], drawn[there], attributes[there]
        primary = [number for number, attribute in enumerate(NAMES) if attribute in PRIMARY.values()]
        gap, few = mutual_information_gap(codes, attributes[:, primary]), _spread(len(codes))
        by_group = leakage(codes, attributes, level.layout, families=families, seed=seed)
        own = {
            group: [number for number, attribute in enumerate(NAMES) if GROUP_OF[attribute] == group]
            for group in PRIMARY
        }
        alone = leakage(attributes, attributes, own, families=families, seed=seed)
        figures[name] = GroupFigures(
            cells=len(codes),
            mig=gap.value,
            mig_ceiling=gap.ceiling,
            mig_draws=mutual_information_gap(drawn, attributes[:, primary]).value,
            mig_neighbours=mutual_information_gap(
                codes[few], attributes[few][:, primary], estimator="knn", seed=seed
            ).value,
            mig_all=mutual_information_gap(codes, attributes).value,
            leakage={group: _named(scores) for group, scores in by_group.items()},
            correlation={group: _named(scores) for group, scores in alone.items() if np.isfinite(scores).any()},
            style={}
            if data.style is None
            else label_accuracy(
                codes, np.repeat(data.style, means.shape[1])[there], level.layout, families=families, seed=seed
            ),
            arvae=measure_figures(means, own_values, seed) if level.span == 1 else None,
            factors=factor_figures(means, own_values, seed) if level.span == 2 else None,
        )
    return figures


def measure_figures(means: Array, attributes: Array | None, seed: int = 0) -> MeasureFigures | None:
    """AR-VAE's scores of latents of measures, on at most 4,096 of them at even distances; None if it knows no measure.

    Args:
        means: float[window, measure, dim].
        attributes: float[window, measure, 4], as `own_attributes` gives them; None if they were not measured.
        seed: of the noise that separates equal values.
    """
    codes, values = _known(means, attributes)
    if not len(codes):
        return None
    gap = mutual_information_gap(codes, values, estimator="knn", seed=seed)
    return MeasureFigures(
        mig=gap.value,
        mig_ceiling=gap.ceiling,
        sap=separated_attribute_predictability(codes, values).value,
        interpretability=interpretability(codes, values).value,
        scc=spearman(codes, values).value,
    )


def factor_figures(means: Array, factors: Array | None, seed: int = 0) -> FactorFigures | None:
    """dMelodies' scores of latents of two measures, on at most 4,096 at even distances; None without a melody of it.

    Args:
        means: float[window, pair, dim].
        factors: float[window, pair, 9], as `own_attributes` gives them; None if they were not measured.
        seed: of the halves of the rows.
    """
    codes, values = _known(means, factors)
    if not len(codes):
        return None
    gap = mutual_information_gap(codes, values, discrete=True)
    return FactorFigures(
        mig=gap.value,
        mig_ceiling=gap.ceiling,
        sap=separated_attribute_predictability(codes, values, discrete=True, seed=seed).value,
        modularity=modularity(codes, values, discrete=True).value,
    )


def _known(means: Array, attributes: Array | None) -> tuple[np.ndarray, np.ndarray]:
    """At most `_ROWS` latents whose attributes are all known: float[row, dim] and float[row, attribute]."""
    if attributes is None:
        return np.zeros((0, 0)), np.zeros((0, 0))
    codes, values = (part.reshape(-1, part.shape[-1]) for part in (means, attributes))
    known = np.flatnonzero(np.isfinite(values).all(1))
    rows = known[_spread(len(known))]
    return codes[rows], values[rows]


def _spread(number: int) -> np.ndarray:
    """At most `_ROWS` rows of so many, at even distances."""
    return np.unique(np.linspace(0, max(number - 1, 0), min(number, _ROWS)).astype(int))


def _named(scores: np.ndarray) -> dict[str, float]:
    """R2 by attribute, without those that have none."""
    return {name: float(value) for name, value in zip(NAMES, scores, strict=True) if np.isfinite(value)}
