"""What each level says: windows decoded from their upper levels, the cost of doing without a level, and linear probes.

A level can be active by every rule and still say nothing that is heard. So its latents are kept or replaced, and the
music and the nats are measured.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from musicvae_jax.config import check_seed
from musicvae_jax.data.load import TRAIN, load_windows
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.data.windows import Families, WindowSource
from musicvae_jax.evaluation.bootstrap import Bootstrap, estimate, strata_of
from musicvae_jax.evaluation.control import control_figures, latent_density
from musicvae_jax.evaluation.figures import ANOTHER_PIECE, PRIORS, FlowFigures, LikenessFigures
from musicvae_jax.evaluation.groups import group_figures
from musicvae_jax.evaluation.level_costs import LevelCosts, level_costs
from musicvae_jax.evaluation.likeness import Likeness, compare, own_attributes, true_attributes
from musicvae_jax.evaluation.probes import ProbeData, probe_figures
from musicvae_jax.evaluation.reconstruction import of_rows, other_pieces
from musicvae_jax.evaluation.trained import EVALUATION_ROWS, TrainedVAE, on_all_devices
from musicvae_jax.inference import infer, sample_prior
from musicvae_jax.models.sampling import SamplingConfig, sample_tokens
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.training.parallel import Parallel
from musicvae_jax.types import ATTRIBUTES, Array, Batch, span_name

_STYLE = [attribute.name for attribute in ATTRIBUTES].index("style")


class Windows(NamedTuple):
    """What is measured of windows, row by row."""

    index: Array  # int32[window], number of the window in its split
    metre: Array  # int32[window, measure, 2]
    attributes: dict[str, Array]  # span -> float64[window, time, attribute]
    decoded: dict[str, Likeness]  # as `decode_from_levels` gives it
    costs: LevelCosts


def information_flow(
    vae: TrainedVAE, split: str, *, num_windows: int = 256, num_probed: int = 1024, num_draws: int = 8, seed: int = 0
) -> FlowFigures:
    """Measures what every level says, on windows spread evenly over a split.

    Standard errors are over the music, resampled family by family (`data.windows.Families`). Windows are decoded at
    temperature 1: the levels down to one are drawn from the posterior, those below from their priors.

    Args:
        vae: the model.
        split: such as ``"test"``.
        num_windows: windows of all but the probes.
        num_probed: windows of the probes, of the split and of the training music, to which they are fitted (of the
            validation split, where the split is the training music).
        num_draws: decodings of each window. R2 is corrected for their number (`Bootstrap.squared_correlation`).
        seed: of the draws.
    """
    check_seed(seed)
    vae, parallel = on_all_devices(vae)
    named = any(level.style_classes for level in vae.config.levels.on.values())  # then styles are asked for
    source = load_windows(vae.config, split, attributes=named)
    families = Families(source)
    windows = _measure(vae, parallel, source, families, num_windows, num_draws, seed)
    bootstrap = Bootstrap(families(windows.index), seed)
    samples = {
        name: _likeness_samples(bootstrap, windows.attributes, likeness, strata_of(windows.metre))
        for name, likeness in windows.decoded.items()
    }
    added = {}
    for above, level in zip((PRIORS, *vae.config.levels.on), vae.config.levels.on, strict=False):
        added[level] = jax.tree.map(np.subtract, samples[level], samples[above])
    costs = windows.costs
    skip_share = None
    if costs.nll_with_skip is not None:
        skip_share = estimate(bootstrap.ratio(costs.nll - costs.nll_with_skip, costs.nll))
    # Training pieces of any length, as in the other splits.
    other = "validation" if split == TRAIN else TRAIN
    training = load_windows(vae.config, other, attributes=False, min_measures=1)
    fitted = _encode(vae, parallel, training, Families(training), num_probed, seed)
    held_out = _encode(vae, parallel, source, families, num_probed, seed)
    return FlowFigures(
        windows=len(windows.index),
        draws=num_draws,
        own_span={name: level.span_name for name, level in vae.config.levels.on.items()},
        decoded={name: _estimates(values) for name, values in samples.items()},
        added={level: _estimates(values) for level, values in added.items()},
        replaced=_mean_costs(bootstrap, costs.replaced),
        swapped=_mean_costs(bootstrap, costs.swapped),
        skip_share=skip_share,
        probe_windows=len(held_out.families),
        probes=probe_figures(fitted, held_out, vae.config, seed),
        groups=group_figures(held_out, vae.config, seed),
        control=control_figures(vae, parallel, source, held_out, num_windows=min(num_windows, 64), seed=seed),
        latent_density=latent_density(vae, parallel, held_out, seed=seed),
    )


def decode_from_levels(
    vae: TrainedVAE, batch: Batch, placed: Batch, other: np.ndarray, key: Array, num_draws: int
) -> dict[str, Likeness]:
    """Decodes windows from their levels down to each one, from priors alone, and from the latents of another piece.

    All of them share the noise of a draw, so that they differ by what they know.

    Args:
        vae: the model, its variables on all devices.
        batch: windows, on the host.
        placed: the same on the devices.
        other: int32[batch], for every row the row of another piece.
        key: of posteriors, priors and tokens.
        num_draws: decodings of each.

    Returns:
        `PRIORS`, each level, and `ANOTHER_PIECE` -> how like the originals the decodings are.
    """
    model, variables, levels = vae.model, vae.variables, list(vae.config.levels.on)
    allowed = vae.codec.slot_mask(np.asarray(batch.metre))  # not the mask, which tells how many notes there are
    draws: dict[str, list[np.ndarray]] = {}
    for draw in range(num_draws):
        drawn = stream(key, "top k", draw)
        posterior = infer(model, variables, placed, row_keys(stream(drawn, "posterior"), placed.index)).latents
        latents = {ANOTHER_PIECE: of_rows(posterior, other)}
        for number, name in enumerate((PRIORS, *levels)):
            given = {level: posterior[level] for level in levels[:number]}
            keys = row_keys(stream(drawn, "prior"), placed.index)
            latents[name] = sample_prior(model, variables, placed.metre, keys, given)
        for name, z in latents.items():
            tokens = sample_tokens(
                model, variables, z, placed.metre, allowed, stream(drawn, "tokens"), SamplingConfig()
            )
            draws.setdefault(name, []).append(np.asarray(tokens))
    return {name: compare(tokens, batch, vae.codec, vae.config.spans) for name, tokens in draws.items()}


def _likeness_samples(
    bootstrap: Bootstrap, originals: dict[str, np.ndarray], likeness: Likeness, strata: np.ndarray
) -> dict[str, Any]:
    """The fields of `LikenessFigures`, each float64[resample]."""
    sums, pairs = likeness.sums, {span: (originals[span], likeness.attributes[span]) for span in originals}
    return {
        "r2": {span: bootstrap.squared_correlation(*pair) for span, pair in pairs.items()},
        "r2_within_metre": {span: bootstrap.squared_correlation(*pair, strata) for span, pair in pairs.items()},
        "chroma": bootstrap.ratio(sums["chroma"], sums["measures"]),
        "rhythm": bootstrap.ratio(sums["rhythm"], sums["measures"]),
        "onset_f1": bootstrap.ratio(2 * sums["hits"], sums["found"] + sums["wanted"]),
    }


def _estimates(samples: dict[str, Any]) -> LikenessFigures:
    return LikenessFigures(**jax.tree.map(estimate, samples))


def _mean_costs(bootstrap: Bootstrap, costs: dict[str, dict[str, Array]]) -> dict[str, dict[str, Any]]:
    return jax.tree.map(lambda values: estimate(bootstrap.mean(values)), costs)


def _measure(
    vae: TrainedVAE,
    parallel: Parallel,
    source: WindowSource,
    families: Families,
    num_windows: int,
    num_draws: int,
    seed: int,
) -> Windows:
    """Decodes windows and measures their costs, batch by batch."""
    batches = make_eval_batches(source, EVALUATION_ROWS, num_examples=num_windows)
    parts = []
    for number, batch in enumerate(tqdm(batches, desc="information flow", unit="batch", dynamic_ncols=True)):
        key = stream(jax.random.key(seed), "information flow", number)
        placed, other = parallel.shard_rows(batch), other_pieces(batch.index, batch.metre, families(batch.index))
        costs = jax.device_get(level_costs(vae, placed, other, key))
        decoded = decode_from_levels(vae, batch, placed, other, key, num_draws)
        attributes = true_attributes(batch, vae.codec, vae.config.spans)
        parts.append(_real(Windows(batch.index, batch.metre, attributes, decoded, costs), batch.index))
    return _joined(parts)


def _encode(
    vae: TrainedVAE, parallel: Parallel, source: WindowSource, families: Families, num_windows: int, seed: int
) -> ProbeData:
    """Posterior means, a draw of each posterior, and attributes of windows, batch by batch."""
    parts, rng = [], np.random.default_rng(seed)
    for batch in make_eval_batches(source, EVALUATION_ROWS, num_examples=num_windows):
        posterior = jax.device_get(vae.encode(parallel.shard_rows(batch)))
        means = {level: gaussian.loc for level, gaussian in posterior.items()}
        draws = {
            level: gaussian.loc + np.exp(gaussian.log_scale) * rng.standard_normal(gaussian.loc.shape)
            for level, gaussian in posterior.items()
        }
        attributes, own = (find(batch, vae.codec, vae.config.spans) for find in (true_attributes, own_attributes))
        style = batch.attributes[span_name(0)][:, 0, _STYLE] if batch.attributes else None
        parts.append(_real((batch.index, means, attributes, batch.metre, draws, own, style), batch.index))
    index, means, attributes, metre, draws, own, style = _joined(parts)
    return ProbeData(means, attributes, metre, families(index), draws, own, style)


def _real(rows: Any, index: Array) -> Any:
    """Rows without those that pad a batch."""
    return jax.tree.map(lambda leaf: leaf[index >= 0], rows)


def _joined(parts: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
