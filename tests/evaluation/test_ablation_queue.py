"""The queue of an ablation, with runs that train nothing."""

import dataclasses
import errno
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from musicvae_jax.config import UserError
from musicvae_jax.evaluation import ablation_queue
from musicvae_jax.evaluation.ablation_queue import Queue
from musicvae_jax.evaluation.ablations import make_row, read_rows
from musicvae_jax.training.workdir import read_config
from tests.evaluation.test_ablations import ABLATION, FIGURES
from tests.tiny import CONFIG, replace

NAMES = ["plain-seed0", "wide-seed0", "plain-seed3", "wide-seed3"]
WIDER = {"wide": replace(ABLATION.variants["wide"], train={"num_steps": 40})}


@pytest.fixture
def queue(tmp_path) -> Queue:
    return Queue("size", ABLATION, tmp_path / "runs", tmp_path / "results")


@pytest.fixture
def trainer(monkeypatch):
    """Replaces training and measuring; given the runs that stop or fail, it returns the names of the runs it makes."""

    def trainer_(stops=(), fails=()):
        made: list[str] = []

        def train(config, workdir):
            made.append(workdir.name)
            if workdir.name in fails:
                raise UserError("loss = nan")
            (workdir / "metrics.jsonl").write_text('{"step": 12}\n')
            return SimpleNamespace(finished=workdir.name not in stops)

        def measure(run, workdir):
            return make_row(run, FIGURES | {"train_seconds": 60.0, "kl": 1.0 + read_config(workdir).train.seed})

        monkeypatch.setattr(ablation_queue, "train", train)
        monkeypatch.setattr(ablation_queue, "measure", measure)
        return made

    return trainer_


def rows_of(queue):
    return read_rows(queue.results / "size.jsonl")


def test_what_is_done_is_skipped_wherever_it_was_done(queue, trainer, tmp_path) -> None:
    made = trainer(stops=["plain-seed3"], fails=["wide-seed0"])
    said: list[str] = []
    ends = queue.work(say=said.append)
    # Nothing follows a run that was stopped: who stopped it wants the queue to end.
    assert made == list(ends) == NAMES[:3] and [end.split(":")[0] for end in ends.values()] == [
        "done",
        "failed",
        "left",
    ]
    assert "loss = nan" in said[1] and "stopped at step 12 of 20" in said[2]
    states = [line.split("steps")[1].strip() for line in queue.describe().splitlines()[:-1]]
    assert states == ["done", "begun, step 0 of 30", "begun, step 12 of 20", "planned"]
    assert "Not done yet: wide-seed0, plain-seed3, wide-seed3." in queue.table.read_text()

    elsewhere = dataclasses.replace(queue, root=tmp_path / "other machine", data_dir="/other/data")
    again = trainer()
    assert list(elsewhere.work()) == again == NAMES[1:]
    assert queue.work() == {} and len(rows_of(queue)) == len(NAMES) and "Not done" not in queue.table.read_text()


def test_indices_share_the_plan(queue, trainer) -> None:
    for index in reversed(range(len(NAMES))):
        made = trainer()
        queue.work(index=index)
        queue.work(index=index)  # a job that is started twice
        assert made == [NAMES[index]]
    assert len(rows_of(queue)) == len(NAMES)
    for index in (-1, len(NAMES)):
        with pytest.raises(UserError, match=f"index = {index}: allowed is 0 to 3"):
            queue.work(index=index)


def test_the_workdir_of_another_recipe_or_seed_is_refused_and_stays(queue, trainer) -> None:
    trainer()
    queue.work()
    longer = dataclasses.replace(queue, ablation=dataclasses.replace(ABLATION, variants=ABLATION.variants | WIDER))
    made, ends = trainer(), longer.work()
    assert not made and list(ends) == ["wide-seed0", "wide-seed3"]
    assert all("train.num_steps was 30, is 40; move it away" in end for end in ends.values())
    assert read_config(queue.root / "size" / "wide-seed0").train.num_steps == 30 and queue.work() == {}
    queue.workdir(queue.runs[2]).rename(queue.root / "seed3")
    queue.workdir(queue.runs[0]).rename(queue.workdir(queue.runs[2]))
    with pytest.raises(UserError, match=r"train.seed was 0, is 3"):
        queue.prepare(queue.runs[2])


def test_figures_of_other_windows_are_measured_anew_in_the_same_workdirs(queue, trainer) -> None:
    trainer()
    queue.work()
    for ablation in (dataclasses.replace(ABLATION, num_examples=3), dataclasses.replace(ABLATION, flow_windows=0)):
        other = dataclasses.replace(queue, ablation=ablation)
        assert list(other.work()) == NAMES
        assert {path.name for path in (queue.root / "size").iterdir() if path.is_dir()} == set(NAMES)


def test_a_workdir_is_resumed_where_its_data_are_now(queue) -> None:
    (queue.prepare(queue.runs[0]) / "metrics.jsonl").write_text('{"step": 12}\n')
    variants = {"plain": replace(CONFIG, train={"log_every": 3})}
    moved = dataclasses.replace(queue, ablation=dataclasses.replace(ABLATION, variants=variants), data_dir="/other")
    workdir = moved.prepare(moved.runs[0])
    assert (workdir / "metrics.jsonl").exists()
    assert read_config(workdir) == moved.runs[0].config and moved.runs[0].config.data.data_dir == "/other"


def test_a_run_of_another_process_is_left_alone(queue, trainer) -> None:
    made = trainer()
    with queue.lock(queue.runs[1]) as held:
        assert held
        assert queue.work()["wide-seed0"] == "left: another process has it" and "wide-seed0" not in made
    assert queue.work() == {"wide-seed0": "done"}


def test_a_run_that_another_process_finishes_in_the_meantime_is_skipped(queue, trainer, tmp_path, monkeypatch) -> None:
    trainer()
    train_alone = vars(ablation_queue)["train"]

    def train_in_company(config, workdir):
        if workdir.name == NAMES[0]:
            dataclasses.replace(queue, root=tmp_path / "other machine").work(index=1)
        return train_alone(config, workdir)

    monkeypatch.setattr(ablation_queue, "train", train_in_company)
    assert list(queue.work()) == [NAMES[0], *NAMES[2:]] and len(rows_of(queue)) == len(NAMES)


def test_an_error_under_the_lock_is_not_taken_for_a_held_lock(queue) -> None:
    with pytest.raises(BlockingIOError, match="no more processes"), queue.lock(queue.runs[0]):
        raise BlockingIOError(errno.EAGAIN, "no more processes")
    with queue.lock(queue.runs[0]) as held:
        assert held


def test_a_killed_append_loses_no_row_but_its_own(queue, tmp_path) -> None:
    rows = [{"seed": seed, "note": "é\n"} for seed in range(3)]
    for row in rows[:2]:
        queue.record(row)
    first, second = (queue.results / "size.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(len(second) + 1):
        (queue.results / "size.jsonl").write_bytes(first + second[:cut])
        queue.record(rows[2])
        assert rows_of(queue) == (rows if cut >= len(second) - 1 else [rows[0], rows[2]])


def test_many_may_append_at_once(queue) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: queue.record({"number": number, "long": "x" * 20000}), range(20)))
    assert sorted(row["number"] for row in rows_of(queue)) == list(range(20))


def test_an_older_table_is_not_written_over_a_newer(queue, monkeypatch) -> None:
    """While one process makes its table, another has a row to append and a table to write."""
    other = threading.Thread(target=queue.record, args=({"number": 1},))

    def slow_table(name, ablation, rows):
        if other.ident is None:
            other.start()
            other.join(0.5)
        return str(len(rows))

    monkeypatch.setattr(ablation_queue, "make_table", slow_table)
    queue.record({"number": 0})
    other.join()
    assert queue.table.read_text() == "2"
