"""Bach's chorales: which works are taken, and that no soprano is in two splits."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from musicvae_jax.codec import MusicError
from musicvae_jax.codec.score import TRACK, Part, Score, check_score
from musicvae_jax.codec.tracks import find_polyphony, select_track
from musicvae_jax.data.datasets import bach_chorales
from musicvae_jax.data.datasets.bach_chorales import VOICES, find_chorales, four_voices, read_chorale
from musicvae_jax.data.datasets.corpus import Piece, Refusal, corpus_folder
from musicvae_jax.data.prepare import prepare, split_records
from musicvae_jax.data.records import to_score
from tests.data.test_folk_tunes import assert_disjoint, heard_windows

SAME_MELODY = ("bwv245.14", "bwv245.28")  # two settings of one hymn
SOME = (*SAME_MELODY, "bwv10.7", "bwv18.5-lz", "bwv112.5", "bwv256", "bwv267", "bwv290", "bwv300", "bwv312")
FIVE_PARTS = "bwv1.6"


def voices(pitches: tuple[int, ...] = (70, 65, 60, 50), names: tuple[str, ...] = VOICES) -> Score:
    notes = [(480 * beat, 480, pitch, 80, track) for beat in range(4) for track, pitch in enumerate(pitches)]
    rows = np.array(notes, np.int32)
    rows = rows[np.lexsort(rows[:, [4, 2, 0]].T)]
    return Score(rows, np.array([[0, 4, 4]], np.int32), parts=tuple(Part(name, 52) for name in names))


def test_four_voices_get_the_same_names() -> None:
    assert [part.name for part in four_voices(voices(names=("Sopran", "Alt", "tenor", "B."))).parts] == list(VOICES)
    assert {part.program for part in four_voices(voices()).parts} == {52}


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (voices((70, 65, 60), VOICES[:3]), "parts"),
        (voices((70, 65, 60, 50, 40), (*VOICES, "Continuo")), "parts"),
        (voices(names=("Violin", "Viola", "Viola", "Cello")), "instrumental"),
        (voices(names=("Tenor", "Alto", "Soprano", "Bass")), "instrumental"),
        (voices((60, 65, 70, 50)), "order"),
        (dataclasses.replace(voices(), notes=voices().notes[voices().notes[:, TRACK] != 2]), "order"),  # a silent voice
    ],
)
def test_other_scores_are_refused_by_reason(score: Score, reason: str) -> None:
    with pytest.raises(MusicError) as error:
        four_voices(score)
    assert error.value.reason == reason


def check_chorale(score: Score) -> None:
    """What holds for every chorale of the data set."""
    check_score(score)
    assert (score.composer, score.style) == ("Johann Sebastian Bach", "chorale")
    assert [part.name for part in score.parts] == list(VOICES)
    for track in range(4):
        assert find_polyphony(select_track(score, track).notes) is None
    soprano = select_track(score, "soprano").notes
    assert set(score.phrase_ends.tolist()) <= set((soprano[:, 0] + soprano[:, 1]).tolist())  # under a fermata


def test_some_chorales_as_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_process: None) -> None:
    """Ten chorales, a work of five parts, and a copy of the last one."""
    works = [work for work in find_chorales(corpus_folder()) if work.id[5:] in {*SOME, FIVE_PARTS}]
    assert len(works) == 11
    works.append(works[-1]._replace(id="bach/copy"))
    monkeypatch.setattr(bach_chorales, "find_chorales", lambda _: works)
    builder = prepare("bach_chorales", str(tmp_path))
    assert builder.info.metadata["refused_ids"] == {f"bach/{FIVE_PARTS}": "parts", "bach/copy": "duplicate"}
    split_of = {}
    for split in builder.info.splits:
        for record in split_records(builder, split):
            score, name = to_score(record), record["id"].decode()[5:]
            split_of[name] = split
            check_chorale(score)
            assert score.title == f"BWV {name[3:]}"
    assert sorted(split_of) == sorted(SOME)
    assert split_of[SAME_MELODY[0]] == split_of[SAME_MELODY[1]]


def test_a_chorale_by_hand() -> None:
    """BWV 269, Aus meines Herzens Grunde (Riemenschneider 1): 3/4 with an upbeat, G major."""
    (work,) = [work for work in find_chorales(corpus_folder()) if work.id == "bach/bwv269"]
    piece = read_chorale(work)
    assert isinstance(piece, Piece)
    score = to_score(piece.record)
    assert str(score.metre(0)) == "3/4" and score.fifths == 1 and score.mode == "major"
    first = [select_track(score, voice).notes[0] for voice in VOICES]
    assert [int(note[2]) for note in first] == [67, 62, 59, 43]  # G4 D4 B3 G2
    assert {int(note[0]) for note in first} == {960}  # the upbeat is beat 3 of a full measure
    assert select_track(score, "soprano").notes[:5, 2].tolist() == [67, 67, 74, 71, 69]


def test_a_damaged_file_is_refused_by_reason(tmp_path: Path) -> None:
    work = find_chorales(corpus_folder())[0]
    damaged = tmp_path / "bwv1.mxl"
    damaged.write_bytes(Path(work.path).read_bytes()[:500])
    result = read_chorale(work._replace(path=str(damaged)))
    assert isinstance(result, Refusal) and result.reason in {"corrupt", "unreadable"}


@pytest.mark.slow
def test_no_two_splits_share_a_window_of_soprano(tmp_path: Path) -> None:
    """The whole corpus, without the builder's signatures."""
    builder = prepare("bach_chorales", str(tmp_path))
    assert builder.info.metadata["works_found"] == 408
    assert builder.info.metadata["refused"] == {"parts": 44, "duplicate": 1}
    windows: dict[str, set[bytes]] = {}
    sizes = {}
    for split in ("train", "validation", "test"):
        scores = [to_score(record) for record in split_records(builder, split)]
        sizes[split] = len(scores)
        for score in scores:
            check_chorale(score)
        windows[split] = {window for score in scores for window in heard_windows(select_track(score, 0))}
    assert_disjoint(windows, 200)
    assert sizes == {"train": 291, "validation": 36, "test": 36}
