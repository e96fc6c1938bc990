"""Starts user scripts as users do: with torchrun, on this machine's loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec


class Finished(msgspec.Struct, frozen=True):
    """How a job ended."""

    code: int
    output: str


def job_environment(**extra: str) -> dict[str, str]:
    """The environment of a user's shell on this machine."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **extra}


def torchrun(
    ranks: int, script: str | Path, *arguments: str, cwd: Path, timeout_s: float = 120, **extra: str
) -> Finished:
    """Run a script, given as text or path, on several ranks; the output of all comes back together."""
    if isinstance(script, str):
        path = cwd / "train.py"
        path.write_text(textwrap.dedent(script))
    else:
        path = script
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks)]
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", str(path), *arguments]
    process = subprocess.Popen(
        command, cwd=cwd, env=job_environment(**extra), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        output, _ = process.communicate()
        raise AssertionError(f"the job hung; its output so far:\n{output}") from None
    return Finished(process.returncode, output)
