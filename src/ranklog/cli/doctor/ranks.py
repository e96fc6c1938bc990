"""Checks of all ranks together: communication, latency, clocks, shared file system.

In: this rank's place and findings. Out: the findings of all ranks, on every rank. The ranks are joined like those of a
training: with torch's process group under torchrun, MPI under mpirun, Horovod under horovodrun. In a Slurm step, where
any of them is possible, they use a process group of torch, whose address rank 0 writes to the run directory.
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
from ranklog.cli.doctor.check import Check, merge_reports
from ranklog.journal.layout import make_private_dir, write_private
from ranklog.model.errors import RanklogError, WorldError
from ranklog.model.place import Place
from ranklog.world.place.containers import checked_place
from ranklog.world.strategies import resolve_strategy
from ranklog.world.torch.worlds import HierarchicalWorld

NOT_JOINED = "communicator"
_BY_TORCH = ("torchrun", "lightning")
_BY_MPI = ("openmpi", "mvapich", "hydra", "pals", "pmi")
_ROUNDS = 20
_VALUES = 64
_SLOW_S = 0.05
_SKEW_S = 1.0
_POLL_S = 0.05
_SEEN_S = 5.0


def join_ranks(place: Place, directory: Path, own: Sequence[Check], strategy: str, timeout_s: float) -> list[Check]:
    """Join the ranks and merge their findings. Every rank calls this; each collective waits for at most the limit.

    Returns:
        The findings of all ranks, or one finding named `NOT_JOINED` with the reason why they could not be joined.
    """
    end_s = time.monotonic() + timeout_s
    try:
        joined = _initialise(place, directory, strategy, timeout_s)
        world = joined.connect(channel="doctor", timeout_s=max(end_s - time.monotonic(), 1.0))
    except (RanklogError, RuntimeError, OSError, ImportError, ValueError) as error:
        return [_not_joined(place, error)]
    try:
        checks = [*own, _strategy_check(joined, world), *_measure(world, timeout_s)]
        checks += _shared_directory(world, directory, timeout_s)
        reports = world.all_gather(msgspec.msgpack.encode(checks), timeout_s=timeout_s)
        world.barrier(timeout_s=timeout_s)
    except WorldError as error:
        return [_not_joined(place, error)]
    finally:
        world.close()
    return merge_reports([msgspec.msgpack.decode(report, type=list[Check]) for report in reports])


def _not_joined(place: Place, error: Exception) -> Check:
    text = " ".join(str(error).split())
    cure = (
        "run this command on every rank, and check that the nodes can reach each other (GLOO_SOCKET_IFNAME selects the"
    )
    cure += f" network interface). If this process is a training of its own, set RANKLOG_STRATEGY=single ({place})"
    return Check(name=NOT_JOINED, level="bad", text=f"the ranks cannot communicate: {text}", cure=cure)


def _initialise(place: Place, directory: Path, strategy: str, timeout_s: float) -> Strategy:
    """Initialise the framework that joins the ranks, and return the strategy that uses it.

    Raises:
        RanklogError: there is no such framework.
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
        raise RanklogError(
            f"{place}: torch is not installed, but the doctor needs it to join ranks of {place.launcher}"
        )
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
    """Exchange the address of rank 0, through a file in the directory that all ranks should share."""
    if place.job_id is None:
        raise RanklogError(f"{place}: {place.launcher} gives the ranks no job id: choose a --strategy")
    step = os.environ.get("SLURM_STEP_ID", "0")
    address_file = directory / f".doctor-{place.job_id}.{step}.{place.attempt}"
    if place.is_main:
        with socket.socket() as probe:
            probe.bind(("", 0))
            port = probe.getsockname()[1]
        make_private_dir(directory)
        address = f"{os.environ.get('MASTER_ADDR') or socket.gethostname()}:{port}"
        write_private(address_file, address.encode())
        return address
    if not _appears(address_file, timeout_s):
        raise RanklogError(
            f"{place} on {socket.gethostname()} finds no file of rank 0 in {directory}: all nodes must share this"
            " directory (RANKLOG_DIR)"
        )
    return address_file.read_text()


def _appears(path: Path, timeout_s: float) -> bool:
    """Wait for a file of another node; returns whether it appeared in time."""
    end_s = time.monotonic() + timeout_s
    while not path.exists():
        if time.monotonic() > end_s:
            return False
        os.listdir(path.parent if path.parent.exists() else path.parent.parent)  # noqa: PTH208 - makes NFS refresh
        time.sleep(_POLL_S)
    return True


def remove_address_file(place: Place, directory: Path) -> None:
    """Remove the file that `join_ranks` wrote, on rank 0."""
    if place.is_main and place.job_id is not None:
        for left in directory.glob(f".doctor-{place.job_id}.*"):
            left.unlink(missing_ok=True)


def _strategy_check(strategy: Strategy, world: World) -> Check:
    how = (
        "hierarchical: within nodes, then in blocks"
        if isinstance(world, HierarchicalWorld)
        else "all ranks in one group"
    )
    name = type(world).__name__.removesuffix("World").lower()
    over = "gloo" if name in ("torch", "hierarchical") else name
    return Check(name="strategy", level="ok", text=f"{strategy.name}, over {over}, {how}")


def _measure(world: World, timeout_s: float) -> list[Check]:
    """Measure latency and clocks: all ranks leave a collective at about the same moment."""
    values = np.zeros(_VALUES)
    world.all_reduce(values, op="sum", timeout_s=timeout_s)
    took, seen = [], []
    for _ in range(_ROUNDS):
        began_s = time.monotonic()
        world.all_reduce(values, op="sum", timeout_s=timeout_s)
        took.append(time.monotonic() - began_s)
        seen.append(time.time())
    # The value of the slowest rank, the same on all ranks.
    trip_s = float(world.all_reduce(np.array([statistics.median(took)]), op="max", timeout_s=timeout_s)[0])
    clocks = world.all_gather(msgspec.msgpack.encode(seen), timeout_s=timeout_s)
    return [_trip(trip_s), _skew([msgspec.msgpack.decode(each, type=list[float]) for each in clocks])]


def _trip(trip_s: float) -> Check:
    text = f"{trip_s * 1e3:.2g} ms for an all_reduce of {_VALUES} values"
    if trip_s < _SLOW_S:
        return Check(name="all_reduce", level="ok", text=text)
    cure = (
        "training does not wait for it, but reduced values are late. More CPUs per rank, or another network interface"
    )
    return Check(name="all_reduce", level="warn", text=text, cure=f"{cure} (GLOO_SOCKET_IFNAME), can help")


def _skew(clocks: Sequence[Sequence[float]]) -> Check:
    """Check the clock that is farthest from rank 0's. The median ignores delays of single rounds."""
    ahead = [statistics.median(mine - zero for mine, zero in zip(each, clocks[0], strict=True)) for each in clocks]
    rank = max(range(len(ahead)), key=lambda number: abs(ahead[number]))
    if abs(ahead[rank]) < _SKEW_S:
        return Check(name="clocks", level="ok", text=f"the clocks of all ranks are within {_SKEW_S:g} s of rank 0's")
    way = "ahead of" if ahead[rank] > 0 else "behind"
    text = f"the clock of rank {rank} is {abs(ahead[rank]):.1f} s {way} rank 0's"
    return Check(name="clocks", level="warn", text=text, cure="repair NTP on that node: its points get wrong times")


def _shared_directory(world: World, directory: Path, timeout_s: float) -> list[Check]:
    """Check whether every rank sees files of rank 0."""
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
        return [Check(name="shared directory", level="ok", text="all nodes see files of rank 0")]
    text = f"{socket.gethostname()} does not see files of rank 0 in {directory}"
    cure = "set RANKLOG_DIR to a file system that all nodes share; otherwise files of other ranks are lost, and so are"
    cure += " their values when communication breaks"
    return [Check(name="shared directory", level="bad", text=text, cure=cure)]


def launcher_place() -> Place:
    """Return the place by the environment; a single process if the environment is contradictory."""
    try:
        return checked_place(os.environ)
    except RanklogError:
        return Place()
