"""A compute node without internet and a login node share nothing but a file system, and MLflow has it all live."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from cluster import VENV, Slurm, wait_until
from mlflow_server import serve

from ranklog.journal.layout import find_runs
from ranklog.view.query import RunView

RANKLOG = str(VENV / "bin" / "ranklog")


@pytest.mark.timeout(400)
def test_a_job_without_network_is_followed_from_the_login_node_into_a_real_mlflow_server(
    slurm: Slurm, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    runs = tmp_path / "ranklog-runs"
    with serve(tmp_path / "server") as port:
        uri = f"http://127.0.0.1:{port}"
        node = (
            f"ip link set lo up; exec torchrun --standalone --nproc-per-node 2 {Path(__file__).parent}/offline_job.py"
        )
        job = slurm.submit_lines(
            tmp_path,
            "-t5 -n1 -c2",
            f"source {VENV}/bin/activate\n"
            f"export RANKLOG_DIR={runs} RANKLOG_FORWARD=later MLFLOW_TRACKING_URI={uri}\n"
            # A network of the job's own, with nothing in it but a loopback.
            f"srun unshare --net bash -c '{node} {tmp_path} {port}'",
        )
        login = slurm.environment(RANKLOG_DIR=str(runs), MLFLOW_TRACKING_URI=uri)
        watching = subprocess.Popen([RANKLOG, "sync", "--watch", "--every", "0.5"], env=login, cwd=tmp_path)
        try:
            client = MlflowClient(tracking_uri=uri)

            def live() -> list[float]:
                """What MLflow has of the loss by now."""
                experiment = client.get_experiment_by_name("offline")
                found = client.search_runs([experiment.experiment_id]) if experiment else []
                points = client.get_metric_history(found[0].info.run_id, "loss") if found else []
                return [point.value for point in sorted(points, key=lambda point: point.step)]

            wait_until(lambda: len(live()) > 50, why=lambda: (tmp_path / "output").read_text())
            assert slurm.is_there(job) and not (tmp_path / "steps").exists(), "the job runs while it is delivered"
            (tmp_path / "enough").touch()
            slurm.wait(job)
            assert (tmp_path / "reach").read_text() == "ECONNREFUSED ENETUNREACH"
            steps = int((tmp_path / "steps").read_text())
            (experiment,) = client.search_experiments(filter_string="name = 'offline'")

            def status() -> str:
                (run,) = client.search_runs([experiment.experiment_id])
                return str(run.info.status)

            wait_until(lambda: status() == "FINISHED")
        finally:
            (tmp_path / "enough").touch()
            watching.send_signal(signal.SIGINT)
            watching.wait(60)
        assert live() == [step + 0.5 for step in range(steps)], "once each, the mean of both ranks"
    (run_dir,) = find_runs(runs)
    assert RunView(run_dir).summary.status == "FINISHED"
