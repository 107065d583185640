"""Music from the prior beside held-out music: do its features overlap, is it diverse, is it new?"""

from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from musicvae_jax.codec.base import Codec
from musicvae_jax.config import Config, UserError, check_seed
from musicvae_jax.data.load import TRAIN, load_windows
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.data.windows import Families, WindowSource
from musicvae_jax.evaluation.coherence import coherence_features, overlapping_area
from musicvae_jax.evaluation.figures import SampleFigures
from musicvae_jax.evaluation.novelty import mean_distance, nearest_distances
from musicvae_jax.evaluation.trained import EVALUATION_ROWS, TrainedVAE, on_all_devices
from musicvae_jax.inference import infer, sample_prior
from musicvae_jax.models.sampling import SamplingConfig, sample_tokens
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.types import Array, Batch, until_end

_PERCENTILE = 5  # of the distances of held-out windows from training windows
_BATCH = 256


class Music(NamedTuple):
    """Windows without padding measures."""

    tokens: Array  # int32[window, measure, slot, field]
    metre: Array  # int32[window, measure, 2]
    families: Array  # int64[window]


class RealMusic(NamedTuple):
    """What samples are compared with. It depends on the data alone, so several priors can share it."""

    held_out: Music
    known: Music  # training windows, as training sees them; each its own family
    distances: Array  # float64[window], of held-out windows from the nearest known one


def sample_figures(
    vae: TrainedVAE,
    split: str,
    *,
    num_windows: int = 512,
    sampling: SamplingConfig = SamplingConfig(),
    seed: int = 0,
    real: RealMusic | None = None,
) -> SampleFigures:
    """Draws a sample with the metres of each of some held-out windows, and compares the two sets.

    Args:
        vae: the model.
        split: such as ``"test"``; windows are spread evenly over it, without those that a piece does not fill.
        num_windows: at most so many.
        sampling: how tokens are chosen.
        seed: of latents and tokens.
        real: from `real_music`, of the same split and number of windows.

    Raises:
        UserError: no window of the split is without padding.
    """
    check_seed(seed)
    real = real or real_music(vae.config, vae.codec, split, num_windows)
    held_out = real.held_out
    drawn = draw_music(vae, held_out.metre, sampling, seed)
    decoded = draw_music(vae, held_out.metre, sampling, seed, held_out.tokens) if vae.config.levels.on else None
    return compare_music(drawn, real, vae.codec, decoded)


def real_music(config: Config, codec: Codec, split: str, num_windows: int = 512) -> RealMusic:
    """Held-out and training windows, and the distances between them; arguments as of `sample_figures`."""
    source = load_windows(config, split, attributes=False)
    held_out = _whole(source, num_windows)
    if not len(held_out.tokens):
        longer = f"a split with a piece of {config.data.measures} measures"
        raise UserError(f"all windows of {split!r} are shorter than a window of the model: allowed is {longer}")
    known = _whole(load_windows(config, TRAIN, attributes=False), None)
    distances = nearest_distances(held_out.tokens, held_out.metre, known.tokens, known.metre, codec)
    return RealMusic(held_out, known, distances)


def draw_music(
    vae: TrainedVAE,
    metre: np.ndarray,
    sampling: SamplingConfig = SamplingConfig(),
    seed: int = 0,
    music: np.ndarray | None = None,
) -> np.ndarray:
    """Samples: int32[window, measure, slot, field].

    Args:
        vae: the model.
        metre: int32[window, measure, 2].
        sampling: how tokens are chosen.
        seed: of latents and tokens.
        music: int32[window, measure, slot, field], from whose posteriors latents come; from the prior if not given.
    """
    vae, parallel = on_all_devices(vae)
    key, parts = stream(jax.random.key(seed), "samples"), []
    source = "prior" if music is None else "posterior"
    for start in tqdm(range(0, len(metre), EVALUATION_ROWS), desc=source, unit="batch", dynamic_ncols=True):
        index = np.arange(start, start + EVALUATION_ROWS)
        rows = np.minimum(index, len(metre) - 1)  # the last batch is padded
        frame = metre[rows]
        keys = row_keys(stream(key, source), index.astype(np.int32))
        placed, allowed, noise = parallel.shard_rows(frame), vae.codec.slot_mask(frame), stream(key, "tokens", start)
        if music is None:
            latents = sample_prior(vae.model, vae.variables, placed, keys)
        else:
            mask = until_end(music[rows], allowed, vae.codec.fields)
            batch = parallel.shard_rows(Batch(music[rows], mask, frame, index.astype(np.int32)))
            latents = infer(vae.model, vae.variables, batch, keys).latents
        parts.append(np.asarray(sample_tokens(vae.model, vae.variables, latents, placed, allowed, noise, sampling)))
    return np.concatenate(parts)[: len(metre)]


def compare_music(drawn: np.ndarray, real: RealMusic, codec: Codec, decoded: np.ndarray | None = None) -> SampleFigures:
    """The figures of samples.

    A sample counts as memorised if it is nearer to a training window, in any key, than 19 of 20 held-out windows are,
    or equal to one. Of held-out music one window in twenty is.

    Args:
        drawn: int32[window, measure, slot, field], of the metres of the held-out windows.
        real: the music that they are compared with.
        codec: of both.
        decoded: int32[window, measure, slot, field], from the posteriors of the held-out windows.
    """
    held_out, known = real.held_out, real.known
    some = np.arange(min(len(drawn), len(known.tokens))) * len(known.tokens) // max(len(drawn), 1)
    true, nothing = coherence_features(held_out.tokens, held_out.metre, codec), np.zeros(0)

    def overlap(tokens: np.ndarray, metre: np.ndarray = held_out.metre) -> dict[str, float]:
        found = coherence_features(tokens, metre, codec)
        return {name: overlapping_area(found.get(name, nothing), values) for name, values in true.items()}

    distances = nearest_distances(drawn, held_out.metre, known.tokens, known.metre, codec)
    threshold = float(np.nanpercentile(real.distances, _PERCENTILE))
    return SampleFigures(
        windows=len(drawn),
        overlap=overlap(drawn),
        overlap_of_training=overlap(known.tokens[some], known.metre[some]),
        overlap_of_posteriors={} if decoded is None else overlap(decoded),
        diversity=mean_distance(drawn, held_out.metre, codec),
        diversity_of_held_out=mean_distance(held_out.tokens, held_out.metre, codec, held_out.families),
        nearest=float(np.nanmedian(distances)),
        nearest_of_held_out=float(np.nanmedian(real.distances)),
        threshold=threshold,
        memorised=float(np.mean((distances < threshold) | (distances == 0))),
    )


def _whole(source: WindowSource, num_windows: int | None) -> Music:
    """Windows at even distances, without those that lack measures."""
    parts = []
    for batch in make_eval_batches(source, _BATCH, num_examples=num_windows):
        whole = (batch.metre[..., 0] > 0).all(1)
        parts.append((batch.tokens[whole], batch.metre[whole], batch.index[whole]))
    tokens, metre, index = (np.concatenate(leaves) for leaves in zip(*parts, strict=True))
    families = Families(source)(index) if num_windows and len(index) else index
    return Music(tokens, metre, families)
