"""A page that shows and plays what a trained model does: one HTML file that needs no network.

The music is in the page as notes. The page draws it as piano rolls and plays it with oscillators.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

from musicvae_jax.analysis.attribution import attribute
from musicvae_jax.analysis.codes import make_code
from musicvae_jax.analysis.curves import kl_per_dim, kl_per_level
from musicvae_jax.analysis.report_page import Page, bars, charts, classes, matrix
from musicvae_jax.codec.grid_codec import GridCodec
from musicvae_jax.codec.score import PITCH, Score
from musicvae_jax.data.load import load_windows
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.evaluation.figures import evaluation_path, read_evaluation
from musicvae_jax.evaluation.tables import main_rows
from musicvae_jax.evaluation.targets import check_targets
from musicvae_jax.evaluation.trained import TrainedVAE
from musicvae_jax.training.metrics import read_metrics
from musicvae_jax.training.workdir import write_text
from musicvae_jax.types import Batch


def write_report(
    vae: TrainedVAE,
    workdir: str | Path,
    path: str | Path,
    *,
    split: str = "validation",
    num: int = 6,
    steps: int = 7,
    reach: float = 2.0,
    num_mapped: int = 200,
    seed: int = 0,
) -> Path:
    """Writes the report of a run.

    Args:
        vae: the model of the run.
        workdir: the folder of the run, for its curves and its figures, if it was evaluated.
        path: of the HTML file.
        split: of the held-out music that is shown.
        num: reconstructions, and samples.
        steps: points of a traversal and of an interpolation.
        reach: the largest shift of a dim that is moved.
        num_mapped: windows on the map.
        seed: of samples.
    """
    page, source = Page(), load_windows(vae.config, split)
    batch = _whole_windows(source, num)
    _add_figures(page, Path(workdir), split)
    _add_curves(page, Path(workdir), vae)
    originals = vae.scores(batch.tokens, batch.metre)
    titles = [_title(source, int(number)) for number in batch.index]
    if vae.config.levels.on:
        _add_reconstructions(page, vae, batch, originals, titles)
    samples = vae.sample(num, seed=seed)
    page.section(
        "Samples",
        "Music from the prior, in metres as frequent as in the training music.",
        "pieces",
        numbers=[page.add(score, f"Sample {number + 1}") for number, score in enumerate(samples)],
    )
    if vae.config.levels.on:
        _add_traversals(page, vae, originals[0], titles[0], steps, reach)
        _add_interpolations(page, vae, originals, titles, steps)
        _add_map(page, vae, source, num_mapped)
        _add_attribution(page, vae, batch)
    subtitle = f"Checkpoint of step {vae.step:,}; held-out music is the split {split}. Escape stops the sound."
    write_text(Path(path), page.html(f"{Path(workdir).absolute().name}: what the model does", subtitle))
    return Path(path)


def _whole_windows(source: WindowSource, num: int) -> Batch:
    """Windows of many pieces, at even distances, without padding measures as far as there are such."""
    many = min(8 * num, len(source))
    batch = make_eval_batches(source, many, num_examples=many)[0]
    whole = (batch.metre[..., 0] > 0).sum(1) == source.measures
    order = np.argsort(~whole, kind="stable")
    chosen = order[np.linspace(0, max(whole.sum() - 1, min(num, many) - 1), min(num, many)).astype(int)]
    return source.gather(batch.index[chosen])


def _add_figures(page: Page, workdir: Path, split: str) -> None:
    path = evaluation_path(workdir, split)
    if not path.exists():
        return
    evaluation = read_evaluation(path)
    head = f"{evaluation.num_examples} windows of {split!r}, by evaluate.py."
    rows = [[text.strip(), _number(value)] for text, value in main_rows(evaluation)]
    page.section("Figures", head, "table", head=["figure", "value"], rows=rows)
    if len(evaluation.levels) > 1:
        aims = [
            [aim.name, f"{aim.value:.3f}", aim.goal, "met" if aim.met else "missed"]
            for aim in check_targets(evaluation)
        ]
        text = "What a model of several levels should reach; docs/results.md explains each."
        page.section("Targets", text, "table", head=["target", "is", "aim", ""], rows=aims)


def _add_curves(page: Page, workdir: Path, vae: TrainedVAE) -> None:
    path = workdir / "metrics.jsonl"
    rows = read_metrics(path) if path.exists() else []
    shown = []
    for title, names in (
        ("Nats per window, training", {"nll": "nll", "kl": "kl"}),
        ("Nats per window, validation", {"validation.nll": "nll", "validation.kl": "kl"}),
    ):
        series = {name: [(row["step"], row[key]) for row in rows if key in row] for key, name in names.items()}
        shown += charts(title, series)
    levels = {level: list(zip(*points, strict=True)) for level, points in kl_per_level(rows).items()} if rows else {}
    shown += charts("KL of each level, nats per window", levels)
    if shown:
        page.section("Training", "Nats by training step.", "charts", charts=shown)
    own = kl_per_dim(rows, vae.step)
    dims = [bars(level, own[level], config.layout) for level, config in vae.config.levels.on.items() if level in own]
    if dims:
        text = "Nats per window of each dim, on validation. A dim near 0 says nothing of the window."
        page.section("KL of dims", text, "bars", levels=dims)


def _add_reconstructions(
    page: Page, vae: TrainedVAE, batch: Batch, originals: Sequence[Score], titles: Sequence[str]
) -> None:
    copies = vae.scores(vae.reconstruct_tokens(batch), batch.metre)
    pairs = [
        {
            "title": title,
            "numbers": [page.add(original, title), page.add(copy, title)],
            "labels": ["original", "decoded"],
        }
        for title, original, copy in zip(titles, originals, copies, strict=True)
    ]
    text = "Held-out music, and what is decoded from its latents and metres alone. Move the slider to compare."
    page.section("Reconstructions", text, "pairs", pairs=pairs)


def _add_traversals(page: Page, vae: TrainedVAE, score: Score, title: str, steps: int, reach: float) -> None:
    paths = []
    for level, own in vae.config.levels.on.items():
        followed = {place: name for name, place in own.followed.items()}
        for dims in own.layout.values():
            place = range(own.dim)[dims][0]
            dim = own.dim_names(level)[place]
            moved = vae.traverse(score, dim, steps, reach)
            text = f"follows {followed[place]}" if place in followed else "a name only: nothing trained this dim"
            paths.append(
                {
                    "title": dim,
                    "numbers": [page.add(one, f"{title}, {dim}") for one in moved],
                    "labels": list(map(_moved_label, np.linspace(-reach, reach, steps), moved)),
                    "start": steps // 2,
                    "text": text,
                }
            )
    text = (
        f"The first dim of every group is moved in the latents of {title}; levels below are drawn anew, with the same "
        "noise."
    )
    page.section("Dims", text, "paths", paths=paths)


def _moved_label(shift: float, score: Score) -> str:
    pitch = f", mean pitch {score.notes[:, PITCH].mean():.1f}" if len(score.notes) else ""
    return f"{shift:+.1f}: {len(score.notes)} notes{pitch}"


def _add_interpolations(
    page: Page, vae: TrainedVAE, originals: Sequence[Score], titles: Sequence[str], steps: int
) -> None:
    paths = []
    for first in range(0, min(len(originals) - 1, 4), 2):
        scores = vae.interpolate(originals[first], originals[first + 1], steps)
        title = f"{titles[first]} to {titles[first + 1]}"
        paths.append(
            {
                "title": title,
                "numbers": [page.add(score, title) for score in scores],
                "labels": [f"{share:.0%}" for share in np.linspace(0, 1, steps)],
                "start": 0,
                "text": "",
            }
        )
    if paths:
        page.section("Interpolations", "Between the latents of two held-out windows.", "paths", paths=paths)


def _add_map(page: Page, vae: TrainedVAE, source: WindowSource, number: int) -> None:
    batch = make_eval_batches(source, min(number, len(source)), num_examples=number)[0]
    top = vae.config.levels.top
    means = np.asarray(vae.encode(batch)[top].loc)[:, 0]
    if len(means) < 3 or means.shape[1] < 2:
        return
    found = PCA(2).fit(means)
    places = found.transform(means)
    points, scores = [], []
    for row, music in enumerate(vae.scores(batch.tokens, batch.metre)):
        scores.append(source.score(int(batch.index[row])))
        x, y = (round(float(value), 3) for value in places[row])
        points.append({"x": x, "y": y, "piece": page.add(music, _title(source, int(batch.index[row])))})
    labels = {
        "metre": [str(score.metre(0)) for score in scores],
        "mode": [score.mode for score in scores],
        "style": [score.style for score in scores],
        "collection": [score.source.split("/")[0] for score in scores],
    }
    share = f"{found.explained_variance_ratio_.sum():.0%}"
    text = (
        f"The posterior means of {top} of {len(points)} held-out windows, on their first two principal components "
        f"({share} of the variance). Point at a dot to see the music; click, or press Enter, to hear it."
    )
    page.section("Map", text, "map", points=points, labels={name: classes(words) for name, words in labels.items()})


def _add_attribution(page: Page, vae: TrainedVAE, batch: Batch) -> None:
    code, matrices, agreement = make_code(vae, batch), [], []
    places = ["measure"]
    if isinstance(vae.codec, GridCodec):  # else a slot is a note, wherever it lies in its measure
        places.append("slot")
    if len(vae.codec.fields) > 1:
        places.append("field")
    for of in places:
        found = attribute(vae, code, of)
        agreement.append(f"{found.correlation:.2f} ({of}s)")
        matrices.append(matrix(f"By {of}", found))
    text = (
        "How many nats of log-likelihood each part of the music loses when a group of dims goes to its prior mean: the "
        f"mean over {len(batch.index)} windows. The number after @ is the latent's place in its window. All latents "
        f"together are worth {found.total:.1f} nats. Rank correlation with gradients: {', '.join(agreement)}."
    )
    page.section("What dims are used for", text, "matrices", matrices=matrices)


def _title(source: WindowSource, number: int) -> str:
    name = source.score(number).title
    return f"{name}, {source.describe(number)}" if name else source.describe(number)


def _number(value: float | None) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:.3f}"
