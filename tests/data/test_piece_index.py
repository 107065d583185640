"""The index of pieces against counting without one."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from musicvae_jax.codec import MelodyCodec, Metre, PerformanceCodec
from musicvae_jax.data import piece_index
from musicvae_jax.data.piece_index import load_index, make_index
from musicvae_jax.data.records import to_record
from musicvae_jax.data.windows import WindowSource
from tests.data.melodies import random_melody

CODEC = MelodyCodec()


def pieces() -> list[dict]:
    """Some that a codec takes, a short one, one whose metre does not fit, one with notes off the grid, a chord."""
    scores = [random_melody(seed, 6 + seed) for seed in range(30)]
    scores += [
        random_melody(40, 2),
        random_melody(41, 8, metre=Metre(3, 2)),
        random_melody(42, 9),
        random_melody(43, 8),
    ]
    scores[-2].notes[0, 0] += 50
    scores[-1].notes[:5, 1] = 1920
    return [to_record(score, id=score.source, source="") for score in scores]


def assert_same_windows(one: WindowSource, other: WindowSource) -> None:
    assert len(one) == len(other) > 0
    assert [str(error) for error in one.refusals] == [str(error) for error in other.refusals]
    assert one.refused == other.refused and one.dropped == other.dropped
    everything = np.arange(len(one))
    for mine, theirs in zip(one.gather(everything), other.gather(everything), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(one.pitch_range(everything), other.pitch_range(everything))


@pytest.mark.parametrize("codec", [CODEC, PerformanceCodec(slots=12)])
@pytest.mark.parametrize("num_processes", [1, 2])
def test_windows_by_an_index_are_those_without(codec, num_processes: int) -> None:
    records = pieces()
    plain = WindowSource(records, codec, 4, 2, 3)
    index = make_index(records, codec, num_processes=num_processes)
    assert_same_windows(WindowSource(records, codec, 4, 2, 3, index=index), plain)
    assert "short" in plain.refused and plain.dropped
    again = pickle.loads(pickle.dumps(WindowSource(records, codec, 4, 2, 3, cache_pieces=1, index=index)))
    assert_same_windows(again, plain)


def test_an_index_is_made_once(tmp_path: Path, monkeypatch) -> None:
    records = pieces()
    plain = WindowSource(records, CODEC, 4, 4)
    load_index(records, CODEC, "", tmp_path, "train")
    with monkeypatch.context() as patch:
        patch.setattr(piece_index, "make_index", None)  # not called
        index = load_index(records, MelodyCodec(), "", tmp_path, "train")
        assert_same_windows(WindowSource(records, CODEC, 4, 4, index=index), plain)
        for other in ((records, MelodyCodec(slots=24), "", "train"), (records, CODEC, "skyline", "train"),
                      (records, CODEC, "", "test"), (records[:-1], CODEC, "", "train")):  # fmt: skip
            with pytest.raises(TypeError):
                load_index(*other[:3], tmp_path, other[3])


def test_a_damaged_index_is_made_anew_and_a_closed_folder_goes_without(tmp_path: Path) -> None:
    records = pieces()
    plain = WindowSource(records, CODEC, 4, 4)
    load_index(records, CODEC, "", tmp_path, "train")
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for damage in (b"", whole[:100], whole[: len(whole) // 2], b"PK\3\4" + b"\0" * 50):
        file.write_bytes(damage)
        index = load_index(records, CODEC, "", tmp_path, "train")
        assert_same_windows(WindowSource(records, CODEC, 4, 4, index=index), plain)
        assert file.read_bytes() == whole
    closed = file / "no folder"  # where nothing can be written, whoever one is
    assert_same_windows(
        WindowSource(records, CODEC, 4, 4, index=load_index(records, CODEC, "", closed, "train")), plain
    )
