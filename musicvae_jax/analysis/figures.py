"""A page to draw on, measured in inches, and what all pictures share."""

import io
import os
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from musicvae_jax.files import replacing

DPI = 120  # legible at the width of a README
INK, GREY = "#333333", "#6A6A6A"
OKABE_ITO = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "vermilion": "#D55E00",
}


class Page:
    """A figure without pyplot, whose axes are placed in inches from its upper left corner.

    Args:
        width: inches.
        height: inches.
    """

    def __init__(self, width: float, height: float):
        self.width, self.height = width, height
        self.figure = _NotebookFigure(figsize=(width, height), dpi=DPI)
        FigureCanvasAgg(self.figure)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """New axes, all in inches."""
        bottom = self.height - top - height
        return self.figure.add_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))

    def title(self, text: str, baseline: float) -> None:
        """A heading at the left; what it says is shown as it is, dollar signs included."""
        place = (0.1 / self.width, 1 - baseline / self.height)
        self.figure.text(*place, text, fontsize=11, fontweight="bold", color=INK, parse_math=False)

    def legend(self, styles: Mapping[str, tuple[str, str]]) -> None:
        """What boxes mean, in the upper right corner: text -> (face, edge)."""
        self.figure.legend(
            handles=[Patch(facecolor=face, edgecolor=edge, label=text) for text, (face, edge) in styles.items()],
            loc="upper right",
            bbox_to_anchor=(1 - 0.1 / self.width, 1 - 0.08 / self.height),
            ncols=len(styles),
            frameon=False,
            fontsize=9.5,
            handlelength=1.4,
            columnspacing=1.4,
            borderaxespad=0,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the PNG, whole or not at all."""
        with replacing(path) as temporary:
            self.figure.savefig(temporary, format="png", metadata={"Software": None})


def tidy(ax: Axes) -> None:
    """The frame of a curve: a faint grid behind it, small grey numbers, no box."""
    ax.grid(color="#E8E8E8", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.tick_params(which="both", length=0, labelsize=8, labelcolor=GREY)
    ax.margins(x=0.02)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#B0B0B0")
    ax.set_xlabel("step", fontsize=8, color=GREY, labelpad=2)


class _NotebookFigure(Figure):
    """A figure that notebooks show without pyplot or a magic command."""

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png")
        return picture.getvalue()
