"""Folders and the table of an ablation, where other data, other processes and failed forks come in between."""

import dataclasses
import errno
import threading

import pytest

from musicvae_jax.config import ConfigError, TrainConfig
from musicvae_jax.evaluation.ablations import places as module
from musicvae_jax.evaluation.ablations.definition import Ablation, Column, Run, plan
from musicvae_jax.evaluation.ablations.places import Places
from musicvae_jax.evaluation.ablations.queue import run_all
from musicvae_jax.evaluation.ablations.rows import Found, append_row, make_row
from musicvae_jax.evaluation.ablations.run import describe_devices
from musicvae_jax.evaluation.ablations.table import make_table
from musicvae_jax.training.workdir import read_config
from tests.tiny import CONFIG, replace

ABLATION = Ablation(
    text="Which?",
    variants={"plain": CONFIG, "wide": replace(CONFIG, model={"dim": 32})},
    seeds=(0,),
    columns=(Column("kl", "KL", ".2f"),),
)
FIGURES = {"split": "test", "num_examples": 446, "parameters": 9, "devices": "1 cpu device", "train_seconds": 6.0}


@pytest.fixture
def places(tmp_path) -> Places:
    return Places("size", tmp_path / "runs", tmp_path / "results")


@pytest.mark.parametrize("fields", [{"num_examples": 0}, {"num_examples": -1}, {"flow_windows": -1}])
def test_windows_that_cannot_be_counted_are_refused_before_anything_is_trained(fields) -> None:
    ((name, value),) = fields.items()
    with pytest.raises(ConfigError, match=rf"Ablation.{name} = {value}: allowed is"):
        dataclasses.replace(ABLATION, **fields)


def test_a_run_goes_on_where_its_data_lie_now(places) -> None:
    said: list[str] = []
    (run, *_) = places.plan(ABLATION)
    (places.open(run, said.append) / "metrics.jsonl").write_text('{"step": 12}\n')
    moved = dataclasses.replace(places, data_dir="/other/data")
    (run, *_) = moved.plan(dataclasses.replace(ABLATION, variants={"plain": replace(CONFIG, train={"log_every": 3})}))
    workdir = moved.open(run, said.append)
    assert not said and (workdir / "metrics.jsonl").exists()
    assert read_config(workdir) == run.config and run.config.data.data_dir == "/other/data"


@pytest.mark.parametrize(("field", "was", "now"), [("seed", 0, 3), ("num_steps", 20, 30)])
def test_a_folder_of_another_run_is_put_aside_aloud(places, field, was, now) -> None:
    said: list[str] = []
    (run, *_) = places.plan(ABLATION)
    workdir = places.open(run, said.append)
    train = dataclasses.replace(run.config.train, **{field: now})
    other = dataclasses.replace(run, config=dataclasses.replace(run.config, train=train), seed=train.seed)
    workdir.rename(places.workdir(other))
    again = places.open(other, said.append)
    (line,) = said
    assert f"train.{field} was {was}, is {now}" in line and f"now {again.name}.old1" in line
    assert read_config(again.with_name(f"{again.name}.old1")) == run.config and read_config(again) == other.config


def test_a_queue_says_that_a_folder_is_put_aside(places) -> None:
    said: list[str] = []
    run_all(ABLATION, places, execute=lambda *_: False, say=said.append)
    wider = dataclasses.replace(ABLATION, variants={"plain": replace(CONFIG, model={"dim": 64})})
    run_all(wider, places, execute=lambda *_: False, say=said.append)
    assert sum("plain-seed0.old1: model.dim was 16, is 64" in line for line in said) == 1


def test_a_fork_that_fails_is_no_lock_of_another_process(places) -> None:
    """Too many processes is a BlockingIOError, as is a lock that is taken."""
    (run, *_) = places.plan(ABLATION)

    def fork() -> None:
        with places.lock(run), places.lock(run) as second:
            assert second is None  # so that what follows says that the lock is free again
            raise BlockingIOError(errno.EAGAIN, "no more processes")

    with pytest.raises(BlockingIOError, match="no more processes"):
        fork()
    with places.lock(run) as lock:
        assert lock is not None


def test_the_rows_are_read_once_to_see_what_is_done(places, monkeypatch) -> None:
    asked: list[int] = []
    find = Places.find

    def count(self: Places, runs: list[Run]) -> Found:
        asked.append(len(runs))
        return find(self, runs)

    monkeypatch.setattr(Places, "find", count)
    run_all(ABLATION, places, execute=lambda *_: False, say=lambda _: None)
    assert asked == [2, 1, 1]  # all, and each again before it is made


def test_a_slow_process_does_not_write_an_older_table_over_a_newer(places, monkeypatch) -> None:
    """Between reading the rows and writing the table another process has a row to append and a table to write."""
    (run, *_) = places.plan(ABLATION)

    def finish() -> None:
        append_row(places.rows, make_row(run, FIGURES | {"kl": 1.0}))
        places.write_table(ABLATION)

    others: list[threading.Thread] = []

    def slow(*args) -> str:
        if not others:
            others.append(threading.Thread(target=finish))
            others[0].start()
            others[0].join(0.5)
        return make_table(*args)

    monkeypatch.setattr(module, "make_table", slow)
    places.write_table(ABLATION)
    others[0].join()
    assert "| plain | 1/1 |" in places.table.read_text()


def test_the_table_says_how_many_windows_were_decoded() -> None:
    runs = plan("size", ABLATION)
    flow = FIGURES | {"kl": 1.0, "flow_windows": 128, "flow_draws": 8}
    rows = [make_row(runs[0], flow), make_row(runs[1], FIGURES | {"kl": 1.0})]
    columns = (*ABLATION.columns, Column("top_1_r2_window_within_metre", "R2"))
    said = "on 446 windows of 'test', R2 on 128 windows, decoded 8 times: mean"
    assert said in make_table("size", dataclasses.replace(ABLATION, columns=columns), rows)
    assert "on 446 windows of 'test': mean" in make_table("size", ABLATION, rows)


def test_devices_that_do_not_divide_the_batch_are_not_counted() -> None:
    """Of the four that tests have."""
    assert describe_devices(TrainConfig(batch_size=6)) == "3 cpu devices"
    assert describe_devices(TrainConfig(batch_size=8)) == "4 cpu devices"
    assert describe_devices(TrainConfig(batch_size=8, num_devices=1)) == "1 cpu device"
