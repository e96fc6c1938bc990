"""Ranks that a real Slurm of two nodes starts, joined by MPI over PMIx."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from runtimes import environment

from ranklog.journal.layout import find_runs
from ranklog.model.record import Attempt, Coverage, Metrics
from ranklog.testing import captured, series

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, ("slurmctld", "slurmd", "munged"))),
        reason="a Slurm of one's own needs root, slurm-wlm and munge",
    ),
]


@pytest.fixture
def slurm_conf(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "slurm"
    subprocess.run([ROOT / "scripts" / "slurm-up.sh", folder], check=True, timeout=90)
    try:
        listed = subprocess.run(
            ["srun", "--mpi=list"],
            env={**os.environ, "SLURM_CONF": str(folder / "slurm.conf")},
            capture_output=True,
            text=True,
            check=False,
        )
        if "pmix" not in listed.stdout + listed.stderr:
            pytest.skip("this Slurm has no PMIx")
        yield str(folder / "slurm.conf")
    finally:
        subprocess.run([folder / "down.sh"], check=False, timeout=30)


def test_srun_with_mpi4py_makes_one_run_of_both_nodes(slurm_conf: str, tmp_path: Path) -> None:
    command = [
        "srun",
        "-t2",
        "--mpi=pmix",
        "-N2",
        "-n2",
        sys.executable,
        str(ROOT / "examples/runtimes/train.py"),
        "mpi",
    ]
    process = subprocess.run(
        [*command, "--log-to", "journal", "--savedir", str(tmp_path / "logs")],
        env=environment(
            SLURM_CONF=slurm_conf,
            OPAL_PREFIX=sys.prefix,
            PMIX_MCA_psec="native",
            PMIX_MCA_ptl_tcp_if_include="lo",
            OMPI_MCA_btl="self,tcp",
            OMPI_MCA_btl_tcp_if_include="lo",
        ),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    (run_dir,) = find_runs(tmp_path / "logs")
    found = captured(run_dir)
    (attempt,) = [record for record in found if isinstance(record, Attempt)]
    assert (attempt.place.launcher, attempt.place.node_count) == ("slurm", 2)
    loss = series(found, "train/loss")
    assert (loss[0], loss[29]) == pytest.approx((2.3398159, 2.0446132), rel=1e-6), "as on every runtime"
    assert {r.coverage for r in found if isinstance(r, Metrics) and r.op} == {Coverage(2, 2, 2)}
