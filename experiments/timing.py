"""What the timing scripts share: median times, and samplers of an untrained model."""

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from musicvae_jax.config import Config


def median_seconds(calls: dict[Any, Callable[[], object]], rounds: int) -> dict[Any, float]:
    """Median time of each call, after one call to warm up.

    The calls take turns: the speed of a busy machine drifts, and this way all calls see the same drift.
    """
    seconds: dict[Any, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def make_samplers(config: Config, metres: Sequence[np.ndarray]) -> list[Callable[[], Any]]:
    """Decoding of fixed prior latents with an untrained model, for each metre int32[example, measure, 2].

    A sampler returns tokens int32[example, measure, slot, field] when they are computed.
    """
    import jax

    from musicvae_jax.codec import make_codec
    from musicvae_jax.inference import sample_prior
    from musicvae_jax.models.sampling import SamplingConfig, sample_tokens
    from musicvae_jax.rng import row_keys
    from musicvae_jax.training.parallel import everywhere
    from musicvae_jax.training.state import evaluation_variables, init_state, make_model

    codec = make_codec(config.codec)
    model = make_model(config, codec.fields)
    variables = jax.device_put(evaluation_variables(jax.jit(partial(init_state, config, model))()), everywhere())
    key = jax.random.key(0)

    def sampler(metre: np.ndarray) -> Callable[[], Any]:
        latents = sample_prior(model, variables, metre, row_keys(key, np.arange(len(metre))))
        mask = codec.slot_mask(metre)
        return lambda: sample_tokens(model, variables, latents, metre, mask, key, SamplingConfig()).block_until_ready()

    return [sampler(metre) for metre in metres]
