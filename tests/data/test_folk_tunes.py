"""The folk tunes compared with the books that they are from, and what all corpora share."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musicvae_jax.codec import MelodyCodec
from musicvae_jax.codec.abc import parse_abc
from musicvae_jax.codec.base import Encoded
from musicvae_jax.codec.score import Score
from musicvae_jax.data.datasets import folk_tunes
from musicvae_jax.data.datasets.corpus import corpus_folder
from musicvae_jax.data.datasets.folk_tunes import FolkTunes, find_tunes
from musicvae_jax.data.pipeline import make_train_iterator
from musicvae_jax.data.prepare import prepare, split_records
from musicvae_jax.data.records import to_score
from musicvae_jax.data.splits import GRID, melody_signatures, window_signatures
from musicvae_jax.data.windows import WindowSource
from tests.codec.oracle import quantise

SPLITS = ("train", "validation", "test", "test_airds")
Records = dict[str, list[Mapping[str, Any]]]


@pytest.fixture(scope="module")
def records(folk_data_dir: str) -> Records:
    builder = prepare("folk_tunes", folk_data_dir)
    return {split: list(split_records(builder, split)) for split in SPLITS}


def heard_windows(score: Score, length: int = 4) -> Iterator[bytes]:
    """Every window of four measures in ticks, without tokens: onsets, ends and intervals from its first note."""
    notes = quantise(GRID, score).notes.astype(np.int64)
    starts, ends, pitches = notes[:, 0], notes[:, 0] + notes[:, 1], notes[:, 2]
    borders = np.append(score.measures[:, 0], score.end)
    for first in range(max(1, score.num_measures - length + 1)):
        metres = score.measures[first : first + length, 1:]
        begin, end = borders[first], borders[first + len(metres)]
        inside = (ends > begin) & (starts < end)
        window = np.stack([starts[inside].clip(begin) - begin, ends[inside].clip(None, end) - begin, pitches[inside]])
        yield (window - np.array([[0], [0], window[2, :1].tolist() or [0]])).tobytes() + metres.tobytes()


def assert_disjoint(windows: dict[str, set[bytes]], least: int) -> None:
    """Splits share no window, and each has at least so many."""
    for one, other in itertools.combinations(windows, 2):
        assert not windows[one] & windows[other], f"{one} shares windows with {other}"
    assert min(map(len, windows.values())) > least


def test_no_two_splits_share_a_window(records: Records) -> None:
    """Without the builder's signatures, from the records: no window of 4 measures, in any key, is in two splits."""
    heard = {
        split: {window for record in records[split] for window in heard_windows(to_score(record))} for split in SPLITS
    }
    assert_disjoint(heard, 4000)


def test_training_batches_hold_no_held_out_window(records: Records) -> None:
    codec = MelodyCodec()
    held_out = {
        signature
        for split in SPLITS[1:]
        for record in records[split]
        for signature in melody_signatures(to_score(record))
    }
    wide = GRID.slots - codec.slots
    source = WindowSource(records["train"], codec, measures=4, hop=4, min_measures=4)
    iterator = make_train_iterator(source, 2000, seed=0, transpose=5)
    for tokens, mask, metre, index in zip(*next(iterator)[:4], strict=True):
        padded, slots = np.pad(tokens, ((0, 0), (0, wide), (0, 0))), np.pad(mask, ((0, 0), (0, wide)))
        window = Encoded(padded, slots, metre, {})
        assert held_out.isdisjoint(window_signatures(window, GRID)), source.describe(int(index))
    iterator.close()


def test_every_tune_is_in_one_split_or_refused_or_left_out(folk_data_dir: str, records: Records) -> None:
    metadata = prepare("folk_tunes", folk_data_dir).info.metadata
    found = [tune.id for tune in find_tunes(corpus_folder())]
    kept = [record["id"].decode() for split in SPLITS for record in records[split]]
    parts = [*kept, *metadata["refused_ids"], *metadata["left_out"]]
    assert sorted(parts) == sorted(found) and len(set(found)) == len(found) == metadata["tunes_found"]
    assert metadata["refused"] == Counter(metadata["refused_ids"].values())
    assert len(kept) > 0.9 * len(found)


def test_the_splits_have_their_shares(folk_data_dir: str, records: Records) -> None:
    sizes = {split: len(records[split]) for split in SPLITS}
    rest = sum(sizes.values()) - sizes["test_airds"]
    assert [round(sizes[split] / rest, 2) for split in SPLITS[:3]] == [0.8, 0.1, 0.1]
    assert {record["id"].split(b"/")[0] for record in records["test_airds"]} == {b"aird"}
    assert not any(record["id"].startswith(b"aird/") for split in SPLITS[:3] for record in records[split])
    components = prepare("folk_tunes", folk_data_dir).info.metadata["component_sizes"]
    assert sum(int(size) * number for size, number in components.items()) == rest


def test_records_read_back_as_the_scores_that_were_written(records: Records) -> None:
    texts = {tune.id: tune.text for tune in find_tunes(corpus_folder())}
    for split in SPLITS:
        for record in records[split][::20]:
            stored, id = to_score(record), record["id"].decode()
            parsed, header = parse_abc(texts[id], source=id)
            for field in dataclasses.fields(Score):
                if field.name not in {"style", "composer"}:  # these are from the tune's header
                    np.testing.assert_array_equal(getattr(stored, field.name), getattr(parsed, field.name), field.name)
            assert record["metre"].decode() == str(parsed.metre(0))
            assert bool(record["style"]) == bool(header.get("R", "").strip())


def test_most_of_ryans_tunes_have_a_style(records: Records) -> None:
    ryan = [record for split in SPLITS for record in records[split] if record["id"].startswith(b"ryan/")]
    styles = Counter(record["style"].decode() for record in ryan)
    assert styles[""] < 0.02 * len(ryan)
    assert set(styles) >= {"reel", "jig", "hornpipe", "strathspey", "slip jig"}


def test_unknown_names_get_the_nearest(folk_data_dir: str) -> None:
    with pytest.raises(ValueError, match="no data set 'folk_tune': did you mean folk_tunes"):
        prepare("folk_tune", folk_data_dir)
    with pytest.raises(ValueError, match="folk_tunes has no split 'tests': did you mean test"):
        split_records(prepare("folk_tunes", folk_data_dir), "tests")
    with pytest.raises(ValueError, match="dmelodies has no config 'ful': did you mean full"):
        prepare("dmelodies/ful", folk_data_dir)
    with pytest.raises(ValueError, match="folk_tunes has no config 'full': it has none"):
        prepare("folk_tunes/full", folk_data_dir)


def test_a_preparation_that_fails_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_process: None
) -> None:
    some = list(find_tunes(corpus_folder()))[:40]
    monkeypatch.setattr(folk_tunes, "find_tunes", lambda _: some)
    monkeypatch.setattr(folk_tunes, "HELD_OUT_BOOK", "ryan/A")  # TFDS cannot write a split without tunes
    generate = FolkTunes._generate_examples

    def fail(self: FolkTunes, tunes: list) -> Iterator[tuple[str, dict[str, Any]]]:
        yield from generate(self, tunes[:1])
        raise KeyboardInterrupt

    leftover = tmp_path / "folk_tunes" / f"incomplete.ABC123_{FolkTunes.VERSION}"  # as a killed run leaves it
    leftover.mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(FolkTunes, "_generate_examples", fail)
        with pytest.raises(KeyboardInterrupt):
            prepare("folk_tunes", str(tmp_path))
    assert [path.name for path in (tmp_path / "folk_tunes").iterdir()] == [".lock"]
    assert prepare("folk_tunes", str(tmp_path)).info.metadata["tunes_found"] == 40


def test_a_missing_corpus_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(FileNotFoundError, match="music21 package: the package is not installed"):
        corpus_folder()
