"""Attributes of rhythm. Notes that start together are one onset, so pitches and voices do not matter.

The last onset of a cell reaches to the cell's end: a cell's rhythm is a matter of its own notes alone.
"""

import numpy as np

from musicvae_jax.codec.attributes.cells import Cells, entropy, mean, occurrences, ratio, total
from musicvae_jax.codec.attributes.metrical import Pulses, depths


def rhythm(cells: Cells, tree: Pulses) -> dict[str, np.ndarray]:
    """float64[cell] each, NaN where undefined.

    note_density: notes (not onsets) per quarter; 0 in silence.

    syncopation: mean over onsets of the strength of the syncopation that starts there (Longuet-Higgins & Lee 1984): how
    many levels of the metre's tree the strongest position that is skipped before the next onset lies above the onset,
    or 0. NaN without an onset.

    rhythmic_complexity: the depths of the onsets in the metre's tree, summed, over the sum of the depths of all
    positions of its finest level (sixteenths, as a rule): 0 for downbeats only, 1 where every sixteenth starts a note.
    It says in every metre what AR-VAE's table of weights says in 4/4.

    onset_entropy: entropy in nats of the lengths from onset to onset. NaN without an onset.
    """
    first, cell = cells.first, cells.onset_cell
    measure, gap = cells.measure[first], cells.gap
    position = cells.notes.onset[first]
    ticks = tree.ticks[measure]
    depth = depths(position, ticks, tree.levels[measure])

    # Of the positions between this onset and the next, the strongest: a downbeat that is passed over, or else the
    # coarsest pulse strictly between them.
    following, length = position + gap, cells.measure_ticks[measure]
    within = np.minimum(following, length)[:, None]
    between = (within - 1) // ticks > position[:, None] // ticks
    skipped = np.where(between.any(1), between.argmax(1), depth)
    skipped = np.where(following > length, 0, skipped)
    strength = np.maximum(depth - skipped, 0)

    gap_cell, gap_count = occurrences(cell, gap)
    full = total(cells.measure_cell, cells.num, tree.full)
    return {
        "note_density": ratio(total(cells.cell, cells.num), cells.quarters),
        "syncopation": mean(cell, cells.num, strength),
        "rhythmic_complexity": ratio(total(cell, cells.num, depth), full),
        "onset_entropy": entropy(gap_cell, cells.num, gap_count),
    }
