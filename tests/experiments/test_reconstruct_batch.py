"""One piece that cannot be written does not keep the others from it."""

import pytest

from musicvae_jax.analysis import report
from musicvae_jax.codec import MusicError
from tests.codec.music import TUNE
from tests.untrained import write_workdir


@pytest.fixture
def reconstruct(tmp_path, call):
    """The command on a slow and a usual tune."""
    write_workdir(tmp_path / "run")
    files = [tmp_path / "slow.abc", tmp_path / "usual.abc"]
    for file, tempo in zip(files, ("1/8=1", "1/4=100"), strict=True):
        file.write_text(TUNE.format(tempo))
    arguments = ("--workdir", tmp_path / "run", "--out", tmp_path / "out", *files)
    return lambda: call("generate.py", "reconstruct", *arguments)


def test_a_tune_of_half_a_beat_a_minute_is_written(reconstruct, tmp_path) -> None:
    status, out, error = reconstruct()
    assert status == 0 and "2 of 2 reconstructed" in out and not error
    assert {path.name.partition(".")[0] for path in (tmp_path / "out").iterdir()} == {"slow_abc_X_1", "usual_abc_X_1"}


def test_what_cannot_be_written_is_refused_and_the_rest_goes_on(reconstruct, monkeypatch, tmp_path) -> None:
    write = report.write_reconstruction

    def refuse(original, copy, stem) -> None:
        if "slow" in stem.name:
            raise MusicError(original.source, "tempo", "invalid", "too slow")
        write(original, copy, stem)

    monkeypatch.setattr(report, "write_reconstruction", refuse)
    status, out, error = reconstruct()
    assert status == 0 and "1 of 2 reconstructed" in out and "1 refused: 1 invalid" in error
    assert {path.name.partition(".")[0] for path in (tmp_path / "out").iterdir()} == {"usual_abc_X_1"}
