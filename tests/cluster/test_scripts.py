"""Every job script of `slurm/`, submitted as a user submits it: one true run comes out."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from cluster import ROOT, Slurm, wait_until

from ranklog.journal.layout import find_runs
from ranklog.model.record import Coverage, Metrics
from ranklog.testing import captured, series
from ranklog.view.query import RunView

SCRIPTS = ROOT / "slurm"
EXAMPLES = ROOT / "examples"
DIGITS = (EXAMPLES / "train_digits.py", "--epochs", "1", "--backends", "tensorboard")
RUNTIMES = (EXAMPLES / "runtimes" / "train.py",)


class Script(msgspec.Struct, frozen=True):
    """A job script, what it is given, and the ranks and nodes that its run must have."""

    name: str
    program: tuple[object, ...]
    ranks: int
    nodes: int
    launcher: str
    options: tuple[str, ...] = ()


ONE_RUN = [
    Script("srun", DIGITS, 4, 2, "torchrun"),
    Script("torchrun", DIGITS, 4, 2, "torchrun"),
    Script("deepspeed", (*RUNTIMES, "deepspeed"), 2, 2, "torchrun"),
    Script("mpi", (*RUNTIMES, "mpi"), 2, 2, "slurm"),
    # Ray Train tells nodes apart by their addresses, and here both have the same one.
    Script("ray", (*RUNTIMES, "ray", "--workers", "2"), 2, 1, "ray", ("--cpus-per-task=1",)),
]


def outputs(folder: Path) -> str:
    return "\n".join(path.read_text(errors="replace") for path in folder.glob("*.out"))


def submit(slurm: Slurm, folder: Path, script: str, *words: object, options: tuple[str, ...] = (), **extra: str) -> str:
    """Submit a script of `slurm/` from a user's folder."""
    return slurm.submit(*options, SCRIPTS / f"{script}.sbatch", *map(str, words), cwd=folder, **extra)


def runs(folder: Path) -> list[RunView]:
    return [RunView(run_dir) for run_dir in find_runs(folder / "ranklog-runs")]


def assert_whole(view: RunView, ranks: int) -> None:
    """Every rank told of itself and stands behind every reduced value."""
    assert view.summary.status == "FINISHED"
    assert sorted(view.ranks) == list(range(ranks))
    reduced = [record for record in captured(view.run_dir) if isinstance(record, Metrics) and record.op]
    assert reduced and {record.coverage for record in reduced} == {Coverage(ranks, ranks, ranks)}


@pytest.mark.parametrize("script", ONE_RUN, ids=lambda script: script.name)
def test_it_gives_one_finished_run_of_all_ranks_with_full_coverage(
    script: Script, slurm: Slurm, tmp_path: Path
) -> None:
    job = submit(slurm, tmp_path, script.name, *script.program, options=script.options)
    told = slurm.wait(job)
    assert "JobState=COMPLETED" in told, outputs(tmp_path)
    (view,) = runs(tmp_path)
    assert_whole(view, script.ranks)
    (attempt,) = view.attempts
    place = attempt.place
    assert (place.world_size, place.node_count, place.launcher) == (script.ranks, script.nodes, script.launcher)
    assert [rank.node_rank for _, rank in sorted(view.ranks.items())] == [
        rank * script.nodes // script.ranks for rank in range(script.ranks)
    ]
    facts = view.jobs[0]
    assert (facts.scheduler, facts.facts["job"], facts.facts["partition"]) == ("slurm", job, "all")
    assert facts.facts["nodes"] == "n[1-2]"
    assert None not in (facts.submitted_ns, facts.started_ns, facts.ends_ns)
    assert f"ranklog: run {view.summary.facts.run_id} FINISHED: 1 attempt; " in outputs(tmp_path)


def test_an_array_gives_a_run_a_task_and_one_group(slurm: Slurm, tmp_path: Path) -> None:
    job = submit(slurm, tmp_path, "array", *DIGITS)
    slurm.wait(job)
    found = runs(tmp_path)
    assert [view.summary.status for view in found] == ["FINISHED"] * 3, outputs(tmp_path)
    assert {view.summary.facts.group for view in found} == {f"array-{job}"}
    assert sorted(view.params["lr"] for view in found) == [1e-3, 2e-3, 4e-3]
    assert sorted(view.jobs[0].facts["array_task"] for view in found) == ["0", "1", "2"]
    assert {view.attempts[0].place.world_size for view in found} == {1}


def test_steps_of_a_job_are_attempts_of_one_run(slurm: Slurm, tmp_path: Path) -> None:
    job = submit(slurm, tmp_path, "steps", *DIGITS)
    slurm.wait(job)
    (view,) = runs(tmp_path)
    assert (view.summary.facts.run_id, view.summary.status) == (f"job-{job}", "FINISHED"), outputs(tmp_path)
    assert [attempt.place.world_size for attempt in view.attempts] == [2, 1]
    assert len(view.series("train/loss")) > 3 and not view.superseded("train/loss")
    assert [point.value for point in view.series("evaluation/accuracy")] == [0.97]


def test_a_job_that_saves_before_its_limit_and_is_requeued_is_one_continuous_series(
    slurm: Slurm, tmp_path: Path
) -> None:
    steps = 200
    job = submit(slurm, tmp_path, "requeue", EXAMPLES / "requeue.py", "--steps", steps, "--pause", "0.05")
    wait_until(lambda: any(view.series("train/loss") for view in runs(tmp_path)), why=lambda: outputs(tmp_path))
    # What --signal=USR1@… sends at the end of the time limit; test_slurm waits for that one.
    slurm.ask("scancel", "--signal=USR1", job)
    wait_until(lambda: "back into the queue" in outputs(tmp_path), why=lambda: outputs(tmp_path))
    (view,) = runs(tmp_path)
    assert (view.end.status, view.end.reason) == ("KILLED", "exit status 99 after SIGUSR1")
    slurm.start_now(job)
    slurm.wait(job)
    (view,) = runs(tmp_path)
    assert_whole(view, 2)
    assert [attempt.attempt for attempt in view.attempts] == [0, 1]
    points = view.series("train/loss")
    assert [point.step for point in points] == list(range(steps))
    assert sorted({point.attempt for point in points}) == [0, 1]
    assert not view.superseded("train/loss"), "the checkpoint was saved at the last step"
    found = series(captured(view.run_dir), "train/loss")
    assert found[0] > 1.5 * found[steps - 1], "the training went on from the checkpoint"
