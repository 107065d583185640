"""Piano rolls and saving them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.image import imread

from musicvae_jax.analysis import piano_rolls as rolls
from musicvae_jax.analysis.page import save_figure
from musicvae_jax.config import UserError
from tests.analysis.scores import SCALE, make_score

CHORDS = [(0, 2, 60), (0, 2, 64, 1), (0, 2, 67, 2), (3, 9, 48), (3, 0.5, 72, 1), (12, 4, 60)]
TITLED = make_score(SCALE, title="costs $5 and $6")
melodies = st.lists(
    st.tuples(st.sampled_from([0, 1, 2, 3, 4.5, 6.125]), st.sampled_from([0.25, 1, 1.5]), st.integers(58, 62)),
    max_size=8,
)


def boxes(ax):
    (collection,) = ax.collections
    return [path.vertices for path in collection.get_paths()]


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_every_note_has_a_box_that_ends_just_before_the_note():
    score = make_score(CHORDS, measures=4)
    found = boxes(rolls.piano_roll(score))
    for box, (onset, duration, pitch, *_) in zip(found, score.notes, strict=True):
        assert (box[:, 0].min(), round(box[:, 1].mean())) == (onset, pitch)
        assert 0 < onset + duration - box[:, 0].max() <= 0.4 * duration


@pytest.mark.parametrize(("measures", "count"), [((0, 1), 5), ((1, 2), 1), ((2, 3), 1), ((3, 4), 1), ((0, 4), 6)])
def test_notes_that_sound_in_the_measures_are_drawn(measures, count):
    ax = rolls.piano_roll(make_score(CHORDS, measures=4), measures=measures)
    assert len(boxes(ax)) == count
    assert ax.get_xlim() == (measures[0] * 1920, measures[1] * 1920)


def test_ticks_name_measures_changes_of_metre_and_pitches():
    ax = rolls.piano_roll(make_score(SCALE, measures=3, metre=(6, 8)))
    assert [label.get_text().strip() for label in ax.get_xticklabels()] == ["1\n6/8", "2", "3"]
    assert ax.get_xticks().tolist() == [0, 1440, 2880]
    pitches = [label.get_text() for label in ax.get_yticklabels()]
    assert ax.get_yticks()[pitches.index("C4")] == 60


@pytest.mark.parametrize("measures", [0, 2])
def test_a_score_without_notes_has_a_picture(measures):
    score = make_score([], measures=measures)
    assert boxes(rolls.piano_roll(score)) == []
    assert legend_of(rolls.plot_reconstruction(score, score)) == ["0 in both", "0 missed", "0 extra"]


@given(melodies, melodies)
def test_matching_is_symmetric_one_to_one_and_contains_all_equal_notes(first_notes, second_notes):
    first, second = make_score(first_notes), make_score(second_notes)
    of_first, of_second = rolls.match_notes(first, second)
    again, swapped = rolls.match_notes(second, first)
    assert of_first.sum() == of_second.sum() == again.sum() == swapped.sum()
    equal = {(row[0], row[2]) for row in first.notes.tolist()} & {(row[0], row[2]) for row in second.notes.tolist()}
    assert of_first.sum() >= len(equal)
    for pitch in range(58, 63):
        assert of_first[first.notes[:, 2] == pitch].sum() == of_second[second.notes[:, 2] == pitch].sum()
    assert all(matched.all() for matched in rolls.match_notes(first, first))


@pytest.mark.parametrize(("late", "matched"), [(0.125, True), (0.13, False), (-0.125, True), (-0.13, False)])
def test_the_tolerance_of_a_match_is_half_a_sixteenth(late, matched):
    of_first, _ = rolls.match_notes(make_score([(1, 1, 60)]), make_score([(1 + late, 1, 60)]))
    assert of_first.tolist() == [matched]


def test_a_reconstruction_shows_and_counts_matched_missed_and_extra_notes(tmp_path):
    figure = rolls.plot_reconstruction(TITLED, make_score([*SCALE[2:], (0, 1, 70), (1, 1, 71), (1.5, 0.5, 72)]))
    assert legend_of(figure) == ["6 in both", "2 missed", "3 extra"]
    save_figure(figure, tmp_path / "a.png")
    colours = {to_hex(pixel) for pixel in np.unique(imread(tmp_path / "a.png").reshape(-1, 4), axis=0)}
    assert {style.edge.lower() for style in (rolls.MATCHED, rolls.MISSED, rolls.EXTRA)} <= colours


def test_a_reconstruction_may_have_another_length():
    figure = rolls.plot_reconstruction(make_score(SCALE, measures=20), make_score(SCALE, measures=3))
    assert legend_of(figure)[0] == f"{len(SCALE)} in both"


def test_variants_show_their_share_of_the_original_notes():
    half = make_score([*SCALE[:4], *((beat, 1, 40) for beat in range(4, 8))])
    figure = rolls.plot_variants(TITLED, [TITLED, half, make_score([]), make_score([(0, 1, 90)])])
    labels = [ax.get_ylabel().split("\n")[-1] for ax in figure.axes]
    assert labels == ["original", "100% shared", "50% shared", "0% shared", "0% shared"]
    assert rolls.plot_variants(TITLED, [half]).get_figheight() < figure.get_figheight()
    assert rolls.plot_variants(TITLED, [half], ["edited"]).axes[1].get_ylabel() == "edited\n50% shared"
    with pytest.raises(ValueError, match="2 labels for 1 variants"):
        rolls.plot_variants(TITLED, [half], ["a", "b"])


def test_long_scores_take_more_lines():
    heights = [rolls.plot_samples([make_score(SCALE, measures=measures)]).get_figheight() for measures in (8, 9, 17)]
    assert heights[2] - heights[1] == pytest.approx(heights[1] - heights[0])
    assert heights[0] < heights[1]


@pytest.mark.parametrize("plot", [rolls.plot_samples, rolls.plot_interpolation])
def test_each_of_several_scores_has_its_roll_on_a_page_of_ten_inches(plot):
    figure = plot([make_score(SCALE[: n + 1], metre=(3, 4), measures=3) for n in range(5)])
    assert [len(boxes(ax)) for ax in figure.axes] == [1, 2, 3, 4, 5]
    assert figure.get_figwidth() == 10


@pytest.mark.parametrize(
    ("plot", "arguments"), [("samples", [[]]), ("interpolation", [[TITLED]]), ("variants", [TITLED, []])]
)
def test_too_few_scores_are_refused(plot, arguments):
    with pytest.raises(ValueError, match="allowed is"):
        getattr(rolls, f"plot_{plot}")(*arguments)


def test_the_pitch_range_is_at_least_an_octave():
    assert rolls.pitch_range(make_score([(0, 1, 40)]), make_score([(0, 1, 80)])) == (40, 80)
    assert rolls.pitch_range(make_score([(0, 1, 60)])) == (54, 66)
    assert rolls.pitch_range(make_score([])) == (60, 72)


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_the_suffix_chooses_the_file_format(suffix, start, tmp_path):
    path = tmp_path / "new" / f"a.{suffix}"
    save_figure(rolls.plot_samples([TITLED]), path)
    written = path.read_bytes()
    assert written.startswith(start)
    assert list(path.parent.iterdir()) == [path]
    save_figure(rolls.plot_samples([TITLED]), path)
    assert path.read_bytes() == written  # equal figures give equal files
    save_figure(rolls.plot_samples([TITLED]).axes[0], path)
    assert path.read_bytes() == written  # axes stand for their figure
    with pytest.raises(UserError, match=r"a\.gif': allowed is"):
        save_figure(rolls.plot_samples([TITLED]), tmp_path / "a.gif")
    assert list(tmp_path.iterdir()) == [path.parent]
