"""Figures of trained models, their rivals, and metrics of codes, which need no model.

Example:
    >>> from musicvae_jax.evaluation import mutual_information_gap
"""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:  # late, because scikit-learn takes a second to import
    metrics = importlib.import_module(f"{__name__}.disentanglement") if not name.startswith("_") else None
    if name not in getattr(metrics, "__all__", ()):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(metrics, name)
