"""A TensorBoard that is open while runs are written, with both of its loaders, and its reader of files."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("tensorboard")

from hypothesis import given, settings
from hypothesis import strategies as st
from items import T0_NS, Run, metrics
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator as PluginAccumulator
from tensorboard.util import tensor_util
from tensorboard_server import TensorBoard, eventually, serve

from ranklog.backends.tensorboard.backend import TensorBoardBackend
from ranklog.model.record import EVERY_BACKEND, Params, Record, Status
from ranklog.model.spec import BackendSpec

NAMES = ("loss", "val", "epoch")
Points = list[tuple[int, float]]
Attempts = list[list[tuple[str, list[int]]]]


class Job:
    """A run of several attempts, each delivered by a backend of its own."""

    def __init__(self, folder: Path, run_id: str = "job") -> None:
        options = {"savedir": str(folder / "tb"), "framework": "pytorch"}
        self.run = Run(folder / "runs" / run_id, BackendSpec(backend="tensorboard", options=options), run_id)
        self.folder = folder / "tb" / run_id
        self.number = -1
        self._given = 0

    def begin(self) -> None:
        self.number += 1
        if self.number:
            self.run.add(msgspec.structs.replace(self.run.attempt, attempt=self.number))
        self.backend = TensorBoardBackend()
        self.backend.open(context=self.run.context(resumed_at=self._given, attempt=self.number))

    def log(self, *records: Record) -> None:
        self.run.add(*records)
        self.backend.deliver(entries=self.run.entries[self._given :])
        self._given = len(self.run.entries)

    def end(self, status: Status | None) -> None:
        self.backend.close(status=status, timeout_s=5)

    def points(self, tag: str) -> Points:
        found = EventAccumulator(str(self.folder), size_guidance={"scalars": 0}).Reload()
        return [(each.step, each.value) for each in found.Scalars(tag)] if tag in found.Tags()["scalars"] else []


@pytest.fixture(params=[True, False], ids=["default loader", "loader in Python"])
def board(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TensorBoard]:
    with serve(tmp_path / "tb", load_fast=request.param) as running:
        yield running


@pytest.mark.slow
def test_an_open_tensorboard_shows_the_next_attempt_instead_of_what_it_superseded(
    board: TensorBoard, tmp_path: Path
) -> None:
    job = Job(tmp_path)
    job.begin()
    job.log(Params(T0_NS, EVERY_BACKEND, {"lr": 0.1}))
    job.log(*(metrics(step, {"loss": 0.0, "val": 0.0}) for step in range(50)), metrics(7, {"epoch": 0.0}))
    eventually(lambda: board.scalars("job", "loss"), [(step, 0.0) for step in range(50)])
    job.end("KILLED")

    job.begin()
    job.log(*(metrics(step, {"loss": 1.0}) for step in range(30, 45)), metrics(8, {"epoch": 1.0}))
    loss = [(step, float(step >= 30)) for step in range(45)]
    eventually(lambda: board.scalars("job", "loss"), loss)
    job.end("KILLED")

    job.begin()
    job.log(metrics(44, {"loss": 2.0}), metrics(45, {"loss": 2.0}))  # goes back to the last step itself
    job.end("FINISHED")
    loss = [*loss[:44], (44, 2.0), (45, 2.0)]
    expected = {"loss": loss, "val": [(step, 0.0) for step in range(50)], "epoch": [(7, 0.0), (8, 1.0)]}
    for tag, points in expected.items():
        eventually(lambda tag=tag: board.scalars("job", tag), points)  # type: ignore[misc]
    assert {tag: job.points(tag) for tag in expected} == expected


@pytest.mark.slow
def test_two_runs_with_different_hyperparameters_both_show_all_of_theirs(board: TensorBoard, tmp_path: Path) -> None:
    for run_id, params in (("a", {"lr": 0.1, "only_a": "x"}), ("b", {"lr": 0.2, "only_b": True})):
        job = Job(tmp_path, run_id)
        job.begin()
        job.log(Params(T0_NS, EVERY_BACKEND, params), metrics(0, {"loss": 1.0}))
        job.end("FINISHED")
    expected = {
        "a": ({"lr": 0.1, "only_a": "x"}, "STATUS_SUCCESS"),
        "b": ({"lr": 0.2, "only_b": True}, "STATUS_SUCCESS"),
    }
    eventually(board.hparams, expected)
    eventually(board.hparam_columns, {"lr", "only_a", "only_b"})


@pytest.mark.slow
def test_an_open_tensorboard_shows_parameters_that_come_later_than_metrics(board: TensorBoard, tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.begin()
    job.log(metrics(0, {"loss": 1.0}))
    eventually(lambda: board.scalars("job", "loss"), [(0, 1.0)])
    job.log(Params(T0_NS, EVERY_BACKEND, {"lr": 0.1}))
    eventually(board.hparams, {"job": ({"lr": 0.1}, "STATUS_UNKNOWN")})
    job.end("FINISHED")


@pytest.mark.slow
def test_an_open_tensorboard_with_the_default_loader_shows_how_a_run_ended(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.begin()
    job.log(Params(T0_NS, EVERY_BACKEND, {"lr": 0.1}))
    with serve(tmp_path / "tb", load_fast=True) as board:
        eventually(board.hparams, {"job": ({"lr": 0.1}, "STATUS_UNKNOWN")})
        job.end("FAILED")
        eventually(board.hparams, {"job": ({"lr": 0.1}, "STATUS_FAILURE")})


@pytest.mark.slow
def test_a_correction_of_earlier_steps_does_not_hide_the_later_ones_once_the_run_is_over(
    board: TensorBoard, tmp_path: Path
) -> None:
    job = Job(tmp_path)
    job.begin()
    job.log(*(metrics(step, {"loss": 0.0, "val": 0.0}) for step in range(10)))
    eventually(lambda: len(board.scalars("job", "loss")), 10)
    corrected = (metrics(step, {"loss": 1.0}) for step in range(3, 6))
    job.log(*(msgspec.structs.replace(each, corrects=True) for each in corrected))
    job.end("FINISHED")
    expected = [(step, float(3 <= step < 6)) for step in range(10)]
    eventually(lambda: board.scalars("job", "loss"), expected)
    assert job.points("loss") == expected
    assert board.scalars("job", "val") == [(step, 0.0) for step in range(10)]
    size = [path.stat().st_size for path in job.folder.glob("*.1")]
    job.begin()
    job.end("FINISHED")
    assert [path.stat().st_size for path in job.folder.glob("*.1")] == size, "it was put in order again"


def play(job: Job, attempts: Attempts) -> dict[str, Points]:
    """Log the series of each attempt; gives the points that count: the newest attempt undoes what it goes back over."""
    counts: dict[str, dict[int, float]] = {}
    for number, series in enumerate(attempts):
        job.begin()
        for name, steps in series:
            before = {step: value for step, value in counts.get(name, {}).items() if step < steps[0]}
            counts[name] = before | dict.fromkeys(steps, float(number))
            job.log(*(metrics(step, {name: float(number)}) for step in steps))
        job.end("KILLED" if number == len(attempts) - 1 or number % 2 else None)
    return {name: sorted(points.items()) for name, points in counts.items()}


steps = st.lists(st.integers(0, 12), min_size=1, max_size=6, unique=True)
series = st.lists(st.tuples(st.sampled_from(NAMES), steps), max_size=3, unique_by=lambda pair: pair[0])


@settings(max_examples=80, deadline=None)
@given(attempts=st.lists(series, min_size=1, max_size=4))
def test_readers_of_the_files_show_what_counts_for_any_attempts(
    attempts: Attempts, tmp_path_factory: pytest.TempPathFactory
) -> None:
    job = Job(tmp_path_factory.mktemp("any"))
    counts = play(job, attempts)
    assert {name: job.points(name) for name in counts} == counts
    served = PluginAccumulator(str(job.folder), size_guidance={"tensors": 0}).Reload()
    shown = {
        name: [(each.step, float(tensor_util.make_ndarray(each.tensor_proto))) for each in served.Tensors(name)]
        for name in counts
    }
    assert shown == counts


@pytest.mark.slow
def test_both_loaders_of_the_server_show_what_counts_for_many_runs(board: TensorBoard, tmp_path: Path) -> None:
    chance = random.Random(7)
    expected: dict[str, dict[str, Points]] = {}
    for index in range(25):
        attempts = [
            [(name, chance.sample(range(13), chance.randint(1, 6))) for name in chance.sample(NAMES, 3)]
            for _ in range(chance.randint(1, 4))
        ]
        expected[f"run-{index}"] = play(Job(tmp_path, f"run-{index}"), attempts)
    for run_id, counts in expected.items():
        for name, points in counts.items():
            eventually(lambda run_id=run_id, name=name: board.scalars(run_id, name), points)  # type: ignore[misc]
