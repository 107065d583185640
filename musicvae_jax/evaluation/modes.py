"""What the Gaussians of a mixture turned out to mean: the labels of the windows that each of them explains."""

import dataclasses

import jax
import numpy as np
from sklearn.metrics import adjusted_mutual_info_score

from musicvae_jax.data.conditions import Conditions
from musicvae_jax.data.load import load_windows
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.data.prepare import list_styles
from musicvae_jax.evaluation.trained import EVALUATION_ROWS, TrainedVAE, on_all_devices
from musicvae_jax.inference import responsibilities

LABELS = ("style", "key", "mode", "metre")


@dataclasses.dataclass(frozen=True)
class ModeFigures:
    """A Gaussian of the mixture: the windows of which it is the most responsible one."""

    share: float  # of all windows
    label: dict[str, str]  # style, key, mode, metre -> the most common value among those that are known
    of_label: dict[str, float]  # its share of them


@dataclasses.dataclass(frozen=True)
class MixtureFigures:
    """What the Gaussians of the top level's mixture mean."""

    agreement: dict[str, float]  # label -> adjusted mutual information with the number of the Gaussian: 0 by chance, 1
    most_common: dict[str, float]  # label -> share of its most common value in all windows
    modes: dict[str, ModeFigures]  # by number


def mixture_figures(vae: TrainedVAE, split: str, *, num_windows: int = 512) -> MixtureFigures | None:
    """The labels of held-out windows by the Gaussian that is most responsible for their posterior mean.

    Args:
        vae: a model, such as `load_prior` gives it.
        split: such as ``"validation"``.
        num_windows: at most so many, spread evenly.

    Returns:
        None for a top level without a mixture. The agreement is adjusted for chance (Vinh et al. 2010).
    """
    level = vae.config.levels[vae.config.levels.top]
    if not level.has_modes:
        return None
    data = vae.config.data
    source = load_windows(vae.config, split, attributes=False)
    styles = list_styles(data.dataset, data.data_dir, data.manual_dir, data.path)
    labels = Conditions(LABELS, styles)
    source.tell(labels)
    vae, parallel = on_all_devices(vae)
    chosen, known = [], []
    for batch in make_eval_batches(source, EVALUATION_ROWS, num_examples=num_windows):
        placed = parallel.shard_rows(batch._replace(conditions=()))
        found = jax.device_get(responsibilities(vae.model, vae.variables, placed))[vae.config.levels.top]
        real = batch.index >= 0
        chosen.append(found[real, 0].argmax(-1))
        known.append(batch.conditions[real])
    mode, values = np.concatenate(chosen), np.concatenate(known)
    agreement, most_common = {}, {}
    for column, name in enumerate(LABELS):
        there = np.isfinite(values[:, column])
        if there.any():
            own = values[there, column].astype(int)
            agreement[name] = float(adjusted_mutual_info_score(own, mode[there]))
            most_common[name] = float(np.bincount(own).max() / len(own))
    return MixtureFigures(
        agreement,
        most_common,
        {str(number): _of_mode(values[mode == number], len(mode), labels) for number in range(level.modes)},
    )


def _of_mode(values: np.ndarray, total: int, labels: Conditions) -> ModeFigures:
    """One Gaussian, of float[window, label], NaN where unknown."""
    label, share = {}, {}
    for column, name in enumerate(LABELS):
        own = values[np.isfinite(values[:, column]), column].astype(int)
        if len(own):
            most = int(np.bincount(own).argmax())
            word = np.where(np.arange(len(LABELS)) == column, most, np.nan)
            label[name], share[name] = labels.decode(word)[name], float((own == most).mean())
    return ModeFigures(len(values) / total, label, share)


def mixture_text(figures: MixtureFigures) -> str:
    """A Markdown table with a row for each Gaussian, the largest first, and the agreement with each label."""
    names = list(figures.agreement)
    rows = [["Gaussian", "windows", *names], ["---", "---:", *["---"] * len(names)]]
    for number, mode in sorted(figures.modes.items(), key=lambda item: -item[1].share):
        if mode.share:
            known = (f"{mode.label[name]} {mode.of_label[name]:.2f}" if name in mode.label else "" for name in names)
            rows.append([number, f"{mode.share:.2f}", *known])
    rows.append(["all", "1.00", *(f"{figures.most_common[name]:.2f}" for name in names)])
    rows.append(["agreement", "", *(f"{figures.agreement[name]:.2f}" for name in names)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
