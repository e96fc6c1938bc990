"""Elastic torchrun as one Slurm step over two nodes: a failed worker makes one more attempt of one run."""

import sys
from pathlib import Path

from cluster import ROOT, Slurm
from elastic import await_value, only_run

JOB = ROOT / "tests" / "jobs" / "elastic_job.py"


def test_a_worker_that_fails_is_followed_by_an_attempt_of_the_run_with_right_means(
    slurm: Slurm, tmp_path: Path
) -> None:
    torchrun = (
        f"{sys.executable} -m torch.distributed.run --nnodes=2 --nproc-per-node=1 --max-restarts=3 "
        "--rdzv-backend=c10d --rdzv-id=$SLURM_JOB_ID --rdzv-endpoint=127.0.0.1:$((20000 + SLURM_JOB_ID % 10000))"
    )
    lines = [
        f"export FOLDER={tmp_path} FAILS=0 OMP_NUM_THREADS=1 GLOO_SOCKET_IFNAME=lo",
        "export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1",
        # Both nodes have the same address here, so torchrun must be told which one serves the rendezvous.
        f"srun bash -c 'AGENT=$SLURM_NODEID exec {torchrun} --rdzv-conf is_host=$((SLURM_NODEID == 0)) {JOB}'",
    ]
    job = slurm.submit_lines(tmp_path, "-t5 -N2 -n2", "\n".join(lines))
    await_value(tmp_path, 1, 1.5, "2/2")
    (tmp_path / "enough").touch()
    told = slurm.wait(job)
    assert "JobState=COMPLETED" in told, (tmp_path / "output").read_text()
    view = only_run(tmp_path)
    assert view.summary.status == "FINISHED"
    assert [(attempt.place.job_id, attempt.place.world_size) for attempt in view.attempts] == [(job, 2)] * 2
    points = view.series("loss")
    assert [point.value for point in points] == [1.5] * len(points)
