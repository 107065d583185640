"""Measures edits, interpolations and attribution of a trained model on held-out music, and prints a table.

Example:
    python experiments/measure_steering.py --workdir runs/folk
"""

from commandline import DataPlaces, run

import tyro
from tyro.conf import OmitArgPrefixes


def measure(
    *,
    workdir: str,
    attributes: tuple[str, ...] = ("note_density", "mean_pitch", "pitch_range", "contour"),
    levels: tuple[str, ...] = (),
    split: str = "validation",
    pieces: int = 10,
    pairs: int = 50,
    checkpoint: str = "best",
    prior: str = "",
    seed: int = 0,
    places: OmitArgPrefixes[DataPlaces],
) -> int:
    """Measures edits, interpolations and attribution of a trained model on held-out music, and prints a table.

    Args:
        workdir: the folder of the run.
        attributes: that are edited, one at a time.
        levels: whose latents move; the finest if none is named.
        split: of the music.
        pieces: edited for each attribute, four measures of each.
        pairs: of windows, between which paths are measured; 0: none.
        checkpoint: best or latest.
        prior: own, or one that was fitted to the run; the one that its config asks for if not given.
        seed: of the search.
        places: where the music is read.
    """
    from musicvae_jax.analysis import steering
    from musicvae_jax.analysis.analyzer import LatentAnalyzer
    from musicvae_jax.analysis.codes import check_attribute
    from musicvae_jax.evaluation.load import load_workdir
    from musicvae_jax.training.devices import set_up_devices

    set_up_devices()
    vae = places.apply(load_workdir(workdir, checkpoint, prior), workdir)
    analyzer = LatentAnalyzer(workdir, vae=vae)
    for attribute in attributes:
        check_attribute(analyzer.vae, attribute)
    print(f"step {analyzer.vae.step}, split {split}")
    print("| attribute | level | R2 | mean error | mean asked | unit | spans | other measures unchanged |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for level in levels or list(analyzer.vae.config.levels.on)[-1:]:
        for attribute in attributes:
            found = steering.edit_figures(analyzer, attribute, level, split=split, num=pieces, seed=seed)
            print(
                f"| {attribute} | {level} | {found.r2:.2f} | {found.error:.2f} | {found.asked:.2f} | {found.unit} "
                f"| {found.spans} | {found.unchanged:.0%} |",
                flush=True,
            )
    for name, even in (("paths", False), ("paths with even steps", True)) if pairs else ():
        paths = steering.path_figures(analyzer, split=split, num=pairs, even=even)
        share = f"{paths.smoothness:.2f} (median), below 2 in {paths.smooth:.0%}"
        print(f"{paths.pairs} {name}: largest / mean step {share}; onset F1 of the ends {paths.ends:.2f}", flush=True)
    used = steering.attribution_figures(analyzer, split=split)
    print(f"attribution: rank correlation of occlusion and gradients {used.correlation:.2f}")
    print(f"all latents are worth {used.total:.1f} nats a window, with shuffled weights {used.shuffled:.1f}")
    first, second = steering.time_traversal(analyzer)
    print(f"traversal of 7 steps x 64 windows: {first:.1f} s with compilation, {second:.1f} s without")
    return 0


if __name__ == "__main__":
    run(lambda: tyro.cli(measure))
