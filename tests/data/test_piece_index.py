"""Windows with an index compared with windows without one."""

from pathlib import Path

import pytest

from musicvae_jax.codec import MelodyCodec, Metre, PerformanceCodec
from musicvae_jax.data import piece_index
from musicvae_jax.data.piece_index import load_index, make_index
from musicvae_jax.data.records import to_record
from musicvae_jax.data.windows import WindowSource
from tests.data.melodies import random_melody
from tests.data.test_windows import assert_same_windows

CODEC = MelodyCodec()


def pieces() -> list[dict]:
    """Usual pieces, a short one, one whose metre does not fit, one with a note off the grid, one with a chord."""
    lengths = [6 + seed for seed in range(30)]
    scores = [random_melody(seed, length) for seed, length in enumerate([*lengths, 2, 9, 8])]
    scores.append(random_melody(41, 8, metre=Metre(3, 2)))
    scores[-3].notes[0, 0] += 50
    scores[-2].notes[:5, 1] = 1920
    return [to_record(score, id=score.source, source="") for score in scores]


def assert_same_source(one: WindowSource, other: WindowSource) -> None:
    assert_same_windows(one, other)
    assert [str(error) for error in one.refusals] == [str(error) for error in other.refusals]
    assert one.refused == other.refused and one.dropped == other.dropped


@pytest.mark.parametrize("codec", [CODEC, PerformanceCodec(slots=12)])
@pytest.mark.parametrize("num_processes", [1, 2])
def test_windows_do_not_depend_on_the_index(codec, num_processes: int) -> None:
    records = pieces()
    plain = WindowSource(records, codec, 4, 2, 3)
    index = make_index(records, codec, num_processes=num_processes)
    assert_same_source(WindowSource(records, codec, 4, 2, 3, index=index), plain)
    assert "short" in plain.refused and plain.dropped


def test_an_index_is_made_once_for_each_codec_track_split_and_number_of_pieces(tmp_path: Path, monkeypatch) -> None:
    records = pieces()
    load_index(records, CODEC, "", tmp_path, "train")
    monkeypatch.setattr(piece_index, "make_index", None)  # fails if it is called
    index = load_index(records, MelodyCodec(), "", tmp_path, "train")
    assert_same_source(WindowSource(records, CODEC, 4, 4, index=index), WindowSource(records, CODEC, 4, 4))
    for others, codec, track, split in (
        (records, MelodyCodec(slots=24), "", "train"),
        (records, CODEC, "skyline", "train"),
        (records, CODEC, "", "test"),
        (records[:-1], CODEC, "", "train"),
    ):
        with pytest.raises(TypeError):
            load_index(others, codec, track, tmp_path, split)


def test_an_index_is_made_again_if_its_file_is_damaged_or_cannot_be_written(tmp_path: Path) -> None:
    records = pieces()
    plain = WindowSource(records, CODEC, 4, 4)
    load_index(records, CODEC, "", tmp_path, "train")
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for damage in (b"", whole[:100], whole[: len(whole) // 2], b"PK\3\4" + b"\0" * 50):
        file.write_bytes(damage)
        index = load_index(records, CODEC, "", tmp_path, "train")
        assert_same_source(WindowSource(records, CODEC, 4, 4, index=index), plain)
        assert file.read_bytes() == whole
    index = load_index(records, CODEC, "", file / "no folder", "train")
    assert_same_source(WindowSource(records, CODEC, 4, 4, index=index), plain)
