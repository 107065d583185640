"""Everything that evaluation.json says, from one pass over a split."""

import dataclasses
import math
from collections import defaultdict

import jax
import numpy as np
from tqdm import tqdm

from musicvae_jax.config import TrainConfig, check_seed
from musicvae_jax.data.load import TRAIN, load_windows
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.evaluation.baselines import NGram
from musicvae_jax.evaluation.latent_usage import active_units, mutual_information
from musicvae_jax.evaluation.reconstruction import make_measure, other_pieces, summarise
from musicvae_jax.evaluation.trained import TrainedVAE
from musicvae_jax.training.parallel import make_parallel
from musicvae_jax.types import Gaussian, existing_fields

Evaluation = dict[str, float | int | str]


def evaluate(vae: TrainedVAE, split: str, *, num_examples: int | None = None, seed: int = 0) -> Evaluation:
    """Measures a model on a split, each latent drawn once from its posterior.

    Args:
        vae: the model.
        split: e.g. ``"test"``.
        num_examples: take only so many windows, spread evenly; all if not given.
        seed: of the draws.

    Returns:
        The flat dict that experiments/evaluate.py writes as evaluation.json; nats are per window unless named
        otherwise.
    """
    check_seed(seed)
    source = load_windows(vae.config, split)
    batch_size = vae.config.train.batch_size
    batches = make_eval_batches(source, batch_size, num_examples=num_examples)
    # Not the devices of the training: this machine may have fewer, or a number that does not divide the batch.
    num_devices = math.gcd(batch_size, jax.local_device_count())
    parallel = make_parallel(TrainConfig(batch_size=batch_size, num_devices=num_devices))
    measure = make_measure(vae.model, vae.codec, seed)
    variables = jax.device_put(vae.variables, parallel.replicated)
    totals: dict[str, float] = defaultdict(float)
    posteriors: dict[str, list[Gaussian]] = defaultdict(list)
    for batch in tqdm(batches, desc=f"evaluate {split}", unit="batch", dynamic_ncols=True):
        real = batch.index >= 0
        sums, posterior = jax.device_get(measure(variables, parallel.shard_rows(batch), other_pieces(batch.index)))
        for name, values in sums.items():
            totals[name] += float(values[real].sum(dtype=np.float64))
        for level, gaussian in posterior.items():
            posteriors[level].append(Gaussian(*(leaf[real].reshape(-1, leaf.shape[-1]) for leaf in gaussian)))

    result: Evaluation = {"split": split, "num_examples": int(totals["windows"]), "step": vae.step}
    result |= summarise(totals)
    for level, parts in posteriors.items():
        gaussian = Gaussian(*(np.concatenate(leaves) for leaves in zip(*parts, strict=True)))
        result[f"active_units_a_{level}"], result[f"active_units_b_{level}"] = active_units(gaussian)
        result[f"mutual_information_{level}"] = mutual_information(gaussian, seed)
    return result


def evaluate_baselines(vae: TrainedVAE, split: str, *, num_examples: int | None = None) -> dict[str, float]:
    """Perplexities per token of models without latents, over the same tokens of the same windows.

    They are fitted to the training split as it is: transposed copies, as the VAE may see them, make them worse (folk
    tunes live in few keys). Their likelihood is exact: the VAE's rival figure is ``perplexity_elbo``, not
    ``perplexity``, which sees the music through z.
    """
    config = dataclasses.replace(vae.config, data=dataclasses.replace(vae.config.data, attributes=False))
    train = load_windows(config, TRAIN)
    held_out = make_eval_batches(load_windows(config, split), 256, num_examples=num_examples)
    fields = vae.codec.fields
    tokens = sum(int(existing_fields(batch.tokens, batch.mask, fields).sum()) for batch in held_out)
    result = {}
    for name, order in (("unigram", 0), ("markov3", 3), ("markov6", 6)):
        model = NGram(fields, order)
        model.fit(make_eval_batches(train, 256))
        nll = sum(float(model.nll(batch).sum()) for batch in held_out)
        result[f"baseline_{name}_perplexity"] = float(np.exp(nll / tokens))
    return result
