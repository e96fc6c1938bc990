"""How a script is started on each runtime, on this machine's loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
    """The command line that starts a script on so many ranks."""
    words = LAUNCHERS[launcher]
    if launcher in ("single", "ray"):
        return [sys.executable, str(script), *arguments]
    return [*words, str(ranks), sys.executable, str(script), *arguments]


def environment(**extra: str) -> dict[str, str]:
    """What keeps every runtime on loopback, and DeepSpeed on the CPU with what was compiled before."""
    return job_environment(
        **{
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "DS_ACCELERATOR": "cpu",
            "TORCH_EXTENSIONS_DIR": str(BIN.parent / "torch_extensions"),
            "OMPI_MCA_btl": "self,sm",
            "MASTER_ADDR": "127.0.0.1",
            "HOROVOD_GLOO_TIMEOUT_SECONDS": "120",  # Horovod's own patience of 30 s is short on a busy machine
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ADDRESS": "local",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's way to say that all nodes are 127.0.0.1
            "RAY_TRAIN_V2_ENABLED": "1",
            "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # another process that imports Ray Train, for clouds
            **extra,
        }
    )


def start(launcher: str, ranks: int, script: Path, *arguments: str, cwd: Path, timeout_s: float = 240) -> Finished:
    """Run a script to its end; the output of all ranks comes back together."""
    if launcher == "torch":
        words = (*TORCHRUN, str(script), *arguments)
        return run_agent(ranks, *words, cwd=cwd, timeout_s=timeout_s, env=environment(HOME=str(cwd)))
    process = subprocess.Popen(
        command(launcher, ranks, script, *arguments), cwd=cwd, env=environment(HOME=str(cwd)), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        raise AssertionError(f"the job hung; its output so far:\n{process.communicate()[0]}") from None
    return Finished(process.returncode, output)
