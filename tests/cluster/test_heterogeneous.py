"""Heterogeneous jobs: one step over all components is one training, one step per component is one training each."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster import ROOT, VENV, Slurm, wait_until
from outcome import assert_attempts, outputs, runs, views_by_name

from ranklog.model.record import Coverage, Metrics
from ranklog.testing import captured

PROGRAM = Path(__file__).with_name("part_job.py")
PARTS = {"alone": 1, "pair": 2}
"""Names of the trainings that run beside each other, and their ranks."""


@pytest.mark.both_slurms
def test_one_step_over_two_components_of_different_sizes_is_one_run_of_all_their_ranks(
    slurm: Slurm, tmp_path: Path
) -> None:
    train = (ROOT / "examples" / "train_digits.py", "--epochs", "1", "--backends", "console")
    job = slurm.submit(ROOT / "slurm" / "heterogeneous.sbatch", *train, cwd=tmp_path)
    told = slurm.wait(job)
    assert "JobState=COMPLETED" in told, outputs(tmp_path)
    (view,) = runs(tmp_path)
    assert view.summary.status == "FINISHED"
    assert [(rank.node_rank, rank.local_rank) for _, rank in sorted(view.ranks.items())] == [(0, 0), (1, 0), (1, 1)]
    assert (view.attempts[0].place.node_count, view.attempts[0].place.local_world_size) == (2, 1)
    assert (view.jobs[0].facts["job"], view.jobs[0].facts["nodes"]) == (job, "n[1-2]")
    reduced = [record for record in captured(view.run_dir) if isinstance(record, Metrics) and record.op]
    assert reduced and {record.coverage for record in reduced} == {Coverage(3, 3, 3)}


@pytest.mark.both_slurms
def test_each_component_that_is_a_step_of_its_own_is_a_run_and_resumes_it_after_a_requeue(
    slurm: Slurm, tmp_path: Path
) -> None:
    steps = "".join(
        f"PART={name} srun --het-group={component} {VENV}/bin/python {PROGRAM} {tmp_path} &\n"
        for component, name in enumerate(PARTS)
    )
    first, second = (f"-t5 --requeue --open-mode=append -N1 -n{ranks}" for ranks in PARTS.values())
    script = f"#!/bin/bash\n#SBATCH -o {tmp_path}/output {first}\n#SBATCH hetjob\n#SBATCH {second}\n{steps}wait\n"
    (tmp_path / "job.sbatch").write_text(script)
    job = slurm.submit(tmp_path / "job.sbatch")

    def wait_for_attempt(number: int) -> None:
        logged = [tmp_path / f"logged-{name}-{number}" for name in PARTS]
        wait_until(lambda: all(path.exists() for path in logged), why=(tmp_path / "output").read_text)

    wait_for_attempt(0)
    slurm.ask("scontrol", "requeue", job)
    slurm.start_now(job)
    wait_for_attempt(1)
    for name in PARTS:
        (tmp_path / f"finish-{name}").touch()
    slurm.wait(job)

    views = views_by_name(tmp_path)
    assert views.keys() == PARTS.keys(), (tmp_path / "output").read_text()
    for component, (name, ranks) in enumerate(PARTS.items()):
        assert_attempts(views[name], 2)
        assert {attempt.place.world_size for attempt in views[name].attempts} == {ranks}
        assert {attempt.place.node_count for attempt in views[name].attempts} == {1}
        facts = [(known.facts["job"], known.facts["component"]) for known in views[name].jobs.values()]
        assert facts == [(job, str(component))] * 2
