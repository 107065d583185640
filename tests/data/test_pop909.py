"""POP909 as a data set, from songs made in the layout of its two repositories."""

import functools
import http.server
import threading
import zipfile
from pathlib import Path

import pytest

from musicvae_jax.codec.score import check_score
from musicvae_jax.config import CodecConfig, Config, DataConfig, UserError
from musicvae_jax.data.datasets import load_split, pop909, prepare, to_score
from musicvae_jax.data.datasets.pop909_songs import CORRECTED, ORIGINAL
from musicvae_jax.data.load import load_windows
from tests.data.pop909_data import write_song


def test_the_data_set_holds_every_song_once(made: Path, tmp_path: Path) -> None:
    (made / CORRECTED / "POP909_processed" / "007.mid").unlink()
    write_song(made, "011", 960, seed=4)  # a copy of song 4, moved
    info = prepare("pop909", str(tmp_path), str(made)).info
    assert info.metadata["refused_ids"] == {"pop909/007": "missing"} and info.metadata["songs_found"] == 11
    split_of = {}
    for split in info.splits:
        for record in load_split("pop909", str(tmp_path), split):
            split_of[record["id"].decode()] = split
            check_score(to_score(record))
            assert record["style"] == b"pop" and record["shift"] % 480 == 0 and record["match"] == 1
    assert len(split_of) == 10
    assert split_of["pop909/004"] == split_of["pop909/011"]  # they share their windows
    data = DataConfig(dataset="pop909", data_dir=str(tmp_path), manual_dir=str(made), track="melody", measures=4, hop=4)
    windows = load_windows(Config(codec=CodecConfig(), data=data), "train")
    assert not windows.refusals and len(windows) and windows.score(0).notes[:, 4].max() == 0


def test_the_repositories_are_downloaded_where_they_are_not_given(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = tmp_path / "served"
    served.mkdir()
    for name in (ORIGINAL, CORRECTED):
        with zipfile.ZipFile(served / f"{name}.zip", "w") as archive:
            for path in (made / name).rglob("*.mid"):
                archive.write(path, f"{name}-0123abc/{path.relative_to(made / name)}")
            archive.writestr(f"{name}-0123abc/README.md", "not needed")
    handler = functools.partial(_Silent, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(pop909, "URLS", {name: f"{address}/{name}.zip" for name in pop909.URLS})
        try:
            metadata = prepare("pop909", str(tmp_path)).info.metadata
            assert metadata["songs_found"] == 10 and metadata["refused"] == {}
            monkeypatch.setattr(pop909, "URLS", {name: f"{address}/none/{name}.zip" for name in pop909.URLS})
            with pytest.raises(UserError, match=r"cannot be downloaded: .*404.*; allowed is also a manual_dir"):
                prepare("pop909", str(tmp_path / "other"))
        finally:
            server.shutdown()
            thread.join()


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Says nothing."""


def test_half_of_the_repositories_is_refused(made: Path, tmp_path: Path) -> None:
    (made / CORRECTED).rename(made / "elsewhere")
    with pytest.raises(UserError, match=r"source has no folder POP909-CL-Dataset; allowed: POP909-Dataset and"):
        prepare("pop909", str(tmp_path), str(made))
    with pytest.raises(UserError, match=r"manual_dir = .*: no such folder"):
        prepare("pop909", str(tmp_path), str(made / "nowhere"))
