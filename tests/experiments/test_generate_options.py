"""Every option of generate.py reaches the model, and the scores that the model returns are written."""

from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from musicvae_jax import SamplingConfig
from musicvae_jax.codec import MelodyCodec, read_midi, write_midi
from musicvae_jax.evaluation import load
from musicvae_jax.evaluation.trained import TrainedVAE
from tests.data.melodies import random_melody

RETURNED = [random_melody(seed, 2) for seed in (3, 4)]
COOL = SamplingConfig(temperature=0.5)
NUCLEUS = SamplingConfig(temperature=0.5, top_k=7, top_p=0.75)

# command, number of files, options (none is a default), arguments and settings that the model gets, files written
COMMANDS: list[tuple[str, int, str, list[Any], dict[str, Any], list[str]]] = [
    (
        "sample",
        0,
        (
            "--num 2 --metre 3/4 --condition key=G --guidance 2 --measures 33 --level-temperature global 0.25 "
            "--top-k 7 --top-p 0.75"
        ),
        [2],
        {
            "metre": "3/4",
            "measures": 33,
            "conditions": {"key": "G"},
            "guidance": 2.0,
            "temperature": {"global": 0.25},
            "sampling": NUCLEUS,
        },
        ["sample_0", "sample_1"],
    ),
    ("reconstruct", 1, "", [], {"sampling": COOL}, ["tune0_mid"]),
    (
        "interpolate",
        2,
        "--steps 2 --from-measures 3 5 --measures 9",
        [2],
        {"sampling": COOL, "starts": (2, 4), "measures": 9},
        ["step_0", "step_1"],
    ),
    (
        "resample",
        1,
        "--keep local --num 2 --level-temperature fine 0.25 --from-measure 3 --measures 9",
        ["local", 2],
        {"temperature": {"fine": 0.25}, "sampling": COOL, "start": 2, "measures": 9},
        ["tune0_mid_0", "tune0_mid_1"],
    ),
    (
        "traverse",
        1,
        "--dim fine/rhythm[0] --steps 2 --reach 1.5",
        ["fine/rhythm[0]", 2, 1.5],
        {"sampling": COOL},
        ["tune0_mid_0", "tune0_mid_1"],
    ),
]


@pytest.mark.parametrize(("command", "num_files", "options", "arguments", "settings", "written"), COMMANDS)
def test_every_option_reaches_the_model(
    command, num_files, options, arguments, settings, written, tmp_path, monkeypatch, call
):
    files = [tmp_path / f"tune{number}.mid" for number in range(num_files)]
    for seed, file in enumerate(files):
        write_midi(random_melody(seed, 2), file)
    vae = create_autospec(TrainedVAE, instance=True)
    vae.codec = MelodyCodec()
    vae.first_window.return_value = RETURNED[0]
    method = getattr(vae, command)
    method.return_value = RETURNED[0] if command == "reconstruct" else RETURNED
    loaded = create_autospec(load.load_workdir, return_value=vae)
    monkeypatch.setattr(load, "load_workdir", loaded)

    common = ["--workdir", "a run", "--out", tmp_path, "--temperature", 0.5, "--seed", 3]
    common += ["--checkpoint", "latest", "--prior", "own"]
    ended = call("generate.py", command, *files, *options.split(), *common)
    assert ended.status == 0, ended.error
    loaded.assert_called_once_with("a run", "latest", "own")
    method.assert_called_once()
    read = [Path(score.source).name for score in method.call_args.args[:num_files]]
    assert read == [file.name for file in files]
    assert list(method.call_args.args[num_files:]) == arguments
    assert method.call_args.kwargs == settings | {"seed": 3}
    for stem, score in zip(written, RETURNED, strict=False):
        assert read_midi(tmp_path / f"{stem}.mid").notes.tolist() == score.notes.tolist()
