"""Everything that evaluation.json says, from one pass over a split."""

from collections import defaultdict

import jax
import numpy as np
from tqdm import tqdm

from musicvae_jax.config import check_seed
from musicvae_jax.data.load import TRAIN, load_windows
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.data.windows import Families
from musicvae_jax.evaluation.baselines import NGram
from musicvae_jax.evaluation.iwae import make_iwae
from musicvae_jax.evaluation.loading import on_all_devices
from musicvae_jax.evaluation.reconstruction import make_measure, other_pieces, summarise
from musicvae_jax.evaluation.trained import TrainedVAE
from musicvae_jax.models.spans import present_spans
from musicvae_jax.objectives.latent_usage import kl_per_dim, sum_usage, usage_figures
from musicvae_jax.objectives.mutual_information import mutual_information_figures
from musicvae_jax.types import Gaussian, existing_fields

Evaluation = dict[str, float | int | str | dict[str, float]]


def evaluate(
    vae: TrainedVAE, split: str, *, num_examples: int | None = None, iwae_draws: int = 0, seed: int = 0
) -> Evaluation:
    """Measures a model on a split, each latent drawn once from its posterior.

    Args:
        vae: the model.
        split: e.g. ``"test"``.
        num_examples: take only so many windows, spread evenly; all if not given.
        iwae_draws: K of the importance-weighted bound, which takes K passes: ``nll_iwae_<K>``, in nats per window, to
            be compared with nll + kl, and ``perplexity_iwae_<K>``; 0 leaves it out.
        seed: of the draws.

    Returns:
        What experiments/evaluate.py writes as evaluation.json: numbers by name, and dicts of them by dim; nats are per
        window unless named otherwise.
    """
    check_seed(seed)
    source = load_windows(vae.config, split, attributes=False)
    batches = make_eval_batches(source, vae.batch_size, num_examples=num_examples)
    families = Families(source)
    vae, parallel = on_all_devices(vae)
    measure = make_measure(vae.model, vae.codec, seed)
    bound = make_iwae(vae.model, seed)
    totals: dict[str, float] = defaultdict(float)
    usages, residuals = [], defaultdict(list)
    for batch in tqdm(batches, desc=f"evaluate {split}", unit="batch", dynamic_ncols=True):
        real = batch.index >= 0
        placed = parallel.shard_rows(batch)
        other = other_pieces(batch.index, batch.metre, families(batch.index))
        sums, usage, residual_of = jax.device_get(measure(vae.variables, placed, other))
        if iwae_draws:
            sums["nll_iwae"] = -np.asarray(bound(vae.variables, placed, iwae_draws))
        usages.append(usage)
        for name, values in sums.items():
            totals[name] += float(values[real].sum(dtype=np.float64))
        here = (batch.metre[..., 0] > 0) & real[:, None]
        for level, residual in residual_of.items():
            present = np.asarray(present_spans(here, vae.config.model.span(level, here.shape[-1])))
            residuals[level].append(Gaussian(*(leaf[present] for leaf in residual)))

    result: Evaluation = {"split": split, "num_examples": int(totals["windows"]), "step": vae.step}
    result |= summarise(totals)
    if iwae_draws:
        result[f"nll_iwae_{iwae_draws}"] = totals["nll_iwae"] / totals["windows"]
        result[f"perplexity_iwae_{iwae_draws}"] = float(np.exp(totals["nll_iwae"] / totals["tokens"]))
    total = sum_usage(usages)
    result |= usage_figures(total, vae.config.model)
    result |= mutual_information_figures(residuals, vae.config.model, seed)
    result |= kl_per_dim(total, vae.config.model)
    return result


def evaluate_baselines(vae: TrainedVAE, split: str, *, num_examples: int | None = None) -> dict[str, float]:
    """Perplexities per token of models without latents, over the same tokens of the same windows.

    They are fitted to every measure of the training split once: of overlapping windows nothing would be rare, and
    smoothing goes by what is rare. Nor to transposed copies, as the VAE may see them: those make them worse (folk tunes
    live in few keys). Their likelihood is exact: the VAE's rival figure is ``perplexity_elbo``, not ``perplexity``,
    which sees the music through z.
    """
    train = load_windows(vae.config, TRAIN, attributes=False, hop=vae.config.data.measures, min_measures=1)
    held_out = make_eval_batches(load_windows(vae.config, split, attributes=False), 256, num_examples=num_examples)
    fields = vae.codec.fields
    tokens = sum(int(existing_fields(batch.tokens, batch.mask, fields).sum()) for batch in held_out)
    result = {}
    for name, order in (("unigram", 0), ("markov3", 3), ("markov6", 6)):
        model = NGram(fields, order)
        model.fit(make_eval_batches(train, 256))
        nll = sum(float(model.nll(batch).sum()) for batch in held_out)
        result[f"baseline_{name}_perplexity"] = float(np.exp(nll / tokens))
    return result
