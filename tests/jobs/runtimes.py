"""Helpers that start a script with the launcher of each runtime, on the loopback interface."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ray_head
from launch import TORCHRUN, Finished, job_environment, run_agent

BIN = Path(sys.executable).parent
MPIRUN = [str(BIN / "mpirun"), "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]

LAUNCHERS: dict[str, list[str]] = {
    "single": [],
    "horovod": [str(BIN / "horovodrun"), "--gloo", "-H", "localhost:2", "--network-interfaces", "lo", "-np"],
    "mpi": [*MPIRUN, "-n"],
    "ray": [],
}


def command(launcher: str, ranks: int, script: Path, *arguments: str) -> list[str]:
    """Return the command that starts a script on several ranks."""
    words = LAUNCHERS[launcher]
    if launcher in ("single", "ray"):
        return [sys.executable, str(script), *arguments]
    return [*words, str(ranks), sys.executable, str(script), *arguments]


def environment(**extra: str) -> dict[str, str]:
    """Return variables that keep every runtime on loopback, and DeepSpeed on the CPU with its compiled operator."""
    return job_environment(
        **{
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "DS_ACCELERATOR": "cpu",
            "TORCH_EXTENSIONS_DIR": str(BIN.parent / "torch_extensions"),
            "OMPI_MCA_btl": "self,sm",
            "OMPI_MCA_mpi_yield_when_idle": "1",  # ranks that wait for another one leave the core to other tests
            "MASTER_ADDR": "127.0.0.1",
            "HOROVOD_GLOO_TIMEOUT_SECONDS": "120",  # Horovod's default of 30 s is short on a busy machine
            "RAY_TRAIN_V2_ENABLED": "1",
            **extra,
        }
    )


def start(launcher: str, ranks: int, script: Path, *arguments: str, cwd: Path, timeout_s: float = 240) -> Finished:
    """Run a script; returns the output of all ranks together."""
    if launcher == "torch":
        words = (*TORCHRUN, str(script), *arguments)
        return run_agent(ranks, *words, cwd=cwd, timeout_s=timeout_s, env=environment(HOME=str(cwd)))
    env = environment(HOME=str(cwd))
    if launcher == "ray":
        env = ray_head.of_driver(env)
    process = subprocess.Popen(
        command(launcher, ranks, script, *arguments), cwd=cwd, env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        raise AssertionError(f"the job hung; its output so far:\n{process.communicate()[0]}") from None
    return Finished(process.returncode, output)
