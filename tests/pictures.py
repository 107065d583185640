"""Pictures that the code draws."""

from pathlib import Path

import numpy as np
from matplotlib.image import imread


def assert_picture(path: Path) -> np.ndarray:
    """A file on which something is drawn: its pixels."""
    pixels = imread(path)
    assert min(pixels.shape[:2]) > 50 and pixels.std() > 0.01
    return pixels
