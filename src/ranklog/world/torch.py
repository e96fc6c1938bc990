"""A world over torch.distributed: a gloo group of ranklog's own, built beside the user's groups.

Needs an initialised default group, and of that only its store, its rank and its size: no call of the user's group
is made, so a rank that never opens a logger holds nobody up but the one who waits here, with a time limit. The
store is cloned, so that waiting does not block the main thread's use of it. Any backend of the default group will
do; tensors are on the CPU. torch is never imported before the user has imported it. In a forked child the group is
never destructed: that would wait for threads which the child does not have.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
import weakref
from datetime import timedelta
from types import ModuleType
from typing import Any

import numpy as np

from ranklog.model.errors import WorldError
from ranklog.model.place import Place
from ranklog.world.base import Floats, ReduceOp

MESH_TIMEOUT_S = 20.0
_FIRST_POLL_S = 0.005
_LAST_POLL_S = 0.1
_NAMED_RANKS = 8
_FIRST_ASK_S = 0.0001
_LAST_ASK_S = 0.01
_OVERDUE_S = 5.0  # gloo keeps its time limits itself; so long after one it is taken for hung


def initialised_group() -> ModuleType | None:
    """``torch.distributed`` when this process has initialised it, else None; imports nothing."""
    module = sys.modules.get("torch.distributed")
    if module is None or not getattr(module, "is_available", bool)():
        return None
    return module if module.is_initialized() else None


def group_rank_and_size() -> tuple[int, int] | None:
    """Rank and size of the default group, or None."""
    dist = initialised_group()
    return None if dist is None else (dist.get_rank(), dist.get_world_size())


class TorchWorld:
    """Collectives on one gloo group.

    Args:
        group: A ``ProcessGroupGloo`` that nobody else uses.
        place: This rank in it.
    """

    def __init__(self, group: Any, place: Place) -> None:
        self._group = group
        self._place = place
        self._torch = sys.modules["torch"]
        reduce_op = self._torch.distributed.ReduceOp
        self._broken = False
        _worlds.add(self)
        self._ops = {"sum": reduce_op.SUM, "min": reduce_op.MIN, "max": reduce_op.MAX}

    @property
    def place(self) -> Place:
        """This rank in the default group."""
        return self._place

    def all_reduce(self, values: Floats, *, op: ReduceOp, timeout_s: float) -> Floats:
        """Combine equally long vectors elementwise."""
        tensor = self._torch.from_numpy(values.astype(np.float64))
        options = self._torch.distributed.distributed_c10d.AllreduceOptions()
        options.reduceOp = self._ops[op]
        self._call("allreduce", [tensor], options, timeout_s=timeout_s)
        result: Floats = tensor.numpy()
        return result

    def all_gather(self, data: bytes, *, timeout_s: float) -> list[bytes]:
        """Return every rank's bytes: lengths first, then contents padded to the longest."""
        torch, size = self._torch, self._place.world_size
        end_s = time.monotonic() + timeout_s
        lengths = np.zeros(size)
        lengths[self._place.rank] = len(data)
        lengths = self.all_reduce(lengths, op="sum", timeout_s=timeout_s)
        longest = int(lengths.max())
        if not longest:
            return [b""] * size
        padded = np.zeros(longest, dtype=np.uint8)
        padded[: len(data)] = np.frombuffer(data, dtype=np.uint8)
        out = [torch.empty(longest, dtype=torch.uint8) for _ in range(size)]
        options = torch.distributed.distributed_c10d.AllgatherOptions()
        left_s = max(end_s - time.monotonic(), 0.001)
        self._call("allgather", [out], [torch.from_numpy(padded)], options, timeout_s=left_s)
        return [tensor.numpy()[: int(n)].tobytes() for tensor, n in zip(out, lengths, strict=True)]

    def barrier(self, *, timeout_s: float) -> None:
        """Return when every rank is here."""
        self.all_reduce(np.zeros(1), op="sum", timeout_s=timeout_s)

    def _call(self, method: str, *args: Any, timeout_s: float) -> None:
        if self._group is None:
            raise WorldError(f"{self._place}: the communicator is closed")
        limit = timedelta(seconds=timeout_s)
        end_s = time.monotonic() + timeout_s + _OVERDUE_S
        args[-1].timeout = limit
        try:
            work = getattr(self._group, method)(*args)
            pause_s = _FIRST_ASK_S
            # Asked, not waited for: a daemon thread that the end of the interpreter meets inside a C++ wait takes
            # the whole process down ("terminate called without an active exception").
            while not work.is_completed():
                if time.monotonic() > end_s:
                    raise TimeoutError(f"no answer {_OVERDUE_S:g} s after its time limit of {timeout_s:g} s")  # noqa: TRY301
                time.sleep(pause_s)
                pause_s = min(pause_s * 1.5, _LAST_ASK_S)
            work.wait(limit)
        except (RuntimeError, TimeoutError) as error:  # torch's distributed errors are RuntimeErrors
            self._broken = True
            reason = str(error).strip().splitlines()[0]
            raise WorldError(f"{self._place}: {method} with the other ranks failed: {reason}") from error

    def close(self) -> None:
        """Release the group; one that broke is left alone, since its destructor waits for what never comes."""
        if self._broken:
            _keep(self._group)
        self._group = None


_worlds: weakref.WeakSet[TorchWorld] = weakref.WeakSet()


def _keep_in_child() -> None:
    """Keep every group for good in a forked child, also past the end of its interpreter."""
    for world in list(_worlds):
        _keep(world._group)


def _keep(group: Any) -> None:
    """Let a group live as long as the process, also past the end of its interpreter."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(group))


os.register_at_fork(after_in_child=_keep_in_child)


def connect_torch(place: Place, *, channel: str, timeout_s: float, stop: threading.Event | None = None) -> TorchWorld:
    """Open a gloo group over the default group's store; see `Strategy.connect`.

    A rank is announced once on a channel, so a call that timed out may be repeated.

    Raises:
        WorldError: no group is initialised, or not all ranks came in time.
    """
    dist = initialised_group()
    if dist is None:
        raise WorldError("torch.distributed is not initialised: call torch.distributed.init_process_group first")
    try:
        store = dist.PrefixStore(f"ranklog/{channel}", _clone_of_default_store(dist))
        _await_all(store, place, timeout_s, stop)
        # From here all ranks are on their way, so what is left of the caller's time is not the measure.
        group = dist.ProcessGroupGloo(
            dist.PrefixStore("gloo", store),
            place.rank,
            place.world_size,
            timedelta(seconds=max(timeout_s, MESH_TIMEOUT_S)),
        )
    except RuntimeError as error:
        if isinstance(error, WorldError):
            raise
        reason = str(error).strip().splitlines()[0]
        raise WorldError(f"{place}: no communicator could be opened: {reason}") from error
    return TorchWorld(group, place)


def _clone_of_default_store(dist: ModuleType) -> Any:
    # There is no public way to the default store; a store of our own would need a port that ranks agree on.
    store = dist.distributed_c10d._get_default_store()
    clone = getattr(store, "clone", None)
    return store if clone is None else clone()


def _await_all(store: Any, place: Place, timeout_s: float, stop: threading.Event | None) -> None:
    end_s = time.monotonic() + timeout_s
    # Told only once, however often this rank tries: the counter counts ranks.
    if store.add(f"here/{place.rank}", 1) == 1 and store.add("count", 1) == place.world_size:
        store.set("complete", "1")
    pause_s = _FIRST_POLL_S
    while not store.check(["complete"]):
        left_s = end_s - time.monotonic()
        if left_s <= 0 or (stop is not None and stop.is_set()):
            missing = place.world_size - store.add("count", 0)
            raise WorldError(f"{missing} of {place.world_size} ranks did not come{_who(store, place)}")
        pause_s = min(pause_s, left_s)
        if stop is None:
            time.sleep(pause_s)
        else:
            stop.wait(pause_s)
        pause_s = min(pause_s * 1.5, _LAST_POLL_S)


def _who(store: Any, place: Place) -> str:
    """Name some of the missing ranks; one question to the store each, so not all of a large job."""
    asked = range(min(place.world_size, 64))
    missing = [str(rank) for rank in asked if not store.check([f"here/{rank}"])][:_NAMED_RANKS]
    return f": rank {', '.join(missing)}" if missing else ""
