"""Pictures of latents."""

import numpy as np
import pytest

from musicvae_jax.analysis.attribution import Attribution
from musicvae_jax.analysis.latent_plots import plot_attribution, plot_kl_per_dim, plot_map, plot_traversal
from musicvae_jax.analysis.page import save_figure
from musicvae_jax.analysis.paths import Traversal
from musicvae_jax.config import UserError
from musicvae_jax.evaluation.likeness import NAMES
from tests.analysis.scores import SCALE, make_score
from tests.pictures import assert_picture

GRID = Traversal(
    ("fine/rhythm[0]", "fine/rhythm[1]"),
    np.array([-1.0, 0.0, 1.0]),
    [[[make_score(SCALE[: 2 + step + dim])] for step in range(3)] for dim in range(2)],
    np.arange(6 * len(NAMES), dtype=float).reshape(2, 3, 1, -1),
)


def test_a_grid_has_a_roll_for_each_dim_and_shift(tmp_path):
    figure = plot_traversal(GRID, attribute="note_density", title="moved")
    notes = [len(ax.collections[0].get_paths()) for ax in figure.axes]
    assert notes == [2, 3, 4, 3, 4, 5]
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[0] == f"-1.0: {GRID.attributes[0, 0, 0, 0]:.2f}" and titles[3] == f"{GRID.attributes[1, 0, 0, 0]:.2f}"
    assert [ax.get_ylabel() for ax in figure.axes][::3] == list(GRID.names)
    for suffix in ("png", "pdf", "svg"):
        save_figure(figure, tmp_path / f"grid.{suffix}")
    assert_picture(tmp_path / "grid.png")


def test_every_piece_is_on_the_map_and_the_rarest_labels_are_grey():
    labels = [f"kind {number}" for number in range(8) for _ in range(9 - number)] + [""] * 3
    points = np.random.default_rng(0).normal(size=(len(labels), 2))
    (ax,) = plot_map(points, labels, title="map").axes
    assert sum(len(np.asarray(marks.get_offsets())) for marks in ax.collections) == len(labels)
    texts = [str(marks.get_label()) for marks in ax.collections]
    assert texts[0] == f"other or unknown ({3 + 2 + 3})" and texts[1] == "kind 0 (9)" and len(texts) == 7
    assert len({tuple(np.ravel(marks.get_facecolor())) for marks in ax.collections}) == 7


def test_both_maps_of_an_attribution_have_one_scale():
    values = np.array([[1.0, -2.0], [0.5, 0.0]])
    found = Attribution(("global/rhythm@0", "fine/rhythm@0"), ("measure 1", "measure 2"), values, values / 2, 1.0, 3.0)
    images = [ax.images[0] for ax in plot_attribution(found).axes]
    assert [image.get_clim() for image in images] == [(-2.0, 2.0)] * 2
    np.testing.assert_array_equal(np.asarray(images[0].get_array()), values)


def test_every_dim_has_a_bar_as_high_as_its_kl_in_the_colour_of_its_group():
    levels = {
        "global": {"global/rhythm[0]": 2.0, "global/pitch[0]": 0.0},
        "fine": {"fine/pitch[0]": 1.0, "fine/pitch[1]": 3.0},
    }
    axes = plot_kl_per_dim(levels, title="dims").axes
    assert [ax.get_title(loc="left") for ax in axes] == ["global: 2.0 nats per window", "fine: 4.0 nats per window"]
    for ax, dims in zip(axes, levels.values(), strict=True):
        bars = sorted(patch.get_extents().transformed(ax.transData.inverted()).bounds for patch in ax.patches)
        np.testing.assert_allclose([height for *_, height in bars], list(dims.values()), atol=1e-9)
    colour = {bar.get_facecolor() for bar in axes[1].patches}
    assert len(colour) == 1 and colour <= {bar.get_facecolor() for bar in axes[0].patches}
    assert len({bar.get_facecolor() for bar in axes[0].patches}) == 2


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(UserError, match="window = 1: allowed is 0 to 0"):
        plot_traversal(GRID, 1)
    with pytest.raises(UserError, match="attribute = 'loud'"):
        plot_traversal(GRID, attribute="loud")
    with pytest.raises(UserError, match="one level with dims or more"):
        plot_kl_per_dim({"fine": {}})
    with pytest.raises(UserError, match="a point a label"):
        plot_map(np.zeros((2, 2)), ["one"])
