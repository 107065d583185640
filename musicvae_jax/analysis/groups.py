"""What each group of a level's dims tells of each attribute, as a picture."""

from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from musicvae_jax.analysis.page import INK, Page

Leakage = Mapping[str, Mapping[str, float]]  # such as fine/rhythm -> attribute -> R2

_CELL_WIDTH, _CELL_HEIGHT = 0.46, 0.27  # inches
_LEFT, _TOP, _BOTTOM = 1.3, 0.45, 1.35


def plot_leakage(maps: Mapping[str, Leakage]) -> Figure:
    """R2 of attributes from groups of dims, one map per model, side by side; cells show R2 in hundredths.

    Args:
        maps: heading -> group of dims -> attribute -> R2; all with the same groups and attributes, else `ValueError`.
    """
    if not maps:
        raise ValueError("maps is empty: allowed is one or more")
    first = next(iter(maps.values()))
    groups, attributes = list(first), list(next(iter(first.values())))
    shapes = {title: [(group, *read) for group, read in leakage.items()] for title, leakage in maps.items()}
    if any(shape != [(group, *attributes) for group in groups] for shape in shapes.values()):
        raise ValueError(f"groups and attributes of {', '.join(maps)} differ: allowed are the same in all maps")
    width, height = len(attributes) * _CELL_WIDTH, len(groups) * _CELL_HEIGHT
    page = Page(_LEFT + len(maps) * (width + 0.25), _TOP + height + _BOTTOM)
    for number, (title, leakage) in enumerate(maps.items()):
        values = np.array([[leakage[group][name] for name in attributes] for group in groups])
        ax = page.place_axes(_LEFT + number * (width + 0.25), _TOP, width, height)
        ax.imshow(np.clip(values, 0, 1), cmap=colormaps["Blues"], vmin=0, vmax=1, aspect="auto")
        for row, column in np.ndindex(values.shape):
            value = float(values[row, column])
            text = f"{100 * max(value, 0.0):.0f}"
            ax.text(column, row, text, ha="center", va="center", fontsize=7.5, color="white" if value > 0.6 else INK)
        ax.set_title(title, fontsize=9.5, color=INK, loc="left", pad=5, parse_math=False)
        names = [name.replace("_", " ") for name in attributes]
        ax.set_xticks(range(len(names)), names, rotation=50, ha="right", rotation_mode="anchor", fontsize=8)
        ax.set_yticks(range(len(groups)), groups if number == 0 else [""] * len(groups), fontsize=8)
        ax.tick_params(length=0, colors=INK)
        levels = [group.split("/")[0] for group in groups]
        for row in range(1, len(groups)):
            if levels[row] != levels[row - 1]:
                ax.axhline(row - 0.5, color=INK, linewidth=0.8)
    return page
