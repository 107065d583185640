"""Reading MusicXML against music21, on its corpus."""

from typing import Any

import pytest

from musicvae_jax.codec import check_score, read_musicxml, write_musicxml
from tests.codec.music import assert_same

# In three of them music21 leaves ties between chords, or of two voices at once, unjoined. In bwv374 a measure is a beat
# short, and the silence that fills it breaks a tie into the next.
ODD = {"bwv248.23-2", "bwv248.9-1", "bwv846", "bwv374"}
CHORALES = ["bwv66.6", "bwv10.7", "bwv120.6", "bwv29.8", "bwv325", "bwv436"]


def assert_heads(score, theirs):
    """Track, pitch and duration of every note agree; music21 knows no full measures, so onsets cannot be compared."""
    ours = [(track, pitch, duration) for _, duration, pitch, _, track in score.notes.tolist()]
    heads = [
        (track, pitch.midi, round(float(element.quarterLength) * 480))
        for track, part in enumerate(theirs.parts)
        for element in part.flatten().notes
        if element.quarterLength
        for pitch in element.pitches
    ]
    assert sorted(ours) == sorted(heads)


@pytest.mark.parametrize("name", CHORALES)
def test_a_chorale_is_what_music21_plays(corpus, name):
    from music21 import converter

    score = read_musicxml(corpus / "bach" / f"{name}.mxl")
    check_score(score)
    theirs: Any = converter.parse(corpus / "bach" / f"{name}.mxl", forceSource=True)
    assert [part.name for part in score.parts] == [part.partName for part in theirs.parts]
    assert_heads(score, theirs.stripTies())
    assert score.fifths == theirs.parts[0].flatten().keySignature.sharps
    assert len(score.phrase_ends) >= 4
    top = score.notes[score.notes[:, 4] == 0]
    assert set(score.phrase_ends.tolist()) <= set((top[:, 0] + top[:, 1]).tolist())


@pytest.mark.slow
def test_every_chorale_is_what_music21_plays(corpus):
    from music21 import converter

    paths = sorted((corpus / "bach").glob("*.mxl"))
    four = 0
    for path in paths:
        score = read_musicxml(path)
        check_score(score)
        four += len(score.parts) == 4
        if path.stem not in ODD:
            assert_heads(score, converter.parse(path, forceSource=True).stripTies())
    assert (len(paths), four) == (408, 364)


def test_many_pieces_are_read_and_written_without_loss(corpus, path):
    for piece in sorted((corpus / "bach").glob("*.mxl"))[::20]:
        score = read_musicxml(piece)
        check_score(score)
        write_musicxml(score, path)
        assert_same(read_musicxml(path), score, but=("source",))
