"""Makes the journals beside it, and writes down how that version of ranklog reads them: ``make_journals.py``.

Run it from a checkout of the version whose journals are wanted (README.md names it). Processes are real and are really
killed. Host, user, paths, processor and versions are made up: the trainings run in a namespace that has only those.
Needs Linux and `unshare`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from readings import answers

HERE = Path(__file__).parent
WORK = Path("/home/ada/digits")
RUNS = WORK / "mllogs" / "runs"
INSIDE = """
set -e
hostname node1
mount -t tmpfs tmpfs /home
mkdir -p /home/ada/digits
MEMORY="MemTotal MemFree MemAvailable Buffers Cached Active Inactive SwapTotal SwapFree"
for file in cpuinfo meminfo; do
    case $file in
        cpuinfo) echo "model name : Example CPU";;
        meminfo) printf "%s: 16777216 kB\\n" $MEMORY;;
    esac > /home/$file
    mount --bind /home/$file /proc/$file
done
exec "$@"
"""
GIT = "git -c user.name=Ada -c user.email=ada@example.org"


def main() -> None:
    """Make all of them, in a namespace of their own."""
    if len(sys.argv) == 1:
        inside = ["unshare", "--mount", "--uts", "sh", "-c", INSIDE, "sh", sys.executable, __file__, "inside"]
        subprocess.run(inside, check=True)
        return
    os.chdir(WORK)
    shutil.copy(HERE / "train.py", WORK)
    (WORK / ".gitignore").write_text("mllogs/\ncheckpoint\n")
    for command in ("init -q -b main .", "remote add origin https://git.example/ada/digits.git", "add train.py"):
        subprocess.run(["git", *command.split()], check=True)
    subprocess.run([*GIT.split(), "commit", "-q", "-m", "Train on digits"], check=True)
    for make in (make_killed, make_requeued, make_damaged, make_unmerged, make_kinds):
        name = make.__name__.removeprefix("make_")
        Path("checkpoint").unlink(missing_ok=True)
        make()
        keep(name)


def make_killed() -> None:
    """SIGKILL in the middle of training."""
    kill_at(44, start("killed"))


def make_requeued() -> None:
    """Three attempts of one Slurm job: killed, ended by SIGTERM, finished; each goes back to the last checkpoint."""
    kill_at(19, start("requeued", **slurm(0)))
    Path("checkpoint").write_text("15")
    kill_at(29, start("requeued", **slurm(1)), signal.SIGTERM)
    Path("checkpoint").write_text("20")
    assert start("requeued", **slurm(2)).wait() == 0


def make_damaged() -> None:
    """A flipped byte in the middle of the first segment, and a second one that ends within a frame."""
    kill_at(44, start("damaged"))
    Path("checkpoint").write_text("40")
    kill_at(64, start("damaged"))
    first, second = sorted((RUNS / "damaged").glob("journal-*.rlj"))
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 0x40
    first.write_bytes(data)
    os.truncate(second, second.read_bytes().rindex(b"RLJ1") + 40)


def make_unmerged() -> None:
    """Rank 0 is killed, rank 1 logs on and closes."""
    with_torch = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0", "GLOO_SOCKET_IFNAME": "lo", "RANKLOG_REDUCE_TIMEOUT": "4",
    }  # fmt: skip
    ranks = [start("unmerged", **with_torch, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(2)]
    for rank in ranks:
        assert rank.stdout is not None
        rank.stdout.readline()
    ranks[0].kill()
    assert ranks[1].wait() == 0


def make_kinds() -> None:
    """One item of every kind."""
    assert start("kinds").wait() == 0


def slurm(restart: int) -> dict[str, str]:
    """What Slurm tells a job of one task."""
    return {
        "SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "digits", "SLURM_JOB_PARTITION": "gpu", "SLURM_JOB_ACCOUNT": "lab",
        "SLURM_JOB_NODELIST": "node1", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1",
        "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_TASKS_PER_NODE": "1",
        "SLURM_RESTART_COUNT": str(restart), "SLURM_JOB_END_TIME": "4102444800",
    }  # fmt: skip


def start(case: str, **environment: str) -> subprocess.Popen[str]:
    """Start a training as a user would, with nothing of this machine's environment but where Python is."""
    # The interpreter is found in PATH, so that the command line does not name its directory.
    bare = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": "/home/ada", "USER": "ada"}
    bare |= {"OMP_NUM_THREADS": "1", "MPLCONFIGDIR": "/home/ada", "LANG": "C.UTF-8", **environment}
    command = ["taskset", "-c", "0", "python", "train.py", case]
    return subprocess.Popen(command, env=bare, stdout=subprocess.PIPE, text=True)


def kill_at(step: int, process: subprocess.Popen[str], number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal once that step is on the disk, and wait for the end."""
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= step:
            process.send_signal(number)
            break
    process.stdout.close()
    assert process.wait() == -number


def keep(name: str) -> None:
    """Copy the one run of a case out, and write down how it reads."""
    (run_dir,) = (path for path in RUNS.iterdir() if (path / "run.msgpack").exists())
    target = HERE / name
    shutil.rmtree(target, ignore_errors=True)
    # A lock names the boot of the machine.
    shutil.copytree(run_dir, target / run_dir.name, ignore=shutil.ignore_patterns("*.lock"))
    shutil.rmtree(RUNS)
    for file, text in answers(target / run_dir.name, WORK / "reading" / name).items():
        (target / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
