"""Conditions asked for against those that are heard in what the prior and the decoder then make."""

from typing import Any

import jax
import numpy as np

from musicvae_jax.data.attributes import window_attributes
from musicvae_jax.data.load import load_windows
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.data.windows import Families
from musicvae_jax.evaluation.detectors import HEARD, Detector, fit_detector
from musicvae_jax.evaluation.figures import ConditionFigures, HeardFigures
from musicvae_jax.evaluation.novelty import mean_distance
from musicvae_jax.evaluation.trained import TrainedVAE
from musicvae_jax.inference import reconstruct, sample_prior
from musicvae_jax.models.sampling import SamplingConfig, sample_tokens
from musicvae_jax.objectives.loss import elbo_terms
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.types import ATTRIBUTES, Batch, existing_fields, span_name

_COLUMNS = {attribute.name: column for column, attribute in enumerate(ATTRIBUTES)}
_MEASURED = {name for name in _COLUMNS if name not in HEARD}


def condition_figures(
    vae: TrainedVAE, split: str, *, guidance: float = 1.0, num_windows: int = 512, seed: int = 0
) -> ConditionFigures | None:
    """What a model makes of conditions, against the same detectors on real music.

    Half of the families of a split fit the detectors. The windows of the other half say which conditions and metres
    are asked for: each condition alone, all together, and none.

    Args:
        vae: a model with conditions.
        split: of held-out music, such as ``"validation"``.
        guidance: how strongly what is made follows what is asked for, see `TrainedVAE.sample`.
        num_windows: so many windows, spread evenly, or all if there are fewer.
        seed: of the halves and of the draws.

    Returns:
        None where the windows are of one family, so that one half has none.
    """
    source, names = load_windows(vae.config, split), vae.conditions.names
    source.tell(vae.conditions)
    number = min(num_windows, len(source))
    (batch,) = make_eval_batches(source, number, num_examples=number)
    families = Families(source)(batch.index)
    first = _half(families, seed)
    if first.all():
        return None
    fitting, held = (jax.tree.map(lambda leaf, rows=rows: leaf[rows], batch) for rows in (first, ~first))
    nothing = np.full_like(held.conditions, np.nan)
    strength = guidance if guidance > 1 else None
    unasked, together = _make(vae, held, nothing, None, seed), _make(vae, held, held.conditions, strength, seed)
    heard = {}
    for column, name in enumerate(names):
        wanted = held.conditions[:, column]
        detector = fit_detector(name, fitting, vae.codec, fitting.conditions[:, column]) if name in HEARD else None
        if detector is None and name not in _MEASURED:
            continue
        one = np.where(np.arange(len(names)) == column, held.conditions, np.nan)
        alone = _make(vae, held, one, strength, seed)
        agreements = [_agreement(vae, name, detector, made, wanted) for made in (held, alone, together, unasked)]
        heard[name] = HeardFigures(int(np.isfinite(wanted).sum()), *agreements)
    return ConditionFigures(
        windows=number,
        guidance=guidance,
        perplexity_elbo=_perplexity(vae, held._replace(conditions=nothing), seed),
        perplexity_elbo_told=_perplexity(vae, held, seed),
        heard=heard,
        diversity=mean_distance(together.tokens, together.metre, vae.codec),
        diversity_unasked=mean_distance(unasked.tokens, unasked.metre, vae.codec),
        diversity_of_held_out=mean_distance(held.tokens, held.metre, vae.codec, families[~first]),
    )


def _half(families: np.ndarray, seed: int) -> np.ndarray:
    """The windows of about half of the families: bool[window]."""
    different, inverse = np.unique(families, return_inverse=True)
    chosen: np.ndarray = np.random.default_rng(seed).permutation(len(different)) * 2 < len(different)
    return chosen[inverse]


def _make(vae: TrainedVAE, like: Batch, conditions: np.ndarray, guidance: float | None, seed: int) -> Batch:
    """Windows from the prior with the metres of others, under float[window, condition], NaN where nothing is asked."""
    key, metre, mask = jax.random.key(seed), like.metre, vae.codec.slot_mask(like.metre)
    known = conditions.astype(np.float32)
    keys = row_keys(stream(key, "prior"), np.arange(len(metre)))
    told: dict[str, Any] = {"conditions": known, "guidance": guidance}
    latents = sample_prior(vae.model, vae.variables, metre, keys, **told)
    own = stream(key, "tokens")
    tokens = sample_tokens(vae.model, vae.variables, latents, metre, mask, own, SamplingConfig(), **told)
    return Batch(np.asarray(tokens), mask, metre, like.index)


def _agreement(vae: TrainedVAE, name: str, detector: Detector | None, made: Batch, wanted: np.ndarray) -> float:
    """Share of windows in which the detector hears what was asked for; of a number, the squared correlation."""
    if detector is not None:
        found = detector(made, vae.codec)
        known = np.isfinite(wanted)
        return float((found == wanted)[known].mean()) if known.any() else np.nan
    found = window_attributes(made, vae.codec, spans=(0,))[span_name(0)][:, 0, _COLUMNS[name]]
    known = np.isfinite(wanted) & np.isfinite(found)
    if known.sum() < 3 or not (np.ptp(found[known]) and np.ptp(wanted[known])):
        return np.nan
    return float(np.corrcoef(found[known], wanted[known])[0, 1] ** 2)


def _perplexity(vae: TrainedVAE, batch: Batch, seed: int) -> float:
    """exp((nll + kl) / tokens) with one draw of each posterior."""
    keys = row_keys(stream(jax.random.key(seed), "evaluation"), batch.index)
    terms = elbo_terms(reconstruct(vae.model, vae.variables, batch, keys), batch)
    tokens = existing_fields(batch.tokens, batch.mask, vae.codec.fields).sum()
    return float(np.exp(np.asarray(terms.nll + terms.total_kl, np.float64).sum() / tokens))
