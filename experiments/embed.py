"""Writes the latents of a folder of music, or of a split, as a table: an .npz file with named columns.

Examples:
    python experiments/embed.py --workdir runs/folk --folder ~/music --out music.npz
    python experiments/embed.py --workdir runs/folk --split test --out test.npz
"""

from commandline import DataPlaces, run

import sys

import tyro
from tyro.conf import OmitArgPrefixes

from musicvae_jax.config import UserError


def embed(
    *,
    workdir: str,
    out: str,
    folder: str = "",
    split: str = "",
    track: str = "auto",
    checkpoint: str = "best",
    places: OmitArgPrefixes[DataPlaces],
) -> int:
    """Writes the latents of a folder of music, or of a split, as a table: an .npz file with named columns.

    Args:
        workdir: the folder of the run.
        out: the file to write: latents, columns, piece, measure, title, source, book, key, mode, metre, style.
        folder: of MIDI, MusicXML and ABC files.
        split: of the run's data set, instead of a folder.
        track: the melody in a polyphonic file, for a melody model: a number, a part's name, or skyline.
        checkpoint: best or latest.
        places: where the music of a split is read.
    """
    from musicvae_jax.analysis import corpus
    from musicvae_jax.codec import format_refusals
    from musicvae_jax.evaluation.load import load_workdir
    from musicvae_jax.training.devices import set_up_devices

    if bool(folder) == bool(split):
        raise UserError(f"folder = {folder!r} and split = {split!r}: allowed is one of them")
    if not out.endswith(".npz"):
        raise UserError(f"out = {out!r}: allowed is a name that ends in .npz")
    if folder:
        corpus.find_music(folder)  # refuses a bad folder before the work
    set_up_devices()
    vae = load_workdir(workdir, checkpoint)
    music = folder or corpus.scores_of_split(places.apply(vae, workdir), split)
    table, refusals = corpus.embed(vae, music, track)
    corpus.save_embedding(table, out)
    rows, columns = table.latents.shape
    print(f"{rows} windows of {table.piece.max() + 1} pieces, {columns} columns: {out}")
    if refusals:
        print(format_refusals(refusals), file=sys.stderr)
    return 0


if __name__ == "__main__":
    run(lambda: tyro.cli(embed))
