"""What the doctor finds about the ranks together: whether they meet, how fast they talk, if they see one disk and time.

In: this rank's place and findings. Out: the findings of all, on every rank. The ranks are joined as the program that
will train is joined: by torch's group under torchrun, by MPI under mpirun, by Horovod under horovodrun; in a Slurm
step, where a program may do either, by a group of torch whose address rank 0 leaves in the run directory.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import socket
import statistics
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ranklog.abc import Strategy, World
from ranklog.cli.doctor.check import Check, put_together
from ranklog.journal.layout import make_private_dir, write_private
from ranklog.model.errors import RanklogError, WorldError
from ranklog.model.place import Place
from ranklog.world.place.containers import checked_place
from ranklog.world.strategies import resolve_strategy
from ranklog.world.torch.hierarchy import HierarchicalWorld

APART = "communicator"
_BY_TORCH = ("torchrun", "lightning")
_BY_MPI = ("openmpi", "mvapich", "hydra", "pals", "pmi")
_ROUNDS = 20
_VALUES = 64
_SLOW_S = 0.05
_SKEW_S = 1.0
_POLL_S = 0.05
_SEEN_S = 5.0


def meet(place: Place, directory: Path, own: Sequence[Check], strategy: str, timeout_s: float) -> list[Check]:
    """Join the ranks and put their findings together; every rank calls. Waits at most about the time limit a call.

    Returns:
        The findings of all ranks, or one named `APART` that says why they did not meet.
    """
    end_s = time.monotonic() + timeout_s
    try:
        found = _joined(place, directory, strategy, timeout_s)
        world = found.connect(channel="doctor", timeout_s=max(end_s - time.monotonic(), 1.0))
    except (RanklogError, RuntimeError, OSError, ImportError, ValueError) as error:
        return [_not_met(place, error)]
    try:
        checks = [*own, _strategy_check(found, world), *_talk(world, timeout_s)]
        checks += _shared(world, directory, timeout_s)
        reports = world.all_gather(msgspec.msgpack.encode(checks), timeout_s=timeout_s)
        world.barrier(timeout_s=timeout_s)
    except WorldError as error:
        return [_not_met(place, error)]
    finally:
        world.close()
    return put_together([msgspec.msgpack.decode(report, type=list[Check]) for report in reports])


def _not_met(place: Place, error: Exception) -> Check:
    text = " ".join(str(error).split())
    cure = "see that every rank runs this command, and that their nodes reach each other (GLOO_SOCKET_IFNAME names the"
    cure += f" network interface). If this process trains by itself, set RANKLOG_STRATEGY=single ({place})"
    return Check(name=APART, level="bad", text=f"the ranks do not meet: {text}", cure=cure)


def _joined(place: Place, directory: Path, strategy: str, timeout_s: float) -> Strategy:
    """Initialise what joins the ranks, and give the strategy that uses it.

    Raises:
        RanklogError: there is nothing to join them by.
    """
    wanted = strategy
    if wanted == "auto":
        wanted = "torch"
        if place.launcher == "horovod":
            wanted = "horovod"
        elif place.launcher in _BY_MPI and importlib.util.find_spec("mpi4py") is not None:
            wanted = "mpi"
    if wanted in ("torch", "deepspeed"):
        _init_torch(place, directory, timeout_s)
    elif wanted == "horovod":
        horovod: Any = importlib.import_module("horovod.torch")
        horovod.init()
    found = resolve_strategy(wanted)
    if (prepare := getattr(found, "prepare", None)) is not None:
        prepare()
    return found


def _init_torch(place: Place, directory: Path, timeout_s: float) -> None:
    if importlib.util.find_spec("torch") is None:
        raise RanklogError(f"{place}: torch is not installed here, by which the doctor joins ranks of {place.launcher}")
    dist: Any = importlib.import_module("torch.distributed")
    limit = timedelta(seconds=timeout_s)
    if place.launcher in _BY_TORCH:
        dist.init_process_group("gloo", timeout=limit)
        return
    address = _address(place, directory, timeout_s)
    dist.init_process_group(
        "gloo", init_method=f"tcp://{address}", rank=place.rank, world_size=place.world_size, timeout=limit
    )


def _address(place: Place, directory: Path, timeout_s: float) -> str:
    """Where rank 0 waits for the others: a file in the directory that all are meant to share."""
    if place.job_id is None:
        raise RanklogError(f"{place}: the ranks of {place.launcher} have no common job id: name a --strategy")
    step = os.environ.get("SLURM_STEP_ID", "0")
    meeting = directory / f".doctor-{place.job_id}.{step}.{place.attempt}"
    if place.is_main:
        with socket.socket() as probe:
            probe.bind(("", 0))
            port = probe.getsockname()[1]
        make_private_dir(directory)
        address = f"{os.environ.get('MASTER_ADDR') or socket.gethostname()}:{port}"
        write_private(meeting, address.encode())
        return address
    if not _appears(meeting, timeout_s):
        raise RanklogError(
            f"{place} on {socket.gethostname()} sees no sign of rank 0 in {directory}: all nodes must share that"
            " directory (RANKLOG_DIR)"
        )
    return meeting.read_text()


def _appears(path: Path, timeout_s: float) -> bool:
    """Wait for a file that another node writes; whether it came in time."""
    end_s = time.monotonic() + timeout_s
    while not path.exists():
        if time.monotonic() > end_s:
            return False
        os.listdir(path.parent if path.parent.exists() else path.parent.parent)  # noqa: PTH208 - has NFS look again
        time.sleep(_POLL_S)
    return True


def forget_meeting(place: Place, directory: Path) -> None:
    """Remove what `meet` left, on rank 0."""
    if place.is_main and place.job_id is not None:
        for left in directory.glob(f".doctor-{place.job_id}.*"):
            left.unlink(missing_ok=True)


def _strategy_check(strategy: Strategy, world: World) -> Check:
    how = "node by node, then in blocks" if isinstance(world, HierarchicalWorld) else "all ranks as one group"
    name = type(world).__name__.removesuffix("World").lower()
    over = "gloo" if name in ("torch", "hierarchical") else name
    return Check(name="strategy", level="ok", text=f"{strategy.name}; values travel over {over}, {how}")


def _talk(world: World, timeout_s: float) -> list[Check]:
    """Round-trip time and clocks: all ranks leave a collective at about the same moment."""
    values = np.zeros(_VALUES)
    world.all_reduce(values, op="sum", timeout_s=timeout_s)
    took, seen = [], []
    for _ in range(_ROUNDS):
        began_s = time.monotonic()
        world.all_reduce(values, op="sum", timeout_s=timeout_s)
        took.append(time.monotonic() - began_s)
        seen.append(time.time())
    # The slowest rank's view, the same on all.
    trip_s = float(world.all_reduce(np.array([statistics.median(took)]), op="max", timeout_s=timeout_s)[0])
    clocks = world.all_gather(msgspec.msgpack.encode(seen), timeout_s=timeout_s)
    return [_trip(trip_s), _skew([msgspec.msgpack.decode(each, type=list[float]) for each in clocks])]


def _trip(trip_s: float) -> Check:
    text = f"{trip_s * 1e3:.2g} ms for an all_reduce of {_VALUES} values"
    if trip_s < _SLOW_S:
        return Check(name="all_reduce", level="ok", text=text)
    cure = "training does not wait for it; reduced values come later. More CPUs a rank, or another network interface"
    return Check(name="all_reduce", level="warn", text=text, cure=f"{cure} (GLOO_SOCKET_IFNAME), make it shorter")


def _skew(clocks: Sequence[Sequence[float]]) -> Check:
    """The clock that is farthest from rank 0's; the median of rounds keeps delays of single ones out."""
    ahead = [statistics.median(mine - zero for mine, zero in zip(each, clocks[0], strict=True)) for each in clocks]
    rank = max(range(len(ahead)), key=lambda number: abs(ahead[number]))
    if abs(ahead[rank]) < _SKEW_S:
        return Check(name="clocks", level="ok", text=f"all ranks' clocks are within {_SKEW_S:g} s of rank 0's")
    way = "ahead of" if ahead[rank] > 0 else "behind"
    text = f"the clock of rank {rank} is {abs(ahead[rank]):.1f} s {way} rank 0's"
    return Check(name="clocks", level="warn", text=text, cure="have NTP repaired on that node: points get its time")


def _shared(world: World, directory: Path, timeout_s: float) -> list[Check]:
    """Whether every rank sees what rank 0 writes."""
    if world.place.node_count == 1:
        return []
    mark = directory / f".doctor-mark-{world.place.job_id or world.place.world_size}"
    if world.place.is_main:
        make_private_dir(directory)
        write_private(mark, b"seen")
    world.barrier(timeout_s=timeout_s)
    seen = _appears(mark, _SEEN_S)
    world.barrier(timeout_s=timeout_s)
    if world.place.is_main:
        mark.unlink(missing_ok=True)
    if seen:
        return [Check(name="shared directory", level="ok", text="every rank's node sees what rank 0 writes")]
    text = f"{socket.gethostname()} does not see what rank 0 writes to {directory}"
    cure = "set RANKLOG_DIR to a file system that all nodes share: files that other ranks log, and what they keep when"
    cure += " ranks can no longer talk, are lost else"
    return [Check(name="shared directory", level="bad", text=text, cure=cure)]


def place_of_launcher() -> Place:
    """The place by the environment; alone where that is contradictory, which is a finding of its own."""
    try:
        return checked_place(os.environ)
    except RanklogError:
        return Place()
