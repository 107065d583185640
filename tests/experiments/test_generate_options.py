"""Every option of generate.py reaches the model, and the scores that the model returns are written."""

import runpy
import sys
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from musicvae_jax import SamplingConfig
from musicvae_jax.codec import MelodyCodec, Metre, read_midi, write_midi
from musicvae_jax.evaluation import loading
from musicvae_jax.evaluation.trained import TrainedVAE
from tests.data.melodies import random_melody

SCRIPT = Path(__file__).parents[2] / "experiments" / "generate.py"
GIVEN = [random_melody(seed, 2) for seed in (3, 4)]
COOL = SamplingConfig(temperature=0.5)

# command -> number of files, options (none is a default), arguments and settings that the model gets, files written
COMMANDS: dict[str, Any] = {
    "sample": (
        0,
        "--num 2 --metre 3/4 --measures 1 --level-temperature global 0.25 --top-k 7 --top-p 0.75",
        [2],
        {
            "metre": Metre(3, 4),
            "measures": 1,
            "temperature": {"global": 0.25},
            "sampling": SamplingConfig(temperature=0.5, top_k=7, top_p=0.75),
        },
        ["sample_0", "sample_1"],
    ),
    "reconstruct": (1, "", [], {"sampling": COOL}, ["tune0_mid"]),
    "interpolate": (2, "--steps 2", [2], {"sampling": COOL}, ["step_0", "step_1"]),
    "resample": (
        1,
        "--keep local --num 2 --level-temperature fine 0.25",
        ["local", 2],
        {"temperature": {"fine": 0.25}, "sampling": COOL},
        ["tune0_mid_0", "tune0_mid_1"],
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_reaches_the_model(command, tmp_path, monkeypatch):
    num_files, options, arguments, settings, written = COMMANDS[command]
    files = [tmp_path / f"tune{number}.mid" for number in range(num_files)]
    for file, seed in zip(files, range(2), strict=False):
        write_midi(random_melody(seed, 2), file)
    vae = create_autospec(TrainedVAE, instance=True)
    vae.codec = MelodyCodec()
    vae.first_window.return_value = GIVEN[0]
    method = getattr(vae, command)
    method.return_value = GIVEN[0] if command == "reconstruct" else GIVEN
    load = create_autospec(loading.load_workdir, return_value=vae)
    monkeypatch.setattr(loading, "load_workdir", load)

    common = ["--workdir", "a run", "--out", tmp_path, "--temperature", 0.5, "--seed", 3, "--checkpoint", "latest"]
    monkeypatch.setattr(sys, "argv", ["generate.py", command, *map(str, [*files, *options.split(), *common])])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert stop.value.code == 0
    load.assert_called_once_with("a run", "latest")
    method.assert_called_once()
    heard = [Path(score.source).name for score in method.call_args.args[:num_files]]
    assert heard == [file.name for file in files]
    assert list(method.call_args.args[num_files:]) == arguments
    assert method.call_args.kwargs == settings | {"seed": 3}
    for stem, score in zip(written, GIVEN, strict=False):
        assert read_midi(tmp_path / f"{stem}.mid").notes.tolist() == score.notes.tolist()
