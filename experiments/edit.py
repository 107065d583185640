"""Changes a piece as asked, in musical units; all other measures keep their notes.

Example:
    python experiments/edit.py tune.abc --workdir runs/folk --out out --change note_density=+2 --measures 5-8
"""

from commandline import DataPlaces, run, split_labels

import dataclasses
import re

import tyro
from generate import FileCommand, stems_of
from tyro.conf import OmitArgPrefixes, Positional

import musicvae_jax as mv
from musicvae_jax.config import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Edit(FileCommand):
    """Changes a piece as asked. Writes NAME.original.mid, .wav, NAME.mid, .wav, and NAME.png with both.

    The first time it finds the directions of the attributes in the latents, which takes minutes, and keeps them in
    WORKDIR/directions.
    """

    file: Positional[str]
    """MIDI, MusicXML or ABC file."""
    change: tuple[str, ...]
    """ATTRIBUTE=CHANGE, such as note_density=+2 (notes a measure) or mean_pitch=-3 (semitones)."""
    measures: str = ""
    """Measures that change, counted from 1, such as 5-8 or 3; all if not given."""
    level: str = ""
    """The level whose latents move; the finest if not given."""
    places: OmitArgPrefixes[DataPlaces]
    """Where the music is read that directions are found in."""

    def run(self) -> int:
        changes, chosen = self.parse_changes(), parse_measures(self.measures)
        vae = self.places.apply(self.load(), self.workdir)
        score = self.read_first(vae, self.file)
        if chosen and chosen[-1] >= score.num_measures:
            raise UserError(f"measures = {self.measures!r}: the piece has measures 1 to {score.num_measures}")
        analyzer = mv.LatentAnalyzer(self.workdir, vae=vae)
        edit = analyzer.edit(score, changes, self.level, chosen, seed=self.seed)
        (stem,) = stems_of([score])
        self.save_sound(score, f"{stem}.original")
        self.save_sound(edit.score, stem)
        self.save_picture(mv.plot_variants(score, [edit.score], ["edited"], title=score.title or stem), stem)
        print(edit.table)
        print(f"{self.out}/{stem}.mid, .wav and .png; the original is {stem}.original.mid and .wav")
        return 0

    def parse_changes(self) -> dict[str, float]:
        """Attribute -> change, of ``change``."""
        form = "ATTRIBUTE=CHANGE, such as note_density=+2"
        found = {}
        for name, text in split_labels("change", self.change, form).items():
            try:
                found[name] = float(text)
            except ValueError:
                raise UserError(f"change has {name}={text}: allowed is {form}") from None
        return found


def parse_measures(text: str) -> range | None:
    """A text such as ``"5-8"``, counted from 1, as a range counted from 0; None for an empty text."""
    if not text:
        return None
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last:
        raise UserError(f"measures = {text!r}: allowed is a number, or two such as 5-8, ascending, counted from 1")
    return range(first - 1, last)


if __name__ == "__main__":
    run(lambda: tyro.cli(Edit, description=__doc__).run())
