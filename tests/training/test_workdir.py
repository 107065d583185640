"""Small files of a run that are damaged: one clear line each, and nothing is dropped in silence."""

import json

import pytest

from musicvae_jax.data.conditions import Conditions
from musicvae_jax.training.metrics import MetricWriter, read_metrics
from musicvae_jax.training.workdir import WorkdirError, open_workdir, read_conditions, read_config, read_metres
from tests.tiny import CONFIG

DAMAGE = {
    "bits": b"\xff\xfe{",
    "text": b"not a row",
    "half": b'{"step": 3',
    "a list": b"[1, 2]",
    "no step": b'{"nll": 1}',
    "an endless step": b'{"step": 1e999}',
    "words": b'{"step": 3, "nll": "low"}',
    "a number that no float holds": b'{"step": 3, "nll": 1' + b"0" * 400 + b"}",
    "deep": b"[" * 100_000,
}


@pytest.fixture
def rows(tmp_path):
    writer = MetricWriter(tmp_path)
    for step in range(1, 6):
        writer.write(step, {"nll": 10.0 - step})
    writer.close()
    return tmp_path / "metrics.jsonl"


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_line_of_metrics_is_named_unless_it_is_the_last(rows, damage):
    """The last one may be half a line of a killed process."""
    lines = rows.read_bytes().splitlines()
    rows.write_bytes(b"\n".join([*lines, damage]))
    assert [row["step"] for row in read_metrics(rows)] == [1, 2, 3, 4, 5]
    whole = b"\n".join([*lines[:2], damage, *lines[2:]])
    rows.write_bytes(whole)
    with pytest.raises(WorkdirError, match=r"metrics\.jsonl, line 3: .*allowed: an object with a step"):
        read_metrics(rows)
    with pytest.raises(WorkdirError, match="line 3"):
        MetricWriter(rows.parent, resume_step=9)
    assert rows.read_bytes() == whole


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff\xfe", b"[]", b'{"model": 3}', b'{"modell": {}}', b"null", b"nonsense", b"[" * 100_000]
)
def test_a_damaged_config_is_named(tmp_path, text):
    folder = open_workdir(tmp_path / "run", CONFIG)
    assert read_config(folder) == CONFIG
    (folder / "config.json").write_bytes(text)
    with pytest.raises(WorkdirError, match=r"config\.json"):
        read_config(folder)


MORE = [b"[" * 100_000, b'{"4/4": 1e999}', b'{"4/4": -1}', b'{"4/4": 0}', b'{"4-4": 3}', b"{}"]


@pytest.mark.parametrize("text", [None, b"", b"{", b"\xff", b"[1]", b'{"4/4": "many"}', b'{"4/4": null}', *MORE])
def test_damaged_metres_are_named(tmp_path, text):
    path = tmp_path / "metres.json"
    path.write_text(json.dumps({"4/4": 7}))
    assert read_metres(tmp_path) == {"4/4": 7}
    path.unlink() if text is None else path.write_bytes(text)
    with pytest.raises(WorkdirError, match=r"metres\.json.*allowed is what train\.py wrote"):
        read_metres(tmp_path)


CONDITIONS = Conditions(("key", "tempo"), (), {"tempo": (4.5, 0.25)})


@pytest.mark.parametrize(
    "text",
    [None, b"", b"{", b"\xff", b"[1]", b"[" * 100_000, b'{"names": ["key"]}',
     CONDITIONS.to_json().replace("key", "mode").encode(), CONDITIONS.to_json().replace("4.5", '"fast"').encode()],
)  # fmt: skip
def test_conditions_that_are_damaged_or_of_another_model_are_named(tmp_path, text):
    path = tmp_path / "conditions.json"
    path.write_text(CONDITIONS.to_json())
    assert read_conditions(tmp_path, ("key", "tempo")) == CONDITIONS
    path.unlink() if text is None else path.write_bytes(text)
    with pytest.raises(WorkdirError, match=r"conditions\.json.*allowed is what train\.py wrote"):
        read_conditions(tmp_path, ("key", "tempo"))
    assert read_conditions(tmp_path, ()).names == ()  # a model without conditions reads nothing
