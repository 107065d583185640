"""Writing MusicXML is the inverse of reading it; pitches and note values are spelled as in print."""

import dataclasses
import itertools
import xml.etree.ElementTree as ET
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.codec import MusicError, Part, Score, check_score, read_musicxml, write_musicxml
from musicvae_jax.codec.musicxml_write import musicxml_text
from musicvae_jax.codec.notation import CHORDS, bits_of, spell
from tests.codec.music import assert_same, polyphony, score_of

KEYS = st.tuples(st.none(), st.just("")) | st.tuples(
    st.integers(-7, 7), st.sampled_from(["", "major", "minor", "dorian"])
)


@st.composite
def chords_of(draw, score: Score) -> np.ndarray:
    """Successive named chords, some with pauses between them."""
    edges = sorted(draw(st.sets(st.integers(0, score.end // 60).map(lambda step: 60 * step), max_size=6)))
    rows = []
    for start, end in itertools.pairwise(edges):
        kind = draw(st.sampled_from([None, *CHORDS]))
        root = draw(st.integers(0, 11))
        if kind:
            rows.append((start, end - start, root, bits_of([root + step for step in CHORDS[kind]])))
    return np.array(rows, np.int32).reshape(-1, 4)


@settings(max_examples=40)
@given(st.data())
def test_reading_what_was_written_is_the_score_again(path, data):
    score = data.draw(polyphony())
    fifths, mode = data.draw(KEYS)
    top = score.notes[score.notes[:, 4] == score.notes[:, 4].min(initial=9)]
    ends = np.unique(top[:, 0] + top[:, 1])
    text = st.sampled_from(["A tune", "Fée & <Ondine>", '"'])
    score = dataclasses.replace(
        score,
        fifths=fifths,
        mode=mode,
        tempo=data.draw(st.integers(400, 70000)) / 100,
        title=data.draw(text),
        composer=data.draw(text | st.just("")),
        style=data.draw(text | st.just("")),
        chords=data.draw(chords_of(score)),
        phrase_ends=np.array([end for end in ends if data.draw(st.booleans())], np.int32),
    )
    write_musicxml(score, path)
    if not len(score.notes):
        with pytest.raises(MusicError, match="empty: no notes"):
            read_musicxml(path)
        return
    found = read_musicxml(path, drums=True)
    check_score(found)
    # Notes of one onset, pitch and track may be in any order.
    assert sorted(found.notes.tolist()) == sorted(score.notes.tolist())
    assert_same(found, score, but=("source", "notes"))


def test_an_archive_holds_the_same_score_and_is_deterministic(tmp_path):
    score = score_of([(0, 480, 60, 80, 0), (480, 1000, 64, 33, 0)], title="A", parts=(Part("Flute", 73),))
    for name in ("a.mxl", "b.musicxml"):
        write_musicxml(score, tmp_path / name)
        assert_same(read_musicxml(tmp_path / name), score, but=("source",))
    assert zipfile.is_zipfile(tmp_path / "a.mxl")
    first = (tmp_path / "a.mxl").read_bytes()
    write_musicxml(score, tmp_path / "a.mxl")
    assert (tmp_path / "a.mxl").read_bytes() == first


def test_notes_are_spelled_and_cut_as_in_print():
    score = score_of([(0, 2400, 66, 90, 0), (2400, 160, 60, 90, 0)], [(0, 4, 4), (1920, 4, 4)], fifths=2)
    notes = list(ET.fromstring(musicxml_text(score)).iter("note"))
    found = [
        (
            "".join(note.findtext(f"pitch/{tag}", "") for tag in ("step", "alter", "octave")) or "rest",
            note.findtext("duration"),
            note.findtext("type"),
            [tie.get("type") for tie in note.findall("tie")],
            note.get("dynamics"),
        )
        for note in notes
    ]
    assert found == [
        ("F14", "1920", "whole", ["start"], "100.00"),
        ("F14", "480", "quarter", ["stop"], "100.00"),
        ("C4", "160", "eighth", [], "100.00"),
        ("rest", "1280", "whole", [], None),
    ]


@given(st.integers(0, 127), st.integers(-7, 7))
def test_a_spelled_pitch_is_that_pitch(pitch, fifths):
    step, alter, octave = spell(pitch, fifths)
    assert dict(zip("CDEFGAB", (0, 2, 4, 5, 7, 9, 11), strict=True))[step] + alter + 12 * (octave + 1) == pitch
    assert abs(alter) <= 2
