"""What the dims that follow attributes do to decoded music: each is moved, the levels below it are drawn again."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from musicvae_jax.codec.attributes.cells import make_cells
from musicvae_jax.codec.attributes.dmelodies import are_melodies, starts
from musicvae_jax.config.levels import ATTRIBUTE_OF
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.evaluation.disentanglement import control_scores
from musicvae_jax.evaluation.figures import ControlFigures
from musicvae_jax.evaluation.likeness import NAMES, OWN_COLUMNS, own_attributes, true_attributes
from musicvae_jax.evaluation.probes import ProbeData
from musicvae_jax.evaluation.trained import EVALUATION_ROWS, TrainedVAE
from musicvae_jax.inference import sample_prior
from musicvae_jax.models.sampling import SamplingConfig, sample_tokens
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.training.parallel import Parallel
from musicvae_jax.types import ATTRIBUTES, LEVELS, PRIMARY, Array, Batch, Gaussian, Latents

NUM_VALUES = 8


def control_figures(
    vae: TrainedVAE,
    parallel: Parallel,
    source: WindowSource,
    held_out: ProbeData,
    *,
    num_windows: int = 64,
    num_draws: int = 2,
    seed: int = 0,
) -> dict[str, dict[str, ControlFigures]]:
    """Moves each dim that follows an attribute: level -> attribute -> figures; {} without such dims.

    A dim of a level takes eight values, evenly from the 5th to the 95th percentile of its posterior means, in all
    latents of a window at once. The other dims and the levels above keep their posterior means, and the levels below
    are drawn from their priors, with the same noise at every value. Attributes are those of the level's own spans; the
    others that should stay are what the level's other dims follow, and the primary attributes of the other groups (not
    of a benchmark, such as dMelodies, whose attributes are a list of their own).

    Args:
        vae: the model, its variables on the devices of ``parallel``.
        parallel: how batches are spread.
        source: windows of the split.
        held_out: posterior means and attributes of the split.
        num_windows: windows in which dims are moved.
        num_draws: decodings of each, at each value.
        seed: of the draws.
    """
    moves = [(name, attribute) for name, level in vae.config.levels.on.items() for attribute in level.followed]
    if not moves:
        return {}
    batches = make_eval_batches(source, EVALUATION_ROWS, num_examples=num_windows)
    windows = [(batch, jax.device_get(vae.encode(parallel.shard_rows(batch)))) for batch in batches]
    keys = [stream(jax.random.key(seed), "control", draw) for draw in range(num_draws)]
    found: dict[str, dict[str, ControlFigures]] = {name: {} for name, _ in moves}
    for name, attribute in tqdm(moves, desc="control", unit="dim", dynamic_ncols=True):
        level = vae.config.levels[name]
        measured, dim = measured_names(level.span), level.followed[attribute]
        asked = measured.index(attribute)
        data = _joined(held_out.attributes, held_out.own or {}, level.span_name)
        spread = _spread(data)
        codes = held_out.means[name].reshape(-1, level.dim)[np.isfinite(data).any(1), dim]
        values = np.linspace(np.percentile(codes, 5), np.percentile(codes, 95), NUM_VALUES)
        if not spread[asked] > 0 or values[0] == values[-1]:  # undefined or constant in this music; a dead dim
            continue
        decoded = np.stack(
            [[_decode(vae, parallel, windows, _Move(name, dim, value), key) for key in keys] for value in values]
        )
        named, found_in = set(level.followed), ATTRIBUTE_OF[attribute]
        if not found_in.spans:  # a benchmark has its own list
            named |= {PRIMARY[group] for group in PRIMARY if group != found_in.group}
        columns = [column for column, own in enumerate(measured) if spread[column] > 0 and own in named]
        figures = control_scores(values, decoded[..., columns], spread[columns], columns.index(asked))
        found[name][attribute] = ControlFigures(
            dim=level.dim_names(name)[dim],
            consistency=figures.consistency,
            restrictiveness=figures.restrictiveness,
            monotonicity=figures.monotonicity,
            changes={measured[column]: float(change) for column, change in zip(columns, figures.changes, strict=True)},
        )
    return found


def latent_density(
    vae: TrainedVAE, parallel: Parallel, held_out: ProbeData, *, num_points: int = 2048, seed: int = 0
) -> dict[str, float]:
    """The share of points that decode to a melody of dMelodies: level -> share; {} of other music.

    Of levels whose latents are two measures (Pati & Lerch 2021, Is Disentanglement Enough?, with each dim drawn for
    itself). A point is a draw from the prior; its dims that follow an attribute are uniform between the
    smallest and the largest posterior mean of the split, and the levels below are drawn given it. Decoding takes the
    likeliest token.

    Args:
        vae: the model, its variables on the devices of ``parallel``.
        parallel: how batches are spread.
        held_out: posterior means and attributes of the split.
        num_points: draws.
        seed: of them.
    """
    shares = {}
    for name, level in vae.config.levels.on.items():
        factors = (held_out.own or {}).get(level.span_name)
        melodies = () if level.span != 2 or factors is None else np.flatnonzero(np.isfinite(factors).all((1, 2)))
        if not len(melodies):
            continue
        rng, dims, valid = np.random.default_rng(seed), [*level.followed.values()], []
        means = held_out.means[name].reshape(-1, level.dim)[:, dims]
        metre = held_out.metre[melodies[:1]]
        for first in range(0, num_points, EVALUATION_ROWS):
            index = np.arange(first, first + EVALUATION_ROWS, dtype=np.int32)
            frame = parallel.shard_rows(np.repeat(metre, EVALUATION_ROWS, 0))
            keys = row_keys(stream(jax.random.key(seed), "density"), index)
            drawn = jax.device_get(sample_prior(vae.model, vae.variables, frame, keys))
            moved = np.array(drawn[name])
            moved[..., dims] = rng.uniform(means.min(0), means.max(0), (*moved.shape[:-1], len(dims)))
            given = {upper: drawn[upper] for upper in LEVELS[: LEVELS.index(name)] if upper in drawn} | {name: moved}
            latents = jax.device_get(sample_prior(vae.model, vae.variables, frame, keys, given))
            tokens = vae.decode(latents, np.asarray(frame), sampling=SamplingConfig(temperature=0.0))
            notes = vae.codec.notes(tokens, vae.codec.slot_mask(np.asarray(frame)), np.asarray(frame))
            valid.append(are_melodies(starts(make_cells(notes, np.asarray(frame), 2))))
        shares[name] = float(np.concatenate(valid)[:num_points].mean())
    return shares


def measured_names(span: int) -> tuple[str, ...]:
    """The attributes that are measured in spans of so many measures: the general ones, and those of this span alone."""
    return *NAMES, *(ATTRIBUTES[column].name for column in OWN_COLUMNS.get(span, ()))


class _Move(NamedTuple):
    """A dim of a level, and what it is set to in all latents of the level."""

    level: str
    dim: int
    value: float

    def latents(self, means: Mapping[str, Gaussian]) -> Latents:
        """The means of the level and of those above it, after the move."""
        given = {name: np.array(means[name].loc) for name in LEVELS[: LEVELS.index(self.level) + 1] if name in means}
        given[self.level][..., self.dim] = self.value
        return given


def _joined(attributes: Mapping[str, np.ndarray], own: Mapping[str, np.ndarray], span: str) -> np.ndarray:
    """One row a latent, one column for each of `measured_names`: float64[window, time, ...] to [row, attribute]."""
    parts = [attributes[span], *([own[span]] if span in own else [])]
    return np.concatenate([part.reshape(-1, part.shape[-1]) for part in parts], 1)


def _spread(data: np.ndarray) -> np.ndarray:
    """The standard deviation of every attribute, 0 where it is undefined: float64[row, attribute] to [attribute]."""
    known = np.isfinite(data)
    return np.array(
        [values[there].std() if there.any() else 0.0 for values, there in zip(data.T, known.T, strict=True)]
    )


def _decode(
    vae: TrainedVAE,
    parallel: Parallel,
    windows: Sequence[tuple[Batch, Mapping[str, Gaussian]]],
    move: _Move,
    key: Array,
) -> np.ndarray:
    """Decodes windows after a move, and measures the spans of its level: float64[window x time, attribute]."""
    parts = []
    for batch, means in windows:
        mask = vae.codec.slot_mask(np.asarray(batch.metre))
        metre, given = parallel.shard_rows((batch.metre, move.latents(means)))
        latents = sample_prior(vae.model, vae.variables, metre, row_keys(stream(key, "prior"), batch.index), given)
        tokens = sample_tokens(vae.model, vae.variables, latents, metre, mask, stream(key, "tokens"), SamplingConfig())
        heard = batch._replace(tokens=np.asarray(tokens), mask=mask)
        level = vae.config.levels[move.level]
        found = true_attributes(heard, vae.codec, [level.span]), own_attributes(heard, vae.codec, [level.span])
        parts.append(_joined(*found, level.span_name))
    return np.concatenate(parts)
