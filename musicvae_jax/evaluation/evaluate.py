"""All figures of a model on a split but those of what each level says, from one pass over the split."""

from collections import defaultdict

import jax
import numpy as np
from tqdm import tqdm

from musicvae_jax.config import check_seed
from musicvae_jax.data.load import load_windows
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.data.windows import Families
from musicvae_jax.evaluation.bounds import window_bounds
from musicvae_jax.evaluation.figures import BoundFigures, Evaluation
from musicvae_jax.evaluation.reconstruction import make_measure, other_pieces, summarise
from musicvae_jax.evaluation.trained import EVALUATION_ROWS, TrainedVAE, on_all_devices
from musicvae_jax.objectives.usage import usage_figures


def evaluate(
    vae: TrainedVAE, split: str, *, num_examples: int | None = None, iwae_draws: int = 0, seed: int = 0
) -> Evaluation:
    """Measures a model on a split, with one draw from the posterior for each latent.

    Args:
        vae: the model.
        split: such as ``"test"``.
        num_examples: only so many windows, spread evenly; all if not given.
        iwae_draws: draws of the importance-weighted bound, each a pass over the split; 0 leaves it out.
        seed: of the draws.
    """
    check_seed(seed)
    source = load_windows(vae.config, split, attributes=False)
    batches = make_eval_batches(source, EVALUATION_ROWS, num_examples=num_examples)
    families = Families(source)
    vae, parallel = on_all_devices(vae)
    measure = make_measure(vae.model, vae.codec, seed)
    totals: dict[str, float] = defaultdict(float)
    usage = []
    for batch in tqdm(batches, desc=f"evaluate {split}", unit="batch", dynamic_ncols=True):
        real, placed = batch.index >= 0, parallel.shard_rows(batch)
        other = other_pieces(batch.index, batch.metre, families(batch.index))
        sums, usage_of_batch = jax.device_get(measure(vae.variables, placed, other))
        if iwae_draws:
            sums["nll_iwae"] = -window_bounds({"": vae}, placed, iwae_draws, seed)[""].iwae
        usage.append(usage_of_batch)
        for name, values in sums.items():
            totals[name] += float(values[real].sum(dtype=np.float64))
    iwae = None
    if iwae_draws:
        nll = totals["nll_iwae"]
        iwae = BoundFigures(iwae_draws, nll / totals["windows"], float(np.exp(nll / totals["tokens"])))
    levels = usage_figures(usage, vae.config.levels, seed)
    return Evaluation(split=split, step=vae.step, levels=levels, iwae=iwae, **summarise(totals))
