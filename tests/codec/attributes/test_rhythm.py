"""Attributes of rhythm against their definitions, written as loops."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.codec.attributes.rhythm import levels_of, make_trees
from musicvae_jax.codec.score import Metre
from tests.codec.attributes.windows import METRES, one_window


@pytest.mark.parametrize(
    ("metre", "expected"),
    [
        ((4, 4), (1920, 960, 480, 240, 120)),
        ((2, 2), (1920, 960, 480, 240, 120)),
        ((3, 4), (1440, 480, 240, 120)),
        ((6, 8), (1440, 720, 240, 120)),
        ((12, 8), (2880, 1440, 720, 240, 120)),
        ((3, 8), (720, 240, 120)),
        ((5, 8), (1200, 240, 120)),
        ((7, 16), (840, 120, 60)),
        ((1, 4), (480, 240, 120)),
    ],
)
def test_levels_of_metres(metre, expected):
    assert levels_of(Metre(*metre)) == expected


def test_each_level_divides_the_one_above():
    for numerator, denominator in itertools.product(range(1, 33), [1, 2, 4, 8, 16, 32, 64]):
        levels = levels_of(Metre(numerator, denominator))
        assert all(above % below == 0 and above > below for above, below in itertools.pairwise(levels))
        unit = Metre(1, denominator).ticks
        assert unit in levels and levels[-1] <= min(120, unit / 2)


def depth_of(tick: int, metre: Metre) -> int:
    levels = levels_of(metre)
    return next((depth for depth, pulse in enumerate(levels) if tick % pulse == 0), len(levels))


def rhythm_by_loops(onsets: list[int], metres: list[Metre]) -> tuple[float, float, float]:
    """Syncopation, complexity and entropy of a window with distinct onsets."""
    starts = np.cumsum([0, *(metre.ticks for metre in metres)]).tolist()
    depth_at = {}
    full = 0
    for start, metre in zip(starts, metres, strict=False):
        for tick in range(0, metre.ticks, 5):
            depth_at[start + tick] = depth_of(tick, metre)
        full += sum(depth_of(tick, metre) for tick in range(0, metre.ticks, levels_of(metre)[-1]))
    strengths = []
    gaps = []
    for onset, following in zip(onsets, [*onsets[1:], starts[-1]], strict=True):
        skipped = [depth_at[tick] for tick in range(onset + 5, following, 5)]
        strengths.append(max(0, depth_at[onset] - min(skipped, default=99)))
        gaps.append(following - onset)
    counts = Counter(gaps).values()
    entropy = -sum(n / len(gaps) * math.log(n / len(gaps)) for n in counts)
    return sum(strengths) / len(strengths), sum(depth_at[onset] for onset in onsets) / full, entropy


@given(st.lists(st.sampled_from(METRES), min_size=1, max_size=3), st.data())
def test_rhythm_agrees_with_loops(metres, data):
    starts = np.cumsum([0, *(metre.ticks for metre in metres)])
    place = st.integers(0, int(starts[-1]) // 20 - 1).map(lambda number: number * 20)
    onsets = sorted(data.draw(st.sets(place, min_size=1, max_size=12)))
    measure = np.searchsorted(starts, onsets, side="right") - 1
    notes = [(m, onset - int(starts[m]), 60, 60) for m, onset in zip(measure.tolist(), onsets, strict=True)]
    found = one_window(notes, *metres)["window"]
    expected = rhythm_by_loops(onsets, metres)
    for name, value in zip(("syncopation", "rhythmic_complexity", "onset_entropy"), expected, strict=True):
        assert found[name][0] == pytest.approx(value, rel=1e-5, abs=1e-6), name
    assert found["note_density"][0] == pytest.approx(len(onsets) / (starts[-1] / 480), rel=1e-5)


def test_syncopation_by_hand():
    # The 3-3-4-2-4 clave on sixteenths 0 3 6 10 12. Levels: 0 is the measure, 1 half, 2 quarter, 3 eighth, 4 sixteenth.
    # 3 (level 4) skips the quarter at 4: 2. 6 (level 3) skips the half at 8: 2. The others skip nothing stronger.
    clave = [(0, 120 * place, 120, 60) for place in (0, 3, 6, 10, 12)]
    assert one_window(clave, Metre(4, 4))["window"]["syncopation"][0] == pytest.approx(4 / 5)
    # Quarters on the beat: none. An eighth tied over the bar line skips the downbeat: 3 levels, 1 of 4 onsets.
    assert one_window([(0, 480 * n, 480, 60) for n in range(4)], Metre(4, 4))["window"]["syncopation"][0] == 0
    tied = [(0, 0, 1680, 60), (0, 1680, 720, 60), (1, 480, 480, 60), (1, 960, 960, 60)]
    found = one_window(tied, Metre(4, 4), Metre(4, 4))
    assert found["window"]["syncopation"][0] == pytest.approx(3 / 4)
    assert found["measure"]["syncopation"].tolist() == [0, 0]  # a measure has only its own positions


@pytest.mark.parametrize("metre", METRES, ids=str)
def test_complexity_is_1_on_a_full_grid_and_0_on_downbeats(metre):
    step = levels_of(metre)[-1]
    full = one_window([(0, tick, step, 60) for tick in range(0, metre.ticks, step)], metre)
    assert full["window"]["rhythmic_complexity"][0] == pytest.approx(1)
    assert full["window"]["syncopation"][0] == 0
    assert full["window"]["onset_entropy"][0] == pytest.approx(0, abs=1e-6)
    downbeat = one_window([(0, 0, step, 60)], metre)
    assert downbeat["window"]["rhythmic_complexity"][0] == 0


def test_entropy_by_hand():
    # Gaps of 1, 1 and 2 quarters: log 3 - (2/3) log 2.
    found = one_window([(0, tick, 480, 60) for tick in (0, 480, 960)], Metre(4, 4))["window"]
    assert found["onset_entropy"][0] == pytest.approx(math.log(3) - 2 / 3 * math.log(2), rel=1e-6)


@given(st.sets(st.integers(0, 15), min_size=1), st.integers(2, 4))
def test_doubled_voices_change_only_the_density(places, num_voices):
    notes = [(0, 120 * place, 120, 60, 80, 0) for place in places]
    doubled = [(*note[:3], 60 + 3 * voice, 80, voice) for note in notes for voice in range(num_voices)]
    one, many = one_window(notes, Metre(4, 4))["window"], one_window(doubled, Metre(4, 4))["window"]
    for name in ("syncopation", "rhythmic_complexity", "onset_entropy", "arvae_note_density"):
        np.testing.assert_array_equal(one[name], many[name])
    np.testing.assert_allclose(many["note_density"], num_voices * one["note_density"])


def test_padding_has_no_levels():
    trees = make_trees(np.array([[4, 4], [0, 0], [6, 8]]))
    assert trees.levels.tolist() == [5, 0, 4] and trees.full.tolist()[1] == 0
    assert trees.full[0] == 1 + 2 * 2 + 4 * 3 + 8 * 4
