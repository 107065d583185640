"""Music out of a trained model, as MIDI, WAV and pictures.

Examples:
    python experiments/generate.py sample      --workdir runs/folk --out out --num 8 --temperature 1.0
    python experiments/generate.py reconstruct --workdir runs/folk --out out tune.abc piece.mid
    python experiments/generate.py interpolate --workdir runs/folk --out out a.mid b.mid --steps 9
    python experiments/generate.py resample    --workdir runs/folk --out out tune.abc --keep global --num 3
    python experiments/generate.py gallery     --workdir runs/folk --out out
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import tyro
from commandline import check_first_word, run
from tyro.conf import Positional

from musicvae_jax.config import UserError

if TYPE_CHECKING:
    from musicvae_jax.evaluation.trained import TrainedVAE

LevelTemperature: TypeAlias = tuple[tuple[str, float], ...]


def main() -> int:
    """Parses the command line and calls one of the functions below."""
    functions = (sample, reconstruct, interpolate, resample, gallery)
    commands = {function.__name__: function for function in functions}
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
    level_temperature: LevelTemperature = (),
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
        level_temperature: level and factor of its prior's scales, e.g. global 0.8 fine 1; 1 where not named.
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
    factors = dict(level_temperature)
    scores = vae.sample(num, metre=chosen, measures=measures, temperature=factors, seed=seed, sampling=sampling)
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
        files: MIDI, MusicXML or ABC.
        workdir: the run's folder.
        out: where to write NAME.mid, .wav and NAME.png, the original beside the reconstruction.
        track: for a model of melodies, of a polyphonic file: a number, a part's name, or skyline for the highest notes.
        temperature: of the tokens; 0 takes the most probable.
        seed: of the draws.
        checkpoint: best or latest.
    """
    from musicvae_jax.analysis.report import write_reconstruction
    from musicvae_jax.codec import MusicError, format_refusals
    from musicvae_jax.models.sampling import SamplingConfig

    sampling = SamplingConfig(temperature=temperature)
    vae = _load(workdir, checkpoint)
    scores, refusals = _read(vae, files, track)
    written = 0
    for score, stem in zip(scores, _stems(scores), strict=True):
        try:
            copy = vae.reconstruct(score, seed=seed, sampling=sampling)
            write_reconstruction(score, copy, Path(out) / stem)
        except MusicError as error:
            refusals.append(error)
            continue
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
        first: MIDI, MusicXML or ABC.
        second: MIDI, MusicXML or ABC.
        workdir: the run's folder.
        out: where to write step_0.mid, .wav, ... and path.png.
        steps: points on the way, the ends included.
        track: for a model of melodies, of a polyphonic file: a number, a part's name, or skyline for the highest notes.
        temperature: of the tokens; 0 takes the most probable.
        seed: of the draws.
        checkpoint: best or latest.
    """
    from musicvae_jax.analysis.plots import plot_interpolation
    from musicvae_jax.models.sampling import SamplingConfig

    sampling = SamplingConfig(temperature=temperature)
    vae = _load(workdir, checkpoint)
    ends = []
    for file in (first, second):
        scores, refusals = _read(vae, (file,), track)
        if not scores:
            raise refusals[0]
        ends.append(scores[0])
    path = vae.interpolate(ends[0], ends[1], steps, seed=seed, sampling=sampling)
    _write(path, [f"step_{number}" for number in range(steps)], out)
    plot_interpolation(path, Path(out) / "path.png")
    return 0


def resample(
    file: Positional[str],
    /,
    *,
    workdir: str,
    out: str,
    keep: str = "global",
    num: int = 3,
    level_temperature: LevelTemperature = (),
    track: str = "auto",
    temperature: float = 0.0,
    seed: int = 0,
    checkpoint: str = "best",
) -> int:
    """Variants of a piece's first window: its upper levels are kept, the levels below are drawn from their priors.

    Args:
        file: MIDI, MusicXML or ABC.
        workdir: the run's folder.
        out: where to write NAME_0.mid, .wav, ..., NAME.original.mid, .wav and NAME.png, all below each other.
        keep: the last level that is kept: global, or local, which keeps global, too.
        num: variants.
        level_temperature: level and factor of its prior's scales, e.g. local 0.8 fine 1; 1 where not named.
        track: for a model of melodies, of a polyphonic file: a number, a part's name, or skyline for the highest notes.
        temperature: of the tokens; 0 takes the most probable.
        seed: of all draws.
        checkpoint: best or latest.
    """
    from musicvae_jax.analysis.report import write_variants
    from musicvae_jax.models.sampling import SamplingConfig

    sampling = SamplingConfig(temperature=temperature)
    vae = _load(workdir, checkpoint)
    scores, refusals = _read(vae, (file,), track)
    if not scores:
        raise refusals[0]
    factors = dict(level_temperature)
    variants = vae.resample(scores[0], keep, num, temperature=factors, seed=seed, sampling=sampling)
    (stem,) = _stems(scores[:1])
    write_variants(vae.first_window(scores[0]), variants, Path(out) / stem, scores[0].title or stem)
    print(f"{num} variants with the original as MIDI and WAV, and {stem}.png: {out}")
    return 0


def gallery(
    *, workdir: str, out: str, num: int = 8, split: str = "test", seed: int = 0, checkpoint: str = "best"
) -> int:
    """Reconstructions of held-out windows, samples and training curves: what to look at after a training.

    Args:
        workdir: the run's folder.
        out: where to write reconstruction_0.*, sample_0.*, training.png.
        num: samples, and reconstructions, of which there are no more than windows.
        split: where the originals come from.
        seed: of all draws.
        checkpoint: best or latest.
    """
    from musicvae_jax.analysis.curves import plot_training_curves
    from musicvae_jax.analysis.plots import plot_samples
    from musicvae_jax.analysis.report import write_reconstruction
    from musicvae_jax.data.load import load_windows
    from musicvae_jax.data.pipeline import make_eval_batches

    vae = _load(workdir, checkpoint)
    if num < 1:
        raise UserError(f"num = {num}: allowed is 1 or more")
    source = load_windows(vae.config, split, attributes=False)
    batch = make_eval_batches(source, min(num, max(len(source), 1)), num_examples=num)[0]
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
    from musicvae_jax.evaluation.loading import load_workdir

    from musicvae_jax.training.parallel import set_up_devices

    set_up_devices()
    return load_workdir(workdir, checkpoint)


def _read(vae: "TrainedVAE", files: tuple[str, ...], track: str) -> tuple[list, list]:
    """Pieces as the model's codec wants them, and refusals: all that a file holds, or one melody of it."""
    from musicvae_jax.codec import MelodyCodec
    from musicvae_jax.codec.files import read_scores

    if track == "auto" and not isinstance(vae.codec, MelodyCodec):
        track = ""
    return read_scores(files, track)


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
