"""Checks of the runs that jobs leave in a user's folder."""

from __future__ import annotations

from pathlib import Path

from part_job import STEPS_PER_ATTEMPT

from ranklog.journal.layout import find_runs
from ranklog.model.record import Coverage, Metrics
from ranklog.testing import captured, series
from ranklog.view.query import RunView


def outputs(folder: Path) -> str:
    """What the jobs printed."""
    return "\n".join(path.read_text(errors="replace") for path in folder.glob("*.out"))


def runs(folder: Path) -> list[RunView]:
    """The runs of a folder in which jobs were submitted."""
    return [RunView(run_dir) for run_dir in find_runs(folder / "ranklog-runs")]


def assert_whole(view: RunView, ranks: int, nodes: int, launcher: str) -> None:
    """It has ended well, every rank told of itself and stands behind every reduced value."""
    assert view.summary.status == "FINISHED"
    place = view.attempts[-1].place
    assert (place.world_size, place.node_count, place.launcher) == (ranks, nodes, launcher)
    assert [rank.node_rank for _, rank in sorted(view.ranks.items())] == [
        rank * nodes // ranks for rank in range(ranks)
    ]
    reduced = [record for record in captured(view.run_dir) if isinstance(record, Metrics) and record.op]
    assert reduced and {record.coverage for record in reduced} == {Coverage(ranks, ranks, ranks)}


def assert_facts(view: RunView, job: str) -> None:
    """The run knows its job."""
    facts = view.jobs[0]
    assert (facts.scheduler, facts.facts["job"], facts.facts["partition"]) == ("slurm", job, "all")
    assert facts.facts["nodes"] == "n[1-2]"
    assert None not in (facts.submitted_ns, facts.started_ns, facts.ends_ns)


def assert_two_ddp_nodes(folder: Path) -> None:
    """What slurm/torchrun.sbatch leaves."""
    (view,) = runs(folder)
    (output,) = folder.glob("digits-*.out")
    assert_whole(view, 4, 2, "torchrun")
    assert_facts(view, output.stem.partition("-")[2])
    assert len(view.attempts) == 1


def assert_array(folder: Path) -> None:
    """What slurm/array.sbatch leaves: three tasks, and one more under a name of the user's."""
    found = runs(folder)
    assert [view.summary.status for view in found] == ["FINISHED"] * 4, outputs(folder)
    swept = [view for view in found if view.summary.facts.group != "my-sweep"]
    (group,) = {view.summary.facts.group for view in swept}
    assert group == f"array-{swept[0].jobs[0].facts['array']}"
    assert sorted(view.params["lr"] for view in swept) == [1e-3, 2e-3, 4e-3]
    assert sorted(view.jobs[0].facts["array_task"] for view in swept) == ["0", "1", "2"]
    assert {view.attempts[0].place.world_size for view in found} == {1}


def assert_one_series_of_two_attempts(folder: Path) -> None:
    """What slurm/requeue.sbatch leaves after one requeue."""
    (view,) = runs(folder)
    assert_whole(view, 2, 2, "torchrun")
    assert [attempt.attempt for attempt in view.attempts] == [0, 1]
    points = view.series("train/loss")
    assert [point.step for point in points] == list(range(len(points))) and len(points) > 100
    assert sorted({point.attempt for point in points}) == [0, 1]
    assert not view.superseded("train/loss"), "the checkpoint was saved at the last step"
    found = series(captured(view.run_dir), "train/loss")
    assert found[0] > 1.5 * found[len(points) - 1], "the training went on from the checkpoint"


def views_by_name(folder: Path) -> dict[str, RunView]:
    """Return the runs of `part_job` by the names that the job script gave them."""
    return {str(view.params["name"]): view for view in map(RunView, find_runs(folder / "runs"))}


def assert_attempts(view: RunView, attempts: int) -> None:
    """A run has finished, and its attempts form one continuous series."""
    assert view.summary.status == "FINISHED"
    assert [attempt.attempt for attempt in view.attempts] == list(range(attempts))
    expected = [step // STEPS_PER_ATTEMPT for step in range(attempts * STEPS_PER_ATTEMPT)]
    assert [(point.step, point.value) for point in view.series("loss")] == list(enumerate(expected))
