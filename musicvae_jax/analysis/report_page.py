"""What the page of a report holds, as data that its script draws: sections, pieces, charts, bars, matrices."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from musicvae_jax.analysis.attribution import Attribution
from musicvae_jax.codec.score import DURATION, ONSET, PITCH, TICKS_PER_QUARTER, TRACK, VELOCITY, Score
from musicvae_jax.config.dims import group_of

_MOST_POINTS = 300  # of a curve


class Page:
    """The content of a report: sections, and the pieces that they show by number."""

    def __init__(self) -> None:
        self.sections: list[dict[str, Any]] = []
        self.pieces: list[dict[str, Any]] = []

    def add(self, score: Score, title: str = "") -> int:
        """Adds a piece and returns its number."""
        self.pieces.append(piece_json(score, title or score.title))
        return len(self.pieces) - 1

    def section(self, title: str, text: str, kind: str, **content: Any) -> None:
        """Adds a section; `kind` is one that the page knows how to draw."""
        self.sections.append({"title": title, "text": text, "kind": kind, **content})

    def html(self, title: str, subtitle: str) -> str:
        """The page."""
        data = {"title": title, "subtitle": subtitle, "sections": self.sections, "pieces": self.pieces}
        # No text can end the script element that holds the data.
        text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        return files("musicvae_jax.analysis").joinpath("report.html").read_text("utf-8").replace("{{DATA}}", text)


def piece_json(score: Score, title: str) -> dict[str, Any]:
    """A piece for the page: notes are onset, duration, pitch, velocity and track; times are in quarters."""
    notes = score.notes[:, [ONSET, DURATION, PITCH, VELOCITY, TRACK]].astype(float)
    notes[:, :2] /= TICKS_PER_QUARTER
    return {
        "title": title,
        "tempo": float(score.tempo),
        "end": score.end / TICKS_PER_QUARTER,
        "bars": np.round(score.measures[:, 0] / TICKS_PER_QUARTER, 4).tolist(),
        "notes": np.round(notes, 4).tolist(),
    }


def charts(title: str, series: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A chart of the series that have two points or more, in a list; an empty list if none has."""
    lines = []
    for name, points in series.items():
        values = np.array(points, float).reshape(-1, 2)
        values = values[np.isfinite(values).all(1)]
        values = (
            values[np.unique(np.linspace(0, max(len(values) - 1, 0), _MOST_POINTS).astype(int))]
            if len(values)
            else values
        )
        if len(values) > 1:
            lines.append({"name": name, "points": [[int(step), float(f"{value:.4g}")] for step, value in values]})
    return [{"title": title, "series": lines}] if lines else []


def bars(level: str, kl: Mapping[str, float], layout: Mapping[str, slice]) -> dict[str, Any]:
    """The KL of a level's dims, in their order; the colour is that of the group."""
    groups = list(layout)
    values = [[dim, groups.index(group_of(dim)), round(value, 3)] for dim, value in kl.items()]
    return {"title": f"{level}: {sum(kl.values()):.1f} nats", "groups": groups, "bars": values}


def matrix(title: str, found: Attribution) -> dict[str, Any]:
    """What groups of latents do to what is decoded, by occlusion, to three digits."""
    values = [[float(f"{value:.3g}") for value in row] for row in found.occlusion]
    return {"title": title, "rows": found.sources, "columns": found.targets, "values": values}


def classes(words: Sequence[str]) -> dict[str, Any]:
    """Labels as numbers, the most frequent first; -1 without a label."""
    names, counts = np.unique([word for word in words if word], return_counts=True)
    order = [str(names[place]) for place in np.argsort(-counts, kind="stable")]
    return {"names": order, "of": [order.index(word) if word else -1 for word in words]}
