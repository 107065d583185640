"""Laws of the attributes of any music."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.codec import WindowNotes
from musicvae_jax.codec.attributes import ATTRIBUTES, attributes, num_cells
from musicvae_jax.codec.attributes.cells import measure_ticks
from musicvae_jax.codec.score import Metre
from musicvae_jax.types import GROUPS, STANDARD_SPANS, span_name
from tests.codec.attributes.windows import COLUMN, batches, columns, one_window, window_notes


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for span, values in one.items():
        np.testing.assert_allclose(values, other[span], rtol=1e-5, atol=1e-5, err_msg=span)


@given(batches(), st.integers(-20, 20))
def test_transposition_changes_only_the_mean_pitch(batch, shift):
    notes, metre = batch
    before, after = attributes(notes, metre), attributes(notes._replace(pitch=notes.pitch + shift), metre)
    for values in before.values():
        values[..., COLUMN["mean_pitch"]] += shift
    assert_same(before, after)


@given(batches())
def test_reversal_in_time_changes_the_sign_of_crescendo_and_contour(batch):
    notes, metre = batch
    # The window as one measure, with its onsets reversed in time.
    length = measure_ticks(metre).sum(1)
    start = np.cumsum(measure_ticks(metre), 1) - measure_ticks(metre)
    tick = start[notes.row, notes.measure] + notes.onset
    one = np.zeros((len(metre), 1, 2), np.int64)
    one[:, 0] = np.stack([length // 15, np.where(length, 128, 0)], -1)  # of 128ths
    rows = np.stack(notes, -1)
    rows[:, 1] = 0
    forwards, backwards = rows.copy(), rows.copy()
    forwards[:, 2] = tick
    backwards[:, 2] = length[notes.row] - 1 - tick
    there = attributes(window_notes(forwards.tolist()), one, spans=[0])["window"]
    back = attributes(window_notes(backwards.tolist()), one, spans=[0])["window"]
    for name, sign in {"crescendo_slope": -1, "contour": -1, "mean_interval": 1, "velocity_spread": 1}.items():
        np.testing.assert_allclose(
            back[..., COLUMN[name]], sign * there[..., COLUMN[name]], rtol=1e-5, atol=1e-5, err_msg=name
        )


@given(batches())
def test_attributes_are_inside_their_bounds(batch):
    notes, metre = batch
    for span, values in attributes(notes, metre).items():
        bounds = {
            "note_density": (0, np.inf),
            "syncopation": (0, 9),
            "rhythmic_complexity": (0, np.inf),
            "onset_entropy": (0, math.log(max(len(notes.row), 1))),
            "mean_pitch": (20, 100),
            "pitch_range": (0, 80),
            "contour": (-80, 80),
            "mean_interval": (0, 80),
            "pitch_class_entropy": (0, math.log(12)),
            "scale_consistency": (7 / 12, 1),
            "tonal_tension": (0, math.sqrt(4 + 100 * 2 / 15)),  # ten fifths apart; eleven can be respelled as one
            "mean_velocity": (1, 60),
            "velocity_spread": (0, 29.5),
        }
        for name, (low, high) in bounds.items():
            found = values[..., COLUMN[name]]
            found = found[~np.isnan(found)]
            assert (found >= low - 1e-5).all() and (found <= high + 1e-5).all(), (span, name)


@given(batches())
def test_scaled_velocities_scale_only_the_dynamics(batch):
    notes, metre = batch
    before, after = attributes(notes, metre), attributes(notes._replace(velocity=2 * notes.velocity), metre)
    for values in before.values():
        values[..., columns("dynamics")] *= 2
    assert_same(before, after)


@given(batches())
def test_the_density_of_a_window_is_the_weighted_mean_over_its_measures(batch):
    notes, metre = batch
    found = attributes(notes, metre)
    ticks = measure_ticks(metre)
    measures = np.nan_to_num(found["measure"][..., COLUMN["note_density"]].astype(float))
    total = ticks.sum(1)
    expected = np.where(total > 0, (measures * ticks).sum(1) / np.maximum(total, 1), np.nan)
    np.testing.assert_allclose(found["window"][:, 0, COLUMN["note_density"]], expected, rtol=1e-5, atol=1e-6)


@given(batches(max_rows=5), st.randoms(use_true_random=False))
def test_rows_do_not_depend_on_each_other(batch, random):
    notes, metre = batch
    whole = attributes(notes, metre)
    order = list(range(len(metre)))
    random.shuffle(order)
    rows = np.stack(notes, -1)
    permuted = [(new, *row[1:]) for new, old in enumerate(order) for row in rows[notes.row == old].tolist()]
    shuffled = attributes(window_notes(permuted), metre[order])
    assert_same(shuffled, {span: values[order] for span, values in whole.items()})
    for row in range(len(metre)):
        mine = notes.row == row
        alone = attributes(WindowNotes(*(part[mine] for part in notes))._replace(row=notes.row[mine] * 0), metre[[row]])
        assert_same(alone, {span: values[[row]] for span, values in whole.items()})


@given(batches(), st.integers(1, 5))
def test_padding_is_nan_and_changes_no_other_values(batch, extra):
    notes, metre = batch
    before = attributes(notes, metre)
    longer = np.concatenate([metre, np.zeros((len(metre), extra, 2), metre.dtype)], 1)
    after = attributes(notes, longer)
    for span in STANDARD_SPANS:
        found, expected = after[span_name(span)], before[span_name(span)]
        size = expected.shape[1]
        assert found.shape == (len(metre), num_cells(span, longer.shape[1]), len(ATTRIBUTES))
        np.testing.assert_array_equal(found[:, :size], expected)
        assert np.isnan(found[:, size:]).all()
    assert np.isnan(before["measure"][metre[..., 0] == 0]).all()


@given(batches())
def test_silence_has_density_0_and_no_pitch_or_dynamics(batch):
    _, metre = batch
    found = attributes(window_notes([]), metre)
    for values in found.values():
        real = ~np.isnan(values[..., COLUMN["note_density"]])
        assert (values[real][:, COLUMN["note_density"]] == 0).all()
        assert (values[real][:, COLUMN["rhythmic_complexity"]] == 0).all()
        for name in ("syncopation", "onset_entropy", "mean_pitch", "pitch_range", "contour", "mean_interval"):
            assert np.isnan(values[..., COLUMN[name]]).all()
        assert np.isnan(values[..., columns("harmony") + columns("dynamics")]).all()


@given(batches(max_rows=2), st.sampled_from([1, 2, 4]))
@settings(max_examples=40)
def test_a_cell_of_any_span_is_a_window_of_its_measures(batch, span):
    notes, metre = batch
    (cells,) = attributes(notes, metre, spans=[span]).values()
    cells[..., [number for number, own in enumerate(ATTRIBUTES) if own.spans]] = np.nan  # not defined for windows
    start = np.cumsum(measure_ticks(metre), 1) - measure_ticks(metre)
    for number in range(cells.shape[1]):
        first = span * number
        inside = (notes.measure >= first) & (notes.measure < first + span)
        part = WindowNotes(*(values[inside] for values in notes))
        alone = attributes(part._replace(measure=part.measure - first), metre[:, first : first + span])["window"]
        expected = cells[:, [number]].copy()
        # In the cell tension also includes notes that began before it.
        ends = start[notes.row, notes.measure] + notes.onset + notes.duration
        if first < metre.shape[1] and (ends[notes.measure < first] > start[:, first].min()).any():
            expected[..., COLUMN["tonal_tension"]] = alone[..., COLUMN["tonal_tension"]]
        np.testing.assert_allclose(alone, expected, rtol=1e-5, atol=1e-5)


def test_results_have_the_names_of_their_spans():
    found = one_window([(0, 0, 480, 60)], *[Metre(4, 4)] * 5, spans=[1, 2, 4, 0])
    sizes = {span: len(values["note_density"]) for span, values in found.items()}
    assert sizes == {"measure": 5, "2_measures": 3, "phrase": 2, "window": 1}


def test_dynamics_can_be_left_out_and_style_is_given():
    notes = [(0, 0, 480, 60), (1, 0, 480, 62)]
    found = one_window(notes, Metre(4, 4), Metre(4, 4), velocities=False, style=np.array([3.0]))
    assert np.isnan(found["window"]["mean_velocity"]).all()
    assert found["measure"]["style"].tolist() == [3, 3]
    assert np.isnan(one_window(notes, Metre(4, 4), Metre(4, 4))["window"]["style"]).all()


def test_pitch_by_hand():
    # C4 E4 G4 C5 | B4, and below it in another track C3 held.
    notes = [(0, 0, 480, 60), (0, 480, 480, 64), (0, 960, 480, 67), (0, 1440, 480, 72), (1, 0, 1920, 71)]
    alone = one_window(notes, Metre(4, 4), Metre(4, 4))
    assert alone["measure"]["mean_pitch"].tolist() == [65.75, 71]
    assert alone["measure"]["pitch_range"].tolist() == [12, 0]
    assert alone["measure"]["contour"].tolist() == [12, 0]
    assert alone["measure"]["mean_interval"][0] == 4 and np.isnan(alone["measure"]["mean_interval"][1])
    assert alone["window"]["contour"].tolist() == [11]
    assert alone["window"]["mean_interval"].tolist() == [3.25]
    both = one_window([*notes, (0, 0, 3840, 48, 80, 1)], Metre(4, 4), Metre(4, 4))
    assert both["window"]["pitch_range"].tolist() == [24]
    assert both["window"]["contour"].tolist() == [5.5]  # mean of a line that rises by 11 and one that stays
    assert both["window"]["mean_interval"].tolist() == [3.25]


def test_the_line_of_chords_is_their_highest_notes():
    notes = [(0, 0, 480, 60), (0, 0, 480, 67), (0, 480, 480, 59), (0, 480, 480, 62), (0, 960, 480, 65)]
    found = one_window(notes, Metre(3, 4))["window"]
    assert found["contour"].tolist() == [-2]  # 67 62 65
    assert found["mean_interval"].tolist() == [4]


def test_dynamics_by_hand():
    # 40 50 60 on three quarters: 10 louder with every quarter.
    found = one_window([(0, 480 * n, 480, 60, 40 + 10 * n, 0) for n in range(3)], Metre(3, 4))["window"]
    assert found["mean_velocity"].tolist() == [50]
    assert found["velocity_spread"][0] == pytest.approx(math.sqrt(200 / 3), rel=1e-6)
    assert found["crescendo_slope"].tolist() == [10]
    chord = one_window([(0, 160, 480, 60, 40, 0), (0, 160, 480, 64, 90, 0)], Metre(3, 4))["window"]
    assert np.isnan(chord["crescendo_slope"]).all()


def test_attributes_are_in_the_order_of_the_groups():
    places = [GROUPS.index(attribute.group) for attribute in ATTRIBUTES]
    assert places == sorted(places) and set(places) == set(range(len(GROUPS)))
    assert len({attribute.name for attribute in ATTRIBUTES}) == len(ATTRIBUTES)
