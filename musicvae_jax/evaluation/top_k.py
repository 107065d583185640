"""The top-k test: how much of a window comes back from its k coarsest levels, the others drawn from their priors."""

import numpy as np

from musicvae_jax.codec.attributes import SPANS
from musicvae_jax.evaluation.bootstrap import Bootstrap, estimate
from musicvae_jax.evaluation.level_codes import from_prior, infer
from musicvae_jax.evaluation.likeness import Likeness, compare
from musicvae_jax.evaluation.reconstruction import of_rows
from musicvae_jax.evaluation.trained import TrainedVAE
from musicvae_jax.models.sampling import SamplingConfig, sample_tokens
from musicvae_jax.rng import stream
from musicvae_jax.types import Array, Batch

SHUFFLED = "shuffled"


def decode_top_k(
    vae: TrainedVAE, batch: Batch, placed: Batch, other: np.ndarray, key: Array, num_draws: int
) -> dict[str, Likeness]:
    """Decodes windows from their first k levels, for every k, and from the code of another piece.

    All k share the noise of a draw, so that a difference is of what they know.

    Args:
        vae: the model, its variables on all devices.
        batch: windows, on the host.
        placed: the same on the devices.
        other: int32[batch], for every row the row of another piece.
        key: of posteriors, priors and tokens.
        num_draws: decodings of each.

    Returns:
        ``"top_<k>"`` and `SHUFFLED` -> how like the originals they are.
    """
    levels = list(vae.config.model.widths)
    allowed = vae.codec.slot_mask(np.asarray(batch.metre))  # not the mask: how many notes there are is not given away
    draws: dict[str, list[np.ndarray]] = {}
    for draw in range(num_draws):
        drawn = stream(key, "top k", draw)
        posterior, _ = infer(vae.model, vae.variables, placed, drawn, {})
        codes = {SHUFFLED: of_rows(posterior, other)}
        for k in range(len(levels) + 1):
            given = {level: posterior[level] for level in levels[:k]}
            codes[f"top_{k}"] = from_prior(vae.model, vae.variables, placed, drawn, given, {})
        for name, latents in codes.items():
            tokens = sample_tokens(
                vae.model, vae.variables, latents, placed.metre, allowed, stream(drawn, "tokens"), SamplingConfig()
            )
            draws.setdefault(name, []).append(np.asarray(tokens))
    return {name: compare(tokens, batch, vae.codec) for name, tokens in draws.items()}


def top_k_figures(
    bootstrap: Bootstrap, originals: dict[str, np.ndarray], found: dict[str, Likeness], strata: np.ndarray
) -> dict[str, float]:
    """The figures of evaluation.json; `information_flow` says what they mean.

    Args:
        bootstrap: over the windows.
        originals: span -> float64[window, time, attribute].
        found: as `decode_top_k` gave it.
        strata: int[window], equal for windows of the same metres.
    """
    values: dict[str, dict[str, np.ndarray]] = {}
    for name, likeness in found.items():
        sums, kinds = likeness.sums, values.setdefault(name, {})
        for span in SPANS:
            pair = originals[span], likeness.attributes[span]
            kinds[f"r2_{span}"] = bootstrap.squared_correlation(*pair)
            kinds[f"r2_{span}_within_metre"] = bootstrap.squared_correlation(*pair, strata)
        for kind in ("chroma", "rhythm"):
            kinds[kind] = bootstrap.ratio(sums[kind], sums["measures"])
        kinds["onset_f1"] = bootstrap.ratio(2 * sums["hits"], sums["found"] + sums["wanted"])
    for k in range(1, len(found) - 1):
        pairs = values[f"top_{k}"].items()
        values[f"top_{k}_minus_top_{k - 1}"] = {kind: value - values[f"top_{k - 1}"][kind] for kind, value in pairs}
    figures: dict[str, float] = {}
    for name, kinds in values.items():
        for kind, value in kinds.items():
            figures |= estimate(f"{name}_{kind}", value)
    return figures
