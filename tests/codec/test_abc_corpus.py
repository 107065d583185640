"""The reader against real tunes: music21's corpus, read in place, with symusic's reader as a second opinion."""

import re

import numpy as np
import pytest
import symusic
from musicvae_jax.codec.abc_text import read_tune, split_tunes

from musicvae_jax.codec import MelodyCodec, MusicError, check_score, parse_abc, read_abc

_BOOKS = ("ryansMammoth", "oneills1850", "airdsAirs", "miscFolk")


@pytest.fixture(scope="module")
def files(corpus):
    return [path for book in _BOOKS for path in sorted((corpus / book).glob("*.abc"))]


@pytest.fixture(scope="module")
def tunes(files):
    refusals: list[MusicError] = []
    found = [tune for path in files for tune in read_abc(path, refusals)]
    return found, refusals


def test_nearly_every_tune_is_read(tunes):
    found, refusals = tunes
    assert len(found) > 4400
    assert len(refusals) / len(found) < 0.004
    assert {error.reason for error in refusals} == {"metre"}
    for tune in found:
        check_score(tune.score)


def test_notes_lie_on_the_grid_and_bars_add_up(tunes):
    found, _ = tunes
    for codec, share in (MelodyCodec(), 0.97), (MelodyCodec(("0", "1/4", "1/3", "1/2", "2/3", "3/4"), 36), 0.99):
        notes = on_grid = 0
        for score, _ in found:
            onset = score.notes[:, 0]
            start = score.measures[np.searchsorted(score.measures[:, 0], onset, side="right") - 1, 0]
            on_grid += int(np.isin((onset - start) % 480, codec.offsets).sum())
            notes += len(onset)
        assert on_grid / notes > share
    measures = sum(score.num_measures for score, _ in found)
    starts_with_onset = sum(np.isin(score.measures[:, 0], score.notes[:, 0]).sum() for score, _ in found)
    assert starts_with_onset / measures > 0.95  # the rest are upbeats, rests and ties
    assert sum(int(header["irregular"]) for _, header in found) / measures < 0.004


def test_pitches_and_onsets_are_those_that_symusic_reads(files, tmp_path, capfd):
    """Of plain tunes: one voice, no chords, changes, ties or ornaments, and a line of repeats that is cut off here."""
    plain = []
    for path in files[::25]:
        for text in split_tunes(path.read_text(errors="replace"))[:6]:
            header, body, voices = read_tune(text)
            body = re.sub(r'\{[^}]*\}|"[^"]*"|[~.uvTSHkM)]|\((?!\d)|(?<=\|)[12]', "", body.split(":|")[0])
            if voices == 1 and re.fullmatch(r"[A-Ga-gz(\d/<>,'^_=|\s]*", body):
                unit = header.get("L", "1/8")
                plain.append(f"X:1\nM:{header['M']}\nL:{unit}\nK:{header['K']}\n{body.replace('||', '|')}|\n")
    assert len(plain) > 30
    for number, text in enumerate(plain):
        path = tmp_path / f"{number}.abc"
        path.write_text(text)
        theirs = symusic.Score.from_file(path).tracks[0].notes.numpy()
        ours = parse_abc(text).score.notes
        assert theirs["pitch"].tolist() == ours[:, 2].tolist(), text
        # Theirs start a tick late and know no bars: compare the time between onsets, where no silence was put in.
        apart = np.diff(theirs["time"]) != np.diff(ours[:, 0])
        assert apart.mean() < 0.1, text
    capfd.readouterr()
