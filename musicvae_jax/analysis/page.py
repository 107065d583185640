"""What all pictures share: a page with a layout in inches, colours, the look of axes, and saving to a file."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from musicvae_jax.config import UserError
from musicvae_jax.files import replacing

DPI = 120
INK, GREY = "#333333", "#6A6A6A"
# Okabe & Ito (2008): people with any colour vision can tell these colours apart.
OKABE_ITO = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "vermilion": "#D55E00",
}
# File format -> metadata to leave out: with dates and versions equal pictures would give different files.
_FORMATS: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}


def save_figure(figure: Figure | Axes, path: str | os.PathLike[str]) -> None:
    """Writes PNG, PDF or SVG, by the suffix. Creates missing folders; a failed write leaves no file.

    Args:
        figure: or the axes in it, such as `piano_roll` returns.
        path: of the picture.

    Raises:
        UserError: any other suffix.
    """
    file_format = Path(path).suffix.lower().removeprefix(".")
    if file_format not in _FORMATS:
        raise UserError(f"picture {str(path)!r}: allowed is a name that ends in .{', .'.join(_FORMATS)}")
    # Ids in an SVG are hashes with a salt, which is random unless it is set.
    whole = figure if isinstance(figure, Figure) else figure.get_figure(root=True)
    assert whole is not None  # axes lie in a figure
    with replacing(path) as temporary, mpl.rc_context({"svg.hashsalt": "musicvae_jax"}):
        whole.savefig(temporary, format=file_format, metadata=_FORMATS[file_format])


class Page(Figure):
    """A figure that does not use pyplot, with lengths in inches and positions from the upper left corner."""

    def __init__(self, width: float, height: float):
        super().__init__(figsize=(width, height), dpi=DPI)
        self.width, self.height = width, height

    def place_axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """New axes whose upper left corner is at (left, top)."""
        bottom = self.height - top - height
        return self.add_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))

    def add_heading(self, text: str, baseline: float) -> None:
        """Bold text at the left, `baseline` inches below the top edge; a dollar sign is only a dollar sign."""
        x, y = 0.1 / self.width, 1 - baseline / self.height
        self.text(x, y, text, fontsize=11, fontweight="bold", color=INK, parse_math=False)

    def add_box_legend(self, styles: Mapping[str, tuple[str, str]]) -> None:
        """A legend in the upper right corner: label -> (face colour, edge colour) of a box."""
        boxes = [Patch(facecolor=face, edgecolor=edge, label=text) for text, (face, edge) in styles.items()]
        corner = (1 - 0.1 / self.width, 1 - 0.08 / self.height)
        spacing = {"handlelength": 1.4, "columnspacing": 1.4, "borderaxespad": 0}
        options = {"ncols": len(boxes), "frameon": False, "fontsize": 9.5, **spacing}
        self.legend(handles=boxes, loc="upper right", bbox_to_anchor=corner, **options)

    def _repr_png_(self) -> bytes:
        """Notebooks show the figure through this method, without pyplot."""
        picture = io.BytesIO()
        self.savefig(picture, format="png")
        return picture.getvalue()


def style_axes(ax: Axes, xlabel: str = "step") -> None:
    """The look of all curves: a light grid, small grey numbers, no upper and right spine."""
    ax.grid(color="#E8E8E8", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.tick_params(which="both", length=0, labelsize=8, labelcolor=GREY)
    ax.margins(x=0.02)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#B0B0B0")
    ax.set_xlabel(xlabel, fontsize=8, color=GREY, labelpad=2)


def add_legend(ax: Axes, **options: Any) -> None:
    """A small legend of the labelled curves; `options` are those of ``ax.legend``."""
    ax.legend(fontsize=8, frameon=False, labelcolor=INK, handlelength=1.4, **options)
