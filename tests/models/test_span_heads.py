"""Laws of the span heads: distributions over music that know a span's rhythm, and its pitches without their order."""

import dataclasses
import itertools
from functools import partial

import jax
import numpy as np

from musicvae_jax.types import LEVELS, Batch, existing_fields, until_end
from tests.models.variants import THREE, make_latents
from tests.tiny import ENDING, FIELDS, SLOTS, make_batch, make_vae

CONFIG = dataclasses.replace(THREE, span_heads=("global", "local", "fine"))
SLOT = list(itertools.product(range(5), range(3)))


@partial(jax.jit, static_argnums=0)
def span_nll(vae, variables, latents, batch):
    heads = lambda module: {level: head(latents, batch) for level, head in module.span_heads.items()}  # noqa: E731
    return vae.apply(variables, method=heads)


def total_probability(windows, fields):
    """The sum over all windows of two measures or one, whose slots are listed in order."""
    tokens = np.zeros((len(windows), 2, SLOTS, 2), np.int32)
    allowed = np.zeros(tokens.shape[:3], bool)
    for place in range(2):  # the first slot of each measure on a grid, the first two of one measure in a list of notes
        measure, slot = (place, 0) if fields == FIELDS else (0, place)
        tokens[:, measure, slot] = [window[place] for window in windows]
        allowed[:, measure, slot] = True
    mask = until_end(tokens, allowed, fields)
    assert existing_fields(tokens, mask, fields)[allowed].any()
    batch = Batch(tokens, mask, np.full((len(tokens), 2, 2), 4), np.arange(len(tokens)))
    latents = {level: np.repeat(z, len(tokens), 0) for level, z in make_latents(CONFIG, 1, 2).items()}
    found = span_nll(*make_vae(CONFIG, fields), latents, batch)
    return {level: np.exp(-np.asarray(nll, np.float64)).sum() for level, nll in found.items()}


def test_probabilities_of_all_windows_add_up_to_one():
    for total in total_probability(list(itertools.product(SLOT, SLOT)), FIELDS).values():
        np.testing.assert_allclose(total, 1, rtol=1e-5)


def test_probabilities_of_all_lists_of_notes_add_up_to_one():
    """END alone, a note and END, or two notes and what follows them: 1 + 12 + 12 x 12 windows."""
    notes = [slot for slot in SLOT if slot[0]]
    windows = [((0, 0), (0, 0)), *((note, (0, 0)) for note in notes), *itertools.product(notes, notes)]
    for total in total_probability(windows, ENDING).values():
        np.testing.assert_allclose(total, 1, rtol=1e-5)


def test_order_inside_a_span_counts_only_for_where_zeros_are():
    """Exchanging what begins at two slots of a span changes nothing; exchanging it with a zero does; so does leaving
    the span."""
    vae, variables = make_vae(CONFIG)
    batch = make_batch(2)
    batch = jax.tree.map(lambda leaf: leaf[1:], batch)  # three measures of three slots: phrases of two and of one
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


def test_a_head_reads_its_level_and_those_above():
    vae, variables = make_vae(CONFIG)
    batch, latents = make_batch(), make_latents(CONFIG)
    before = span_nll(vae, variables, latents, batch)
    for number, level in enumerate(LEVELS):
        after = span_nll(vae, variables, latents | {level: latents[level] + 1}, batch)
        for other in LEVELS[:number]:
            np.testing.assert_array_equal(before[other], after[other])
        for other in LEVELS[number:]:
            assert (before[other] != after[other]).all()
