"""Laws of the span heads: distributions over music that know the rhythm of a span, and its pitches without order."""

import itertools
from functools import partial

import jax
import numpy as np
import pytest

from musicvae_jax.types import LEVELS, Batch, until_end
from tests.models.variants import THREE, each, make_latents
from tests.tiny import ENDING, FIELDS, SLOTS, make_batch, make_vae, replace

CONFIG = replace(THREE, objective={"span_weight": 0.1}, **each(span_head=True))
SLOT = list(itertools.product(range(5), range(3)))


@partial(jax.jit, static_argnums=0)
def span_nll(vae, variables, latents, batch):
    heads = lambda module: {level: head(latents, batch) for level, head in module.span_heads.items()}  # noqa: E731
    return vae.apply(variables, method=heads)


NOTES = [slot for slot in SLOT if slot[0]]
# All windows of the first slot of each of two measures on a grid; all measures of one or two notes or none, and END.
ON_A_GRID = list(itertools.product(SLOT, SLOT))
OF_NOTES = [((0, 0), (0, 0)), *((note, (0, 0)) for note in NOTES), *itertools.product(NOTES, NOTES)]


@pytest.mark.parametrize(
    ("fields", "windows", "slots"), [(FIELDS, ON_A_GRID, ((0, 0), (1, 0))), (ENDING, OF_NOTES, ((0, 0), (0, 1)))]
)
def test_probabilities_of_all_windows_sum_to_one(fields, windows, slots):
    tokens = np.zeros((len(windows), 2, SLOTS, 2), np.int32)
    allowed = np.zeros(tokens.shape[:3], bool)
    for number, (measure, slot) in enumerate(slots):
        tokens[:, measure, slot] = [window[number] for window in windows]
        allowed[:, measure, slot] = True
    mask = until_end(tokens, allowed, fields)
    batch = Batch(tokens, mask, np.full((len(tokens), 2, 2), 4), np.arange(len(tokens)))
    latents = {level: np.repeat(z, len(tokens), 0) for level, z in make_latents(CONFIG, 1, 2).items()}
    for nll in span_nll(*make_vae(CONFIG, fields), latents, batch).values():
        np.testing.assert_allclose(np.exp(-np.asarray(nll, np.float64)).sum(), 1, rtol=1e-5)


def test_the_order_of_other_classes_inside_a_span_does_not_count():
    """To exchange two notes of a span changes nothing; to exchange a note with a zero or with another span does."""
    vae, variables = make_vae(CONFIG)
    batch = make_batch(2)
    batch = jax.tree.map(lambda leaf: leaf[1:], batch)  # three measures of three slots, local spans of two and one
    batch.tokens[:, :, :3, 0] = [[1, 0, 2], [3, 4, 0], [1, 2, 4]]
    nll = partial(span_nll, vae, variables, make_latents(CONFIG, 1))
    before = nll(batch)

    def exchanged(first, second):
        tokens = batch.tokens.copy()
        tokens[0, *first, 0], tokens[0, *second, 0] = batch.tokens[0, *second, 0], batch.tokens[0, *first, 0]
        after = nll(batch._replace(tokens=tokens))
        return {level: not np.allclose(before[level], after[level], rtol=1e-6) for level in LEVELS}

    assert exchanged((0, 0), (0, 2)) == {"global": False, "local": False, "fine": False}
    assert exchanged((0, 0), (1, 1)) == {"global": False, "local": False, "fine": True}
    assert exchanged((1, 0), (2, 2)) == {"global": False, "local": True, "fine": True}
    assert exchanged((0, 0), (0, 1)) == {"global": True, "local": True, "fine": True}


def test_a_head_reads_its_own_level_and_those_above():
    vae, variables = make_vae(CONFIG)
    batch, latents = make_batch(), make_latents(CONFIG)
    before = span_nll(vae, variables, latents, batch)
    for number, level in enumerate(LEVELS):
        after = span_nll(vae, variables, latents | {level: latents[level] + 1}, batch)
        for other in LEVELS[:number]:
            np.testing.assert_array_equal(before[other], after[other])
        for other in LEVELS[number:]:
            assert (before[other] != after[other]).all()
