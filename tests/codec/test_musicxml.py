"""Short MusicXML documents: how they sound, and what is refused."""

from typing import Any

import pytest

from musicvae_jax.codec import MusicError, Part, Score, check_score, read_musicxml
from musicvae_jax.codec.notation import CHORDS, bits_of, chord_name
from tests.codec.music import notes_of

BAR = '</measure><measure number="9">'
REPEAT = '<barline location="right"><bar-style>light-heavy</bar-style><repeat direction="backward"/></barline>'


def document(measures: str, attributes: str = "", head: str = "", more: str = "") -> str:
    return f"""<?xml version="1.0"?><score-partwise>{head}<part-list><score-part id="P1"><part-name>Violin</part-name>
        </score-part></part-list><part id="P1"><measure number="1"><attributes><divisions>2</divisions>
        {attributes or "<time><beats>4</beats><beat-type>4</beat-type></time>"}</attributes>{measures}</measure></part>
        {more}</score-partwise>"""


def note(step: str = "C", duration: int | str = 2, inside: str = "", octave: int = 4) -> str:
    where = f"<pitch><step>{step}</step><octave>{octave}</octave></pitch>"
    chord = "<chord/>" if "<chord/>" in inside else ""
    return f"<note>{chord}{where}<duration>{duration}</duration>{inside.replace('<chord/>', '')}</note>"


def read(path, text) -> Score:
    path.write_text(text)
    score = read_musicxml(path)
    check_score(score)
    return score


def test_upbeats_get_a_full_measure_and_bar_lines_stay_in_place(path):
    first_strain = note("G") + BAR + note("C", 8) + BAR + note("C", 6) + REPEAT
    second_strain = note("A") + BAR + note("D", 8) + BAR + note("D", 6)
    score = read(path, document(first_strain + BAR + second_strain))
    assert score.measures.tolist() == [[1920 * number, 4, 4] for number in range(5)]
    assert notes_of(score) == [
        (3, 1, 67), (4, 4, 60), (8, 3, 60), (11, 1, 69), (12, 4, 62), (16, 3, 62),
    ]  # fmt: skip


def test_a_full_measure_rest_does_not_lengthen_an_upbeat(path):
    rest = '<backup><duration>2</duration></backup><note><rest measure="yes"/><duration>8</duration></note>'
    score = read(path, document(note("G") + rest + BAR + note("C", 8)))
    assert notes_of(score) == [(3, 1, 67), (4, 4, 60)]


def test_ties_chords_and_fermatas_are_read_but_not_grace_and_cue_notes(path):
    tie = '<tie type="{}"/>'
    grace = "<note><grace/><pitch><step>B</step><octave>4</octave></pitch></note>"
    cue = note("A", 2, "<cue/>")
    text = grace + note("C", 2) + note("E", 2, "<chord/>") + cue + note("D", 4, tie.format("start"))
    text += BAR + note("D", 2, tie.format("stop") + "<notations><fermata/></notations>") + note("D", 6)
    score = read(path, document(text))
    assert notes_of(score) == [(0, 1, 60), (0, 1, 64), (2, 3, 62), (5, 3, 62)]
    assert score.phrase_ends.tolist() == [5 * 480]
    assert score.parts == (Part("Violin", 40),)  # by its name
    assert score.title == path.stem


def test_a_transposing_part_is_read_as_it_sounds(path):
    key = "<key><fifths>2</fifths><mode>major</mode></key><time><beats>4</beats><beat-type>4</beat-type></time>"
    transpose = "<transpose><diatonic>-1</diatonic><chromatic>-2</chromatic></transpose>"
    score = read(path, document(note("D", 8), key + transpose))
    assert (score.fifths, score.mode, notes_of(score)) == (0, "major", [(0, 4, 60)])


def test_percussion_is_read_only_on_request(path):
    drum = '<note><unpitched/><duration>8</duration><instrument id="I"/></note>'
    described = '<midi-instrument id="I"><midi-channel>10</midi-channel><midi-unpitched>39</midi-unpitched>'
    text = document(drum).replace("</score-part>", described + "</midi-instrument></score-part>")
    path.write_text(text)
    with pytest.raises(MusicError, match="no notes but percussion"):
        read_musicxml(path)
    score = read_musicxml(path, drums=True)
    assert notes_of(score) == [(0, 4, 38)] and score.parts[0].is_drum


def test_each_staff_is_a_track(path):
    lower = note("C", 8, "<staff>2</staff>", octave=3)
    text = note("E", 8, "<staff>1</staff>") + "<backup><duration>8</duration></backup>" + lower
    staves = "<staves>2</staves><time><beats>4</beats><beat-type>4</beat-type></time>"
    score = read(path, document(text, staves))
    assert score.notes[:, [2, 4]].tolist() == [[48, 1], [64, 0]]
    assert len(score.parts) == 2
    stray = read(path, document(text.replace("<staff>2", "<staff>7"), staves))  # an undeclared staff
    assert len(stray.notes) == 2


METRONOME = """<direction><direction-type><metronome><beat-unit>quarter</beat-unit><beat-unit-dot/>
    <per-minute>60</per-minute></metronome></direction-type></direction>"""


@pytest.mark.parametrize(
    ("text", "tempo"),
    [
        ('<direction><sound tempo="NaN"/></direction><direction><sound tempo="90"/></direction>', 90),
        ('<sound tempo="-1"/>', 120),
        (METRONOME, 90),
    ],
)
def test_the_first_valid_tempo_counts(path, text, tempo):
    assert read(path, document(text + note("C", 8))).tempo == tempo


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("<html/>", "unreadable"),
        ("X:1\nK:C\nCDEF|\n", "corrupt"),
        (document(""), "empty"),
        (document(note())[:-20], "corrupt"),
        (document(note()).replace("score-partwise", "score-timewise"), "unreadable"),
        (document(note()).replace("?>", '?><!DOCTYPE a [<!ENTITY b "c">]>'), "unreadable"),
        (document(note(duration="1e400")), "corrupt"),
        (document(note(duration=-2)), "corrupt"),
        (document(note(octave=200)), "corrupt"),
        (document(note(octave=10)), "range"),
        (document(note("H")), "corrupt"),
        (document(note(duration=999_999_999)), "length"),
        (document(note(), "<time><beats>99999</beats><beat-type>4</beat-type></time>"), "metre"),
        (document(note(), "<time><beats>4</beats><beat-type>3</beat-type></time>"), "metre"),
        (document(note(), "<time><senza-misura/></time>"), "metre"),
        (document(note()).replace("<divisions>2", "<divisions>0"), "corrupt"),
        (document(note(), more='<part id="P2"/>'), "corrupt"),
        (document("<a>" * 100 + "</a>" * 100 + note()), "corrupt"),
    ],
)
def test_a_bad_document_is_refused_with_its_reason(path, text, reason):
    path.write_text(text)
    with pytest.raises(MusicError) as caught:
        read_musicxml(path)
    assert caught.value.reason == reason
    assert caught.value.source == str(path)


DEGREES = [("major", 9, 0, "add"), ("dominant", 9, -1, "add"), ("dominant", 5, 1, "alter")]


def test_chord_symbols_agree_with_music21(path):
    from music21 import converter, harmony

    degree = "<degree><degree-value>{}</degree-value><degree-alter>{}</degree-alter>"
    degree += "<degree-type>{}</degree-type></degree>"
    extras = [(kind, degree.format(*rest)) for kind, *rest in DEGREES]
    extras.append(("minor-seventh", "<bass><bass-step>C</bass-step></bass>"))
    symbols = [(kind, "") for kind in CHORDS] + extras
    measures = "".join(
        f"<harmony><root><root-step>D</root-step></root><kind>{kind}</kind>{extra}</harmony>" + note("C", 8) + BAR
        for kind, extra in symbols
    )
    score = read(path, document(measures))
    theirs: Any = converter.parse(path, forceSource=True, format="musicxml")
    theirs = list(theirs.recurse().getElementsByClass(harmony.ChordSymbol))
    assert score.chords[:, 2].tolist() == [2] * len(symbols)
    assert score.chords[:, 3].tolist() == [bits_of(pitch.midi for pitch in symbol.pitches) for symbol in theirs]
    for name, steps in CHORDS.items():
        assert chord_name(5, bits_of([5 + step for step in steps])) == name
