"""Generates music with a trained model, as MIDI, WAV and pictures.

Examples:
    python experiments/generate.py sample      --workdir runs/folk --out out --num 8 --temperature 1.0
    python experiments/generate.py reconstruct --workdir runs/folk --out out tune.abc piece.mid
    python experiments/generate.py interpolate --workdir runs/folk --out out a.mid b.mid --steps 9
    python experiments/generate.py resample    --workdir runs/folk --out out tune.abc --keep global --num 3
    python experiments/generate.py traverse    --workdir runs/folk --out out tune.abc --dim "fine/rhythm[0]"
    python experiments/generate.py gallery     --workdir runs/folk --out out
"""

from commandline import DataPlaces, check_first_word, run, split_labels

import dataclasses
import sys
from pathlib import Path
from typing import Any, TypeAlias

import tyro
from tyro.conf import OmitArgPrefixes, Positional

import musicvae_jax as mv  # imports each name when it is first used, so that --help is fast
from musicvae_jax.codec import MusicError, Score, format_refusals, write_midi
from musicvae_jax.config.checks import check

LevelTemperature: TypeAlias = tuple[tuple[str, float], ...]


def main() -> int:
    """Parses the command line and runs one of the commands below; returns the exit status."""
    classes = (Sample, Reconstruct, Interpolate, Resample, Traverse, Gallery)
    commands: dict[str, Any] = {command.__name__.lower(): command for command in classes}
    check_first_word(commands, "command")
    return tyro.extras.subcommand_cli_from_dict(commands, description=__doc__).run()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """Options of all commands."""

    workdir: str
    """Folder of the run."""
    out: str
    """Folder to write to."""
    seed: int = 0
    """Seed of all random draws."""
    checkpoint: str = "best"
    """best or latest."""
    longest_wav: float = 600.0
    """Seconds after which the sound of a piece is cut; its MIDI file is whole."""
    prior: str = ""
    """own, or one that was fitted to the run; the one that its config asks for if not given."""

    def load(self) -> Any:
        """The `TrainedVAE` of the run."""
        mv.set_up_devices()
        return mv.load_workdir(self.workdir, self.checkpoint, self.prior)

    def save_picture(self, figure: Any, stem: str) -> None:
        mv.save_figure(figure, Path(self.out) / f"{stem}.png")

    def save_sound(self, score: Score, stem: str) -> None:
        write_midi(score, Path(self.out) / f"{stem}.mid")
        if mv.seconds_of(score) > self.longest_wav:
            print(f"{stem}.wav is cut after {self.longest_wav:g} of {mv.seconds_of(score):,.0f} s: --longest-wav")
        mv.write_wav(mv.render(score, longest=self.longest_wav), Path(self.out) / f"{stem}.wav")

    def save_scores(self, scores: list[Score], name: str) -> None:
        """NAME_0.mid, .wav, .png, NAME_1 ..."""
        for number, score in enumerate(scores):
            self.save_sound(score, f"{name}_{number}")
            self.save_picture(mv.plot_samples([score]), f"{name}_{number}")
        print(f"{len(scores)} pieces as MIDI, WAV and PNG: {self.out}")

    def save_reconstruction(self, original: Score, reconstruction: Score, stem: str, title: str = "") -> None:
        """STEM.original.mid, .wav, STEM.mid, .wav and STEM.png."""
        self.save_sound(original, f"{stem}.original")
        self.save_sound(reconstruction, stem)
        self.save_picture(mv.plot_reconstruction(original, reconstruction, title=title), stem)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample(Command):
    """Draws music from the prior. Writes sample_0.mid, .wav, .png, ..."""

    num: int = 8
    """Number of samples."""
    guidance: float = 1.0
    """More than 1 follows the conditions further than they were learned (classifier-free guidance)."""
    metre: str = ""
    """Metre of all measures, e.g. 6/8; drawn from the metres of the training data if not given."""
    condition: tuple[str, ...] = ()
    """What is asked of a model with conditions, e.g. key=G mode=major style=jig; what is not named is unknown."""
    measures: int | None = None
    """Measures of a sample, any number; those of a window if not given."""
    temperature: float = 1.0
    """Temperature of the tokens; 0 takes the most probable token."""
    level_temperature: LevelTemperature = ()
    """Factors of the prior's scales, e.g. global 0.8 fine 1; 1 for other levels."""
    top_k: int = 0
    """Draw among the k most probable tokens; 0: among all."""
    top_p: float = 1.0
    """Draw among the most probable tokens that together reach this probability; 1: among all."""

    def run(self) -> int:
        sampling = mv.SamplingConfig(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)
        conditions = split_labels("condition", self.condition, "NAME=VALUE")
        options: dict[str, Any] = {"conditions": conditions, "guidance": self.guidance, "metre": self.metre or None}
        options |= {"measures": self.measures, "temperature": dict(self.level_temperature), "seed": self.seed}
        self.save_scores(self.load().sample(self.num, sampling=sampling, **options), "sample")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileCommand(Command):
    """Options of commands that read music."""

    track: str = "auto"
    """The melody in a polyphonic file, for a melody model: a number, a part's name, or skyline (the highest notes)."""
    temperature: float = 0.0
    """Temperature of the tokens; 0 takes the most probable token."""

    def options(self) -> dict[str, Any]:
        return {"seed": self.seed, "sampling": mv.SamplingConfig(temperature=self.temperature)}

    def read(self, vae: Any, *files: str) -> tuple[list[Score], list[MusicError]]:
        """Scores and refusals. A melody model gets one melody of each file, other models get the whole file."""
        return mv.read_pieces(files, vae.codec, self.track)

    def read_first(self, vae: Any, file: str) -> Score:
        scores, refusals = self.read(vae, file)
        if not scores:
            raise refusals[0]
        return scores[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reconstruct(FileCommand):
    """Encodes and decodes music. Writes NAME.original.mid, .wav, NAME.mid, .wav, and NAME.png with both.

    A file that cannot be read or written is listed in a table at the end, and the exit status is 2; the others are
    reconstructed.
    """

    files: Positional[tuple[str, ...]]
    """MIDI, MusicXML or ABC files."""

    def run(self) -> int:
        options = self.options()
        vae = self.load()
        scores, refusals = self.read(vae, *self.files)
        num_written = 0
        for score, stem in zip(scores, stems_of(scores), strict=True):
            try:
                self.save_reconstruction(score, vae.reconstruct(score, **options), stem)
                num_written += 1
            except MusicError as error:
                refusals.append(error)
        print(f"{num_written} of {num_written + len(refusals)} reconstructed: {self.out}")
        if refusals:
            print(format_refusals(refusals), file=sys.stderr)
        return 2 if refusals else 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interpolate(FileCommand):
    """Interpolates between the latents of two pieces. Writes step_0.mid, .wav, .png, ..., and path.png."""

    first: Positional[str]
    """MIDI, MusicXML or ABC file."""
    second: Positional[str]
    """MIDI, MusicXML or ABC file."""
    steps: int = 9
    """Number of points, both ends included."""
    from_measures: tuple[int, int] = (1, 1)
    """Where the path begins in the first and in the second piece, counted from 1."""
    measures: int | None = None
    """Measures from there on, any number; those of a window if not given."""

    def run(self) -> int:
        starts = (self.from_measures[0] - 1, self.from_measures[1] - 1)
        options = self.options() | {"starts": starts, "measures": self.measures}
        vae = self.load()
        ends = [self.read_first(vae, file) for file in (self.first, self.second)]
        scores = vae.interpolate(*ends, self.steps, **options)
        self.save_scores(scores, "step")
        self.save_picture(mv.plot_interpolation(scores), "path")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resample(FileCommand):
    """Variants of a piece: the upper levels are kept, the lower levels are drawn from their priors.

    Writes NAME.original.mid, .wav, NAME_0.mid, .wav, ..., and NAME.png with all of them.
    """

    file: Positional[str]
    """MIDI, MusicXML or ABC file."""
    keep: str = "global"
    """The lowest level that is kept: global, or local (keeps global too)."""
    num: int = 3
    """Number of variants."""
    from_measure: int = 1
    """Where in the piece they begin, counted from 1."""
    measures: int | None = None
    """Measures from there on, any number; those of a window if not given."""
    level_temperature: LevelTemperature = ()
    """Factors of the prior's scales, e.g. local 0.8 fine 1; 1 for other levels."""

    def run(self) -> int:
        part = {"start": self.from_measure - 1, "measures": self.measures}
        options = self.options() | part | {"temperature": dict(self.level_temperature)}
        vae = self.load()
        score = self.read_first(vae, self.file)
        variants = vae.resample(score, self.keep, self.num, **options)
        original, (stem,) = vae.first_window(score, **part), stems_of([score])
        self.save_sound(original, f"{stem}.original")
        for number, variant in enumerate(variants):
            self.save_sound(variant, f"{stem}_{number}")
        self.save_picture(mv.plot_variants(original, variants, title=score.title or stem), stem)
        print(f"{self.num} variants with the original as MIDI and WAV, and {stem}.png: {self.out}")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traverse(FileCommand):
    """Moves one dim of a piece's first window; the levels below are drawn from their priors, with the same noise.

    Writes NAME_0.mid, .wav, NAME_1 ..., from the lowest value to the highest, and NAME.png with all of them.
    """

    file: Positional[str]
    """MIDI, MusicXML or ABC file."""
    dim: str
    """The dim by its name, such as fine/rhythm[0]."""
    steps: int = 5
    """Number of points, both ends included."""
    reach: float = 2.0
    """The largest shift of the dim, in both directions."""

    def run(self) -> int:
        options = self.options()
        vae = self.load()
        score = self.read_first(vae, self.file)
        scores = vae.traverse(score, self.dim, self.steps, self.reach, **options)
        (stem,) = stems_of([score])
        for number, moved in enumerate(scores):
            self.save_sound(moved, f"{stem}_{number}")
        shifts = [f"{-self.reach + 2 * self.reach * number / (self.steps - 1):+.1f}" for number in range(self.steps)]
        title = f"{score.title or stem}: {self.dim}"
        self.save_picture(mv.plot_interpolation(scores, shifts, title=title), stem)
        print(f"{self.steps} points as MIDI and WAV, and {stem}.png: {self.out}")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gallery(Command):
    """Reconstructions of held-out windows, samples and training curves, to inspect a run.

    Writes reconstruction_0.*, ..., sample_0.*, ..., samples.png, and training.png.
    """

    num: int = 8
    """Number of samples, and of reconstructions (at most the windows of the split)."""
    split: str = "validation"
    """Split that the reconstructed windows come from."""
    places: OmitArgPrefixes[DataPlaces]
    """Where the music is read."""

    def run(self) -> int:
        vae = self.load()
        check(self.num >= 1, "num", self.num, "1 or more")
        source = mv.load_windows(self.places.apply(vae, self.workdir).config, self.split, attributes=False)
        batch = mv.make_eval_batches(source, min(self.num, max(len(source), 1)), num_examples=self.num)[0]
        copies = vae.scores(vae.reconstruct_tokens(batch, seed=self.seed), batch.metre)
        for number, (original, copy) in enumerate(zip(vae.scores(batch.tokens, batch.metre), copies, strict=True)):
            self.save_reconstruction(original, copy, f"reconstruction_{number}", source.describe(batch.index[number]))
        samples = vae.sample(self.num, seed=self.seed)
        self.save_scores(samples, "sample")
        self.save_picture(mv.plot_samples(samples), "samples")
        self.save_picture(mv.plot_training_curves(mv.read_metrics(Path(self.workdir) / "metrics.jsonl")), "training")
        shown = [f"{self.out}/{name}.png" for name in ("reconstruction_0", "samples", "training")]
        print(f"look at {', '.join(shown)}; listen to {self.out}/*.wav")
        return 0


def stems_of(scores: list[Score]) -> list[str]:
    """Distinct file names made from the sources of scores, of 100 bytes at most: a file name has 255."""
    stems: list[str] = []
    for score in scores:
        stem = "".join(c if c.isalnum() or c in "-_" else "_" for c in Path(score.source).name)
        stem = stem.encode()[-100:].decode(errors="ignore")
        number = sum(other == stem or other.startswith(f"{stem}-") for other in stems)
        stems.append(f"{stem}-{number}" if number else stem)
    return stems


if __name__ == "__main__":
    run(main)
