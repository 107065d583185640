"""Music out of a trained model, as MIDI, WAV and pictures.

Examples:
    python experiments/generate.py sample      --workdir runs/folk --out out --num 8 --temperature 1.0
    python experiments/generate.py reconstruct --workdir runs/folk --out out tune.abc piece.mid
    python experiments/generate.py interpolate --workdir runs/folk --out out a.mid b.mid --steps 9
    python experiments/generate.py gallery     --workdir runs/folk --out out
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from commandline import check_first_word, run
from tyro.conf import Positional

if TYPE_CHECKING:
    from musicvae_jax.evaluation.trained import TrainedVAE


def main() -> int:
    """Parses the command line and calls one of the functions below."""
    commands = {"sample": sample, "reconstruct": reconstruct, "interpolate": interpolate, "gallery": gallery}
    check_first_word(commands, "command")
    return tyro.extras.subcommand_cli_from_dict(commands, description=__doc__)  # type: ignore[arg-type]


def sample(
    *,
    workdir: str,
    out: str,
    num: int = 8,
    metre: str = "",
    measures: int | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    checkpoint: str = "best",
) -> int:
    """Draws music from the prior.

    Args:
        workdir: the run's folder.
        out: where to write sample_0.mid, .wav, .png, ...
        num: how many.
        metre: e.g. 6/8; drawn from the training frequencies if not given.
        measures: how many, up to the window's.
        temperature: of the tokens; 0 takes the most probable.
        top_k: keep the k most probable tokens; 0 keeps all.
        top_p: keep the most probable tokens that reach this probability; 1 keeps all.
        seed: of all draws.
        checkpoint: best or latest.
    """
    from musicvae_jax.codec import Metre
    from musicvae_jax.models.sampling import SamplingConfig

    sampling = SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p)
    chosen = Metre.parse(metre) if metre else None
    vae = _load(workdir, checkpoint)
    scores = vae.sample(num, metre=chosen, measures=measures, seed=seed, sampling=sampling)
    _write(scores, [f"sample_{number}" for number in range(num)], out)
    return 0


def reconstruct(
    files: Positional[tuple[str, ...]],
    /,
    *,
    workdir: str,
    out: str,
    track: str = "auto",
    temperature: float = 0.0,
    seed: int = 0,
    checkpoint: str = "best",
) -> int:
    """Sends music through its latents and back; files that cannot be read are refused in a table, the rest goes on.

    Args:
        files: MIDI, ABC or MusicXML.
        workdir: the run's folder.
        out: where to write NAME.mid, .wav and NAME.png, the original beside the reconstruction.
        track: of a polyphonic file: a number, or skyline for the highest notes.
        temperature: of the tokens; 0 takes the most probable.
        seed: of the draws.
        checkpoint: best or latest.
    """
    from musicvae_jax.analysis.report import write_reconstruction
    from musicvae_jax.codec import MusicError, format_refusals, read_scores
    from musicvae_jax.models.sampling import SamplingConfig

    sampling = SamplingConfig(temperature=temperature)
    scores, refusals = read_scores(files, track)
    vae = _load(workdir, checkpoint)
    written = 0
    for score, stem in zip(scores, _stems(scores), strict=True):
        try:
            copy = vae.reconstruct(score, seed=seed, sampling=sampling)
        except MusicError as error:
            refusals.append(error)
            continue
        write_reconstruction(score, copy, Path(out) / stem)
        written += 1
    print(f"{written} of {written + len(refusals)} reconstructed: {out}")
    if refusals:
        print(format_refusals(refusals), file=sys.stderr)
    return 0 if written else 2


def interpolate(
    first: Positional[str],
    second: Positional[str],
    /,
    *,
    workdir: str,
    out: str,
    steps: int = 9,
    track: str = "auto",
    temperature: float = 0.0,
    seed: int = 0,
    checkpoint: str = "best",
) -> int:
    """Walks from one piece to another through the latent space, between their first windows.

    Args:
        first: MIDI, ABC or MusicXML.
        second: MIDI, ABC or MusicXML.
        workdir: the run's folder.
        out: where to write step_0.mid, .wav, ... and path.png.
        steps: points on the way, the ends included.
        track: of a polyphonic file: a number, or skyline for the highest notes.
        temperature: of the tokens; 0 takes the most probable.
        seed: of the draws.
        checkpoint: best or latest.
    """
    from musicvae_jax.analysis.plots import plot_interpolation
    from musicvae_jax.codec import read_score
    from musicvae_jax.models.sampling import SamplingConfig

    sampling = SamplingConfig(temperature=temperature)
    ends = [read_score(file, track)[0] for file in (first, second)]
    vae = _load(workdir, checkpoint)
    scores = vae.interpolate(ends[0], ends[1], steps, seed=seed, sampling=sampling)
    _write(scores, [f"step_{number}" for number in range(steps)], out)
    plot_interpolation(scores, Path(out) / "path.png")
    return 0


def gallery(
    *, workdir: str, out: str, num: int = 8, split: str = "test", seed: int = 0, checkpoint: str = "best"
) -> int:
    """Reconstructions of held-out windows, samples and training curves: what to look at after a training.

    Args:
        workdir: the run's folder.
        out: where to write reconstruction_0.*, sample_0.*, training.png.
        num: reconstructions, and samples.
        split: where the originals come from.
        seed: of all draws.
        checkpoint: best or latest.
    """
    from musicvae_jax.analysis.plots import plot_samples, plot_training_curves
    from musicvae_jax.analysis.report import write_reconstruction
    from musicvae_jax.data.load import load_windows
    from musicvae_jax.data.pipeline import make_eval_batches

    vae = _load(workdir, checkpoint)
    source = load_windows(vae.config, split)
    batch = make_eval_batches(source, num, num_examples=num)[0]
    copies = vae.scores(vae.reconstruct_tokens(batch, seed=seed), batch.metre)
    originals = vae.scores(batch.tokens, batch.metre)
    for number, (original, copy) in enumerate(zip(originals, copies, strict=True)):
        title = source.describe(int(batch.index[number]))
        write_reconstruction(original, copy, Path(out) / f"reconstruction_{number}", title)
    samples = vae.sample(num, seed=seed)
    _write(samples, [f"sample_{number}" for number in range(num)], out)
    plot_samples(samples, Path(out) / "samples.png")
    plot_training_curves(Path(workdir) / "metrics.jsonl", Path(out) / "training.png")
    print(f"look at {out}/reconstruction_0.png, {out}/samples.png, {out}/training.png; listen to {out}/*.wav")
    return 0


def _load(workdir: str, checkpoint: str) -> "TrainedVAE":
    from musicvae_jax.evaluation.trained import load_workdir
    from musicvae_jax.training.parallel import set_up_devices

    set_up_devices()
    return load_workdir(workdir, checkpoint)


def _write(scores: list, stems: list[str], out: str) -> None:
    from musicvae_jax.analysis.report import write_score

    for score, stem in zip(scores, stems, strict=True):
        write_score(score, Path(out) / stem)
    print(f"{len(scores)} pieces as MIDI, WAV and PNG: {out}")


def _stems(scores: list) -> list[str]:
    """File names after the sources, made distinct."""
    stems: list[str] = []
    for score in scores:
        stem = "".join(c if c.isalnum() or c in "-_" else "_" for c in Path(score.source).name)
        number = sum(other == stem or other.startswith(f"{stem}-") for other in stems)
        stems.append(f"{stem}-{number}" if number else stem)
    return stems


if __name__ == "__main__":
    run(main)
