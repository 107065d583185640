"""What each level says: the top-k test, what it costs to do without a level, and what a straight line reads off it.

A level that is active by every rule may still say nothing that comes out as music. So its code is kept or taken away,
and the music, or the bill in nats, is looked at.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from musicvae_jax.config import check_seed
from musicvae_jax.data.load import load_windows
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.data.windows import Families, WindowSource
from musicvae_jax.evaluation.bootstrap import Bootstrap, estimate, strata_of
from musicvae_jax.evaluation.level_codes import Costs, level_costs
from musicvae_jax.evaluation.likeness import Likeness, true_attributes
from musicvae_jax.evaluation.loading import on_all_devices
from musicvae_jax.evaluation.probes import Codes, probe_figures
from musicvae_jax.evaluation.reconstruction import other_pieces
from musicvae_jax.evaluation.top_k import decode_top_k, top_k_figures
from musicvae_jax.evaluation.trained import TrainedVAE
from musicvae_jax.rng import stream
from musicvae_jax.training.parallel import Parallel
from musicvae_jax.types import Array


class Windows(NamedTuple):
    """What is measured of windows, row by row."""

    index: Array  # int32[window], the window's number in its split
    metre: Array  # int32[window, measure, 2]
    attributes: dict[str, Array]  # span -> float64[window, time, attribute]
    likeness: dict[str, Likeness]
    costs: Costs


def information_flow(
    vae: TrainedVAE, split: str, *, num_windows: int = 256, num_probed: int = 1024, num_draws: int = 8, seed: int = 0
) -> dict[str, float]:
    """Measures what every level says, on windows spread evenly over a split.

    Standard errors, ``<name>_se``, are of drawing the music again, family by family (see `data.families`).

    Top-k test, for k = 0 to the number of levels: the first k levels from the posterior, the others from their priors,
    decoded at temperature 1. ``top_<k>_r2_<span>``: squared correlation of the original's attributes with the mean over
    draws of the decoded ones', the mean over attributes; ``..._within_metre``: of their distances from the means, at
    the same place, of windows of the same metres, which the model is told whatever the code says; ``top_<k>_chroma``,
    ``top_<k>_rhythm``: cosines per measure, see `likeness.compare`; ``top_<k>_onset_f1``;
    ``top_<k>_minus_top_<k-1>_...``: what the k-th level adds; ``shuffled_...``: all levels from another piece, under
    the window's own metre.

    Costs, in nats per window: ``replace_<level>_<by>``, what teacher-forced nll grows by if the level's latents are
    the mean of their prior (``prior_mean``), a draw from it (``noise``), or those of another piece (``other_piece``),
    the levels below staying as they are. ``swap_<upper>_kl_<lower>``: what the KL of a lower level grows by if an upper
    one is another piece's and those below are inferred anew. ``skip_share``: the share of nll that the skip connection
    saves, where there is one.

    ``probe_r2_...``: see `probes.probe_figures`.

    Args:
        vae: the model.
        split: e.g. ``"test"``.
        num_windows: windows of all but the probes.
        num_probed: windows of the probes, of the split and as many of the training music, cut as short as the split's,
            to which they are fitted (of the validation split, where the split is the training music).
        num_draws: decodings of each window and k. Of what a code says, their mean shows the more the more they are: of
            `folk`, R2 of the phrases within metre from the two upper levels was .49 with 4 draws and .54 with 8.
        seed: of the draws.
    """
    check_seed(seed)
    vae, parallel = on_all_devices(vae)
    source = load_windows(vae.config, split, attributes=False)
    families = Families(source)
    windows = _measure(vae, parallel, source, families, num_windows, num_draws, seed)
    bootstrap = Bootstrap(families(windows.index), seed)
    figures: dict[str, float] = {"flow_windows": len(windows.index), "flow_draws": num_draws}
    figures |= top_k_figures(bootstrap, windows.attributes, windows.likeness, strata_of(windows.metre))
    costs = dict(windows.costs)
    nll, with_skip = costs.pop("nll"), costs.pop("nll_skip", None)
    for name, values in costs.items():
        figures |= estimate(name, bootstrap.mean(values))
    if with_skip is not None:
        figures |= estimate("skip_share", bootstrap.ratio(nll - with_skip, nll))
    # Pieces of any length, as in the other splits: a line should be asked about what it was fitted to.
    other = "validation" if split == "train" else "train"
    training = load_windows(vae.config, other, attributes=False, min_measures=1)
    fitted = _encode(vae, parallel, training, Families(training), num_probed)
    held_out = _encode(vae, parallel, source, families, num_probed)
    figures["probe_windows"] = len(held_out.families)
    return figures | probe_figures(fitted, held_out, vae.config.model, seed)


def _measure(
    vae: TrainedVAE,
    parallel: Parallel,
    source: WindowSource,
    families: Families,
    num_windows: int,
    num_draws: int,
    seed: int,
) -> Windows:
    """Decodes and bills windows, batch by batch."""
    batches = make_eval_batches(source, vae.batch_size, num_examples=num_windows)
    parts = []
    for number, batch in enumerate(tqdm(batches, desc="information flow", unit="batch", dynamic_ncols=True)):
        key = stream(jax.random.key(seed), "information flow", number)
        placed, other = parallel.shard_rows(batch), other_pieces(batch.index, batch.metre, families(batch.index))
        costs = jax.device_get(level_costs(vae, placed, other, key))
        likeness = decode_top_k(vae, batch, placed, other, key, num_draws)
        attributes = true_attributes(batch, vae.codec)
        parts.append(_real(Windows(batch.index, batch.metre, attributes, likeness, costs), batch.index))
    return _joined(parts)


def _encode(vae: TrainedVAE, parallel: Parallel, source: WindowSource, families: Families, num_windows: int) -> Codes:
    """Posterior means of windows, batch by batch."""
    parts = []
    for batch in make_eval_batches(source, vae.batch_size, num_examples=num_windows):
        posterior = jax.device_get(vae.encode(parallel.shard_rows(batch)))
        means = {level: gaussian.loc for level, gaussian in posterior.items()}
        row = (batch.index, means, true_attributes(batch, vae.codec), batch.metre)
        parts.append(_real(row, batch.index))
    index, means, attributes, metre = _joined(parts)
    return Codes(means, attributes, metre, families(index))


def _real(rows: Any, index: Array) -> Any:
    """Without the rows that pad a batch."""
    return jax.tree.map(lambda leaf: leaf[index >= 0], rows)


def _joined(parts: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
