"""ABC: reading is the inverse of writing; what symbols and fields mean, and what is refused."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.codec import (
    DEFAULT_VELOCITY,
    MusicError,
    check_score,
    parse_abc,
    read_abc,
    read_midi,
    write_abc,
    write_midi,
)
from tests.codec.music import SIXTEENTHS, TUNE, assert_same, notes_of, score_of, scores

HEADER = "X:1\nT:A tune\nM:4/4\nL:1/4\nK:C\n"
MODES = ["major", "minor", "dorian", "mixolydian", "phrygian", "lydian", "locrian"]


def read(body, header=HEADER):
    return parse_abc(header + body).score


def lengths(score):
    """Onset of each note inside its measure, in quarters, grouped by measure."""
    starts = [*score.measures[:, 0].tolist(), score.end]
    return [
        [(onset - start) / 480 for onset in score.notes[:, 0].tolist() if start <= onset < end]
        for start, end in itertools.pairwise(starts)
    ]


@given(scores() | scores(SIXTEENTHS), st.integers(-7, 7) | st.none(), st.sampled_from(MODES), st.integers(40, 640))
def test_reading_what_was_written_is_the_score_again(score, fifths, mode, eighths_of_tempo):
    fields = {"fifths": fifths, "mode": mode if fifths is not None else "", "tempo": eighths_of_tempo / 4}
    score = score_of(score.notes, score.measures, title="Any tune", **fields)
    if not len(score.notes):
        return  # ABC without a note is refused as empty
    tune = parse_abc(write_abc(score), source="score")
    assert_same(tune.score, score)
    assert tune.header["irregular"] == "0"


def test_a_book_is_split_into_tunes(tmp_path):
    path = tmp_path / "book.abc"
    path.write_text("% a book\n\nX:7\nT:One\nM:2/4\nK:G\nG2G2|\n\nX:9\nT:Two\nM:3/4\nK:Am\nA6|\nX:10\nT:No key\n")
    refusals: list[MusicError] = []
    tunes = read_abc(path, refusals)
    assert [tune.score.title for tune in tunes] == ["One", "Two"]
    assert [tune.header["X"] for tune in tunes] == ["7", "9"]
    assert [(tune.score.fifths, tune.score.mode) for tune in tunes] == [(1, "major"), (0, "minor")]
    assert [(error.source, error.reason) for error in refusals] == [(f"{path} X:10", "unreadable")]
    with pytest.raises(MusicError, match="X:10, header: unreadable"):
        read_abc(path)


def test_an_upbeat_is_a_full_measure_after_silence():
    score = read("G | c e g e | c3 |]")
    assert score.num_measures == 3
    assert lengths(score) == [[3], [0, 1, 2, 3], [0]]


def test_the_upbeat_of_a_strain_shares_the_last_measure_of_the_strain_before():
    score = read("G | c e g e | c3 :: G | c e g e | c3 :|")
    assert lengths(score) == [[3], [0, 1, 2, 3], [0, 3], [0, 1, 2, 3], [0]]
    score = read("G | c e g e | c2 :| G | c e g e |")  # a quarter is missing: silence before the upbeat
    assert lengths(score) == [[3], [0, 1, 2, 3], [0, 3], [0, 1, 2, 3]]
    score = read("c e g e | c4 :| G | c e g e |")  # no room: a measure of its own
    assert lengths(score) == [[0, 1, 2, 3], [0], [3], [0, 1, 2, 3]]


def test_repeats_are_not_expanded_and_both_endings_are_kept():
    score = read("|: c d e f | g a b c' |1 c4 :|2 C4 || c2 |]")
    assert [pitch for _, _, pitch in notes_of(score)] == [
        60 + step for step in (12, 14, 16, 17, 19, 21, 23, 24, 12, 0, 12)
    ]
    assert lengths(score)[2:] == [[0], [0], [0]]


def test_a_second_ending_starts_where_the_first_did():
    score = read("|: c d e f | c d [1 e f :| [2 g a | c4 |]")
    assert lengths(score) == [[0, 1, 2, 3], [0, 1, 2, 3], [2, 3], [0]]
    score = read("G |: c d e f |1 c2 d G :|2 c3 |: G | c d e f |]")
    assert lengths(score) == [[3], [0, 1, 2, 3], [0, 2, 3], [0, 3], [0, 1, 2, 3]]


def test_grace_notes_decorations_fingerings_and_chord_symbols_are_not_notes():
    plain = read("c d e f | g4 |]")
    assert_same(plain, read('{cd}c "Am"d "4"e ~.Tf | !trill!{/g}u(g4) y |]'), but=("title",))
    assert_same(plain, read("c`d e{a}\\\nf | g4 H |]"), but=("title",))


def test_onsets_are_exact_and_velocities_are_the_default():
    score = read("c (3d/e/f/ g z | c>d e<f |]")
    assert score.notes[:, 0].tolist() == [0, 480, 640, 800, 960, 1920, 2640, 2880, 3120]
    assert score.notes[:, 1].tolist() == [480, 160, 160, 160, 480, 720, 240, 240, 720]
    assert set(score.notes[:, 3].tolist()) == {DEFAULT_VELOCITY}


def test_nothing_is_printed(tmp_path, capfd):
    path = tmp_path / "slips.abc"
    path.write_text(HEADER + "c !d ?? [e ~~ ( f | $$ ((3 g %&/ |: c\n")
    read_abc(path)
    assert capfd.readouterr() == ("", "")


def test_ties_join_notes_over_bar_lines_and_carry_accidentals():
    score = read("c3 ^f- | f2 f2- | f4 |]")
    assert notes_of(score) == [(0, 3, 72), (3, 3, 78), (6, 6, 77)]
    assert notes_of(read("c2-d2-|d4")) == [(0, 2, 72), (2, 6, 74)]
    # A short bar is followed by silence, which ends the tie.
    assert notes_of(read("c4 | d e f- | f3 e | c4 |]"))[3:5] == [(6, 1, 77), (8, 3, 77)]


def test_accidentals_hold_to_the_bar_line_in_every_octave():
    assert [pitch for *_, pitch in notes_of(read("^f F =f F | f F _b B |"))] == [78, 66, 77, 65, 77, 65, 82, 70]


@pytest.mark.parametrize(
    ("key", "fifths", "mode"),
    [
        ("G", 1, "major"), ("Em", 1, "minor"), ("E Minor", 1, "minor"), ("D Dorian % two flats", 0, "dorian"),
        ("Dmix", 1, "mixolydian"), ("Bb", -2, "major"), ("F#m", 3, "minor"), ("EM", 4, "major"),
        ("A clef=treble", 3, "major"), ("Hp", 2, "mixolydian"), ("none", None, ""),
    ],
)  # fmt: skip
def test_keys(key, fifths, mode):
    score = read("c4|", HEADER.replace("K:C", f"K:{key}"))
    assert (score.fifths, score.mode) == (fifths, mode)


def test_explicit_accidentals_and_changes_of_key_length_and_metre():
    assert notes_of(read("c4|", HEADER.replace("K:C", "K:Dmix=c")))[0][2] == 72
    score = read("f4 | [K:G] f4 | [M:3/4] f3 |\nM:6/8\nL:1/8\n f6 | f2 [M:2/4] f4 | f4 |")
    assert [pitch for *_, pitch in notes_of(score)] == [77, 78, 78, 78, 78, 78, 78]
    assert score.measures[:, 1:].tolist() == [[4, 4], [4, 4], [3, 4], [6, 8], [6, 8], [2, 4]]


@pytest.mark.parametrize(
    ("text", "tempo"),
    [
        ("1/4=90", 90), ("3/8=120", 180), ('1/2=60 "Slow"', 120), ("100", 100), ('"Slow"', 120), ("1/4=0", 120),
        ("1/8=1", 120), ("1/128=127", 120), ("3", 120), ("999/1=9999", 120), ("1/8=8", 4), ("1/1=9999", 39_996),
    ],
)  # fmt: skip
def test_tempo_is_in_quarters_and_is_120_if_midi_cannot_hold_it(text, tempo, tmp_path):
    score = parse_abc(TUNE.format(text)).score
    assert score.tempo == tempo
    write_midi(score, tmp_path / "a.mid")
    assert read_midi(tmp_path / "a.mid").tempo == pytest.approx(tempo, rel=1e-3)


def test_bars_that_do_not_add_up_are_padded_or_split_and_counted():
    tune = parse_abc(HEADER + "c d e | c d e f | c d e f g | c d e f | c d e f | c d e f | c4 | c4 |")
    # The first bar is taken for an upbeat; the third is a beat too long.
    assert lengths(tune.score)[:5] == [[1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3], [0], [0, 1, 2, 3]]
    assert tune.header["irregular"] == "1"
    tune = parse_abc(HEADER + "c4 | c d e | c d e f | c4 | c4 | c8 | c4 |")
    assert lengths(tune.score)[1:3] == [[0, 1, 2], [0, 1, 2, 3]]
    assert tune.header["irregular"] == "1"
    assert tune.score.num_measures == 8
    with pytest.raises(MusicError, match="4 of 6 bars do not add up to 4/4"):
        parse_abc(HEADER + "c4 | c3 | c3 | c5 | c5 | c4")


def test_the_first_of_several_voices_is_read():
    tune = parse_abc(HEADER + "V:1\nc4 | d4 |\nV:2\nC4 | D4 |\nV:1\ne4 |\n[V:2] E4 |\n")
    assert [pitch for *_, pitch in notes_of(tune.score)] == [72, 74, 76]
    assert tune.header["voices"] == "2"


def test_chords_keep_their_notes():
    assert notes_of(read("[ceg]2 +CE+2 | [c2e2]2|")) == [
        (0, 2, 72), (0, 2, 76), (0, 2, 79), (2, 2, 60), (2, 2, 64), (4, 4, 72), (4, 4, 76),
    ]  # fmt: skip


def test_quintuplets_and_rests_of_whole_measures():
    score = read("(5c/d/e/f/g/ z3 | Z2 | c4 |]")
    assert score.notes[:5, 0].tolist() == [0, 96, 192, 288, 384]
    assert score.num_measures == 4
    assert notes_of(score)[-1] == (12, 4, 72)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("  \n ", "empty"),
        ("just some words", "unreadable"),
        ("X:1\nT:cut", "unreadable"),
        ("X:1\nM:4/4\nK:C\n", "empty"),
        ("X:1\nK:C\nCDEF|", "metre"),
        ("X:1\nM:none\nK:C\nCDEF|", "metre"),
        ("X:1\nM:4/0\nK:C\nCDEF|", "metre"),
        ("X:1\nM:4/4\nL:1/0\nK:C\nCDEF|", "unreadable"),
        ("X:1\nM:4/4\nK:C\nC,,,,,,,,|", "range"),
        ("X:1\nM:4/4\nK:C\nZ9999|Z9999|Z9999|c", "length"),
    ],
)
def test_a_bad_text_is_refused_with_its_reason(tmp_path, text, reason):
    path = tmp_path / "bad.abc"
    path.write_text(text)
    with pytest.raises(MusicError) as caught:
        read_abc(path)
    assert caught.value.reason == reason
    assert str(path) in str(caught.value)


@given(st.text("ABCabcz|:[]123/>-<(){}\"!^=_,' \n%K:M:LV&+~H", max_size=120), st.integers(0, 400))
def test_any_text_is_refused_or_read_as_a_valid_score(text, cut):
    header = HEADER if cut > 100 else HEADER[:cut]
    try:
        score = parse_abc(header + text).score
    except MusicError:
        return
    check_score(score)


def test_latin_1_books_are_read(tmp_path):
    path = tmp_path / "old.abc"
    path.write_bytes((HEADER.replace("A tune", "Fée") + "c4|").encode("latin-1"))
    assert read_abc(path)[0].score.title == "Fée"


def test_overlapping_notes_are_not_written():
    with pytest.raises(MusicError, match="polyphonic"):
        write_abc(score_of([(0, 480, 60, 80, 0), (0, 480, 64, 80, 0)]))
