import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.image import imread

from musicvae_jax.analysis.curves import plot_training_curves, smooth
from musicvae_jax.analysis.figures import OKABE_ITO
from musicvae_jax.analysis.plots import match_notes, plot_interpolation, plot_reconstruction, plot_samples
from musicvae_jax.analysis.rolls import EXTRA, MATCHED, MISSED, piano_roll, pitch_range
from musicvae_jax.analysis.scaling import plot_scaling
from tests.analysis.scores import SCALE, make_score
from tests.pictures import assert_picture

CHORDS = [(0, 2, 60), (0, 2, 64, 1), (0, 2, 67, 2), (3, 9, 48), (3, 0.5, 72, 1), (12, 4, 60)]
melodies = st.lists(
    st.tuples(st.sampled_from([0, 1, 2, 3, 4.5, 6.125]), st.sampled_from([0.25, 1, 1.5]), st.integers(58, 62)),
    max_size=8,
)


def boxes(ax):
    (collection,) = ax.collections
    return [path.vertices for path in collection.get_paths()]


def test_a_box_for_every_note_in_its_place():
    score = make_score(CHORDS, measures=4)
    found = sorted((min(box[:, 0]), round(box[:, 1].mean())) for box in boxes(piano_roll(score)))
    assert found == sorted((onset * 480, pitch) for onset, _, pitch, *_ in CHORDS)


def test_boxes_end_just_before_the_note_does():
    score = make_score(CHORDS, measures=4)
    ends = score.notes[:, 0] + score.notes[:, 1]
    for box, end, duration in zip(boxes(piano_roll(score)), ends, score.notes[:, 1], strict=True):
        assert 0 < end - box[:, 0].max() <= 0.4 * duration


@pytest.mark.parametrize(("measures", "count"), [((0, 1), 5), ((1, 2), 1), ((2, 3), 1), ((3, 4), 1), ((0, 4), 6)])
def test_notes_that_sound_in_the_measures_are_drawn(measures, count):
    ax = piano_roll(make_score(CHORDS, measures=4), measures=measures)
    assert len(boxes(ax)) == count
    assert ax.get_xlim() == (measures[0] * 1920, measures[1] * 1920)


def test_bar_lines_and_metres_are_named():
    ax = piano_roll(make_score(SCALE, measures=3, metre=(6, 8)))
    assert [label.get_text().strip() for label in ax.get_xticklabels()] == ["1\n6/8", "2", "3"]
    assert ax.get_xticks().tolist() == [0, 1440, 2880]
    assert "C4" in [label.get_text() for label in ax.get_yticklabels()]
    assert ax.get_yticks()[[label.get_text() for label in ax.get_yticklabels()].index("C4")] == 60


@pytest.mark.parametrize("measures", [0, 2])
def test_no_notes_make_an_empty_picture(measures, tmp_path):
    score = make_score([], measures=measures)
    assert boxes(piano_roll(score)) == []
    assert plot_reconstruction(score, score, tmp_path / "a.png") == {"matched": 0, "missed": 0, "extra": 0}


@given(melodies, melodies)
def test_matching_is_symmetric_one_to_one_and_no_better_than_possible(mine, theirs):
    first, second = make_score(mine), make_score(theirs)
    kept, found = match_notes(first, second)
    again, swapped = match_notes(second, first)
    assert kept.sum() == found.sum() == again.sum() == swapped.sum()
    shared = {(row[0], row[2]) for row in first.notes.tolist()} & {(row[0], row[2]) for row in second.notes.tolist()}
    assert kept.sum() >= len(shared)  # equal notes always match
    for pitch in range(58, 63):
        assert kept[first.notes[:, 2] == pitch].sum() == found[second.notes[:, 2] == pitch].sum()


@given(melodies)
def test_a_score_matches_itself(notes):
    kept, found = match_notes(make_score(notes), make_score(notes))
    assert kept.all()
    assert found.all()


def test_half_a_sixteenth_is_the_tolerance():
    for late, matched in ((0.125, True), (0.13, False), (-0.125, True), (-0.13, False)):
        kept, _ = match_notes(make_score([(1, 1, 60)]), make_score([(1 + late, 1, 60)]))
        assert kept.tolist() == [matched]


def test_reconstruction_counts_and_paints_each_kind(tmp_path):
    original = make_score(SCALE, title="costs $5 and $6")
    reconstruction = make_score([*SCALE[2:], (0, 1, 70), (1, 1, 71), (1.5, 0.5, 72)])
    counts = plot_reconstruction(original, reconstruction, tmp_path / "new" / "a.png")
    assert counts == {"matched": 6, "missed": 2, "extra": 3}
    colours = {to_hex(pixel) for pixel in np.unique(imread(tmp_path / "new" / "a.png").reshape(-1, 4), axis=0)}
    assert {style.edge.lower() for style in (MATCHED, MISSED, EXTRA)} <= colours
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


def test_reconstruction_of_another_length(tmp_path):
    counts = plot_reconstruction(make_score(SCALE, measures=20), make_score(SCALE, measures=3), tmp_path / "a.png")
    assert counts["matched"] == len(SCALE)


def test_long_pieces_take_more_lines(tmp_path):
    heights = []
    for measures in (8, 9, 17):
        plot_samples([make_score(SCALE, measures=measures)], tmp_path / "a.png")
        heights.append(imread(tmp_path / "a.png").shape[0])
    assert heights[2] - heights[1] == pytest.approx(heights[1] - heights[0], abs=1)
    assert heights[0] < heights[1]


def test_samples_and_interpolations_are_as_wide_as_a_page(tmp_path):
    scores = [make_score(SCALE[: n + 1], metre=(3, 4), measures=3) for n in range(5)]
    for name, draw in (("grid", plot_samples), ("path", plot_interpolation)):
        draw(scores, tmp_path / f"{name}.png")
        image = imread(tmp_path / f"{name}.png")
        assert image.shape[1] == 1200
        assert image.shape[0] > 300


def test_too_few_scores_are_refused(tmp_path):
    with pytest.raises(ValueError, match="scores is empty"):
        plot_samples([], tmp_path / "a.png")
    with pytest.raises(ValueError, match="1 scores to interpolate"):
        plot_interpolation([make_score(SCALE)], tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_pitch_range_holds_all_and_at_least_an_octave():
    assert pitch_range(make_score([(0, 1, 40)]), make_score([(0, 1, 80)])) == (40, 80)
    assert pitch_range(make_score([(0, 1, 60)])) == (54, 66)
    assert pitch_range(make_score([])) == (60, 72)


def write_metrics(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_training_curves_draw_what_there_is(tmp_path):
    names = ["loss", "nll", "kl", "kl_global", "kl_local", "learning_rate", "grad_norm", "tokens_per_second"]
    rows = [{"step": step, **dict.fromkeys(names, step**0.5)} for step in range(1, 50)]
    rows += [{"step": 25, "validation_nll": float("nan")}, {"step": 49, "validation_nll": 2.0, "validation_kl": 3.0}]
    images = []
    for kept in (rows[:1], rows):
        write_metrics(tmp_path / "metrics.jsonl", kept)
        plot_training_curves(tmp_path / "metrics.jsonl", tmp_path / "a.png")
        images.append(imread(tmp_path / "a.png"))
    assert images[0].shape == images[1].shape  # the same panels, whether there is one row or many
    first = next(iter(OKABE_ITO.values())).lower()
    for half in np.array_split(images[1], 2):
        for panel in np.array_split(half, 3, axis=1):  # loss, nll, KL; learning rate, gradient norm, speed
            assert first in {to_hex(pixel) for pixel in np.unique(panel.reshape(-1, 4), axis=0)}


def test_training_curves_of_nothing_are_refused(tmp_path):
    for rows in ([], [{"step": 1}], [{"step": 1, "loss": float("inf")}]):
        write_metrics(tmp_path / "metrics.jsonl", rows)
        with pytest.raises(ValueError, match="no rows to draw"):
            plot_training_curves(tmp_path / "metrics.jsonl", tmp_path / "a.png")
    with pytest.raises(ValueError, match="smoothing = -1"):
        plot_training_curves(tmp_path / "metrics.jsonl", tmp_path / "a.png", smoothing=-1)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.integers(0, 40))
def test_smoothing_keeps_constants_and_bounds(values, width):
    array = np.array(values)
    smoothed = smooth(array, width)
    assert smoothed.shape == array.shape
    assert array.min() - 1e-6 <= smoothed.min()
    assert smoothed.max() <= array.max() + 1e-6
    np.testing.assert_allclose(smooth(np.full(9, 3.0), width), 3.0, rtol=1e-12)
    np.testing.assert_array_equal(smooth(array, 1), array)
    if width % 2 and width <= len(array):
        near = [array[max(0, place - width // 2) : place + width // 2 + 1].mean() for place in range(len(array))]
        np.testing.assert_allclose(smoothed, near, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("measures", [(4, 8), (4, 16, 64)])
def test_scaling_is_drawn_with_and_without_sixteen_measures(measures, tmp_path):
    plot_scaling({m: 1 + 1 / m for m in measures}, tmp_path / "scaling.png")
    assert_picture(tmp_path / "scaling.png")
