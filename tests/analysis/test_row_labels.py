"""The labels at the left of rows lie within the page, however wide the rolls are."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from musicvae_jax.analysis.latent_plots import plot_traversal
from musicvae_jax.analysis.paths import Traversal
from musicvae_jax.analysis.piano_rolls import plot_variants
from musicvae_jax.evaluation.likeness import NAMES
from tests.analysis.scores import SCALE, make_score


def assert_labels_inside(figure):
    FigureCanvasAgg(figure).draw()
    assert all(ax.yaxis.label.get_window_extent().x0 >= 0 for ax in figure.axes)


@pytest.mark.parametrize("steps", [3, 5, 7])
def test_of_a_traversal(steps):
    names, score = ("global/dynamics[11]",), make_score(SCALE)
    values = np.zeros((1, steps, 1, len(NAMES)))
    assert_labels_inside(plot_traversal(Traversal(names, np.linspace(-1, 1, steps), [[[score]] * steps], values)))


def test_of_variants():
    score = make_score(SCALE)
    assert_labels_inside(plot_variants(score, [score] * 10))
