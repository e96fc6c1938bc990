"""Collectives on a private gloo group of torch.distributed.

In: a store and the members of the group. Out: vectors and bytes combined over them. The group is built from a store and
the ranks of its members alone, so it is none of the user's. Calls are polled, not waited for, so no daemon thread is
inside one when the process ends. In a forked child a group is never destructed, because its destructor would wait for
threads that the child does not have. A broken group is kept for the same reason.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import time
import weakref
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from ranklog.abc import Floats, ReduceOp
from ranklog.model.errors import WorldError
from ranklog.world.shutdown import PROCESS_ENDING

_FIRST_POLL_S = 0.0001
_LAST_POLL_S = 0.01
_SOURCE_PLACE = re.compile(r"^\[[^]]*\.(cc|cpp|h):\d+\] ")
_STOPPED_S = 1.0  # far longer than any pause between two polls
_OVERDUE_S = 5.0  # gloo keeps its own time limits; this long after one it counts as hung


class GlooGroup:
    """Ranks that communicate through gloo.

    Args:
        store: A torch store, or a part of one, that only this group uses.
        members: Global ranks, equal on each member.
        rank: Global rank of this process, one of the members.
        timeout_s: Time limit for opening the connections.

    Raises:
        RuntimeError: the connections could not be opened in time.
    """

    def __init__(self, store: Any, members: Sequence[int], rank: int, timeout_s: float) -> None:
        self.members = tuple(members)
        self.index = self.members.index(rank)
        self._rank = rank
        self._torch = sys.modules["torch"]
        dist = self._torch.distributed
        limit = timedelta(seconds=timeout_s)
        self._group: Any = dist.ProcessGroupGloo(store, self.index, len(self.members), limit)
        self._broken = False
        self._ops = {"sum": dist.ReduceOp.SUM, "min": dist.ReduceOp.MIN, "max": dist.ReduceOp.MAX}
        _groups.add(self)

    def all_reduce(self, values: Floats, op: ReduceOp, timeout_s: float) -> Floats:
        """Combine equally long vectors elementwise."""
        if not len(values):
            return values.copy()
        tensor = self._torch.from_numpy(values.astype(np.float64))
        options = self._torch.distributed.distributed_c10d.AllreduceOptions()
        options.reduceOp = self._ops[op]
        self._call("allreduce", [tensor], options, timeout_s=timeout_s)
        result: Floats = tensor.numpy()
        return result

    def all_gather(self, data: bytes, timeout_s: float) -> list[bytes]:
        """Return every member's bytes, by index. Sends the lengths first, then contents padded to the longest."""
        torch, size = self._torch, len(self.members)
        end_s = time.monotonic() + timeout_s
        lengths = np.zeros(size)
        lengths[self.index] = len(data)
        lengths = self.all_reduce(lengths, "sum", timeout_s)
        longest = int(lengths.max())
        if not longest:
            return [b""] * size
        padded = np.zeros(longest, dtype=np.uint8)
        padded[: len(data)] = np.frombuffer(data, dtype=np.uint8)
        out = [torch.empty(longest, dtype=torch.uint8) for _ in range(size)]
        options = torch.distributed.distributed_c10d.AllgatherOptions()
        self._call("allgather", [out], [torch.from_numpy(padded)], options, timeout_s=_left_s(end_s))
        return [tensor.numpy()[: int(n)].tobytes() for tensor, n in zip(out, lengths, strict=True)]

    def broadcast(self, data: bytes, timeout_s: float) -> bytes:
        """Return the bytes of the first member; those of the others are ignored."""
        end_s = time.monotonic() + timeout_s
        length = int(self._from_first(np.array([len(data)], dtype=np.int64), timeout_s)[0])
        if not length:
            return b""
        content = np.frombuffer(data, dtype=np.uint8) if self.index == 0 else np.zeros(length, dtype=np.uint8)
        return bytes(self._from_first(content, _left_s(end_s)).tobytes())

    def broadcast_floats(self, values: Floats, timeout_s: float) -> Floats:
        """Return the vector of the first member; the others pass one of the same length."""
        return np.asarray(self._from_first(values, timeout_s), dtype=np.float64) if len(values) else values.copy()

    def _from_first(self, values: Any, timeout_s: float) -> Any:
        tensor = self._torch.from_numpy(values.copy())
        options = self._torch.distributed.distributed_c10d.BroadcastOptions()
        options.rootRank = options.rootTensor = 0
        self._call("broadcast", [tensor], options, timeout_s=timeout_s)
        return tensor.numpy()

    def _call(self, method: str, *args: Any, timeout_s: float) -> None:
        if self._group is None:
            raise WorldError(f"rank {self._rank}: the communicator is closed")
        limit = timedelta(seconds=timeout_s)
        end_s = time.monotonic() + timeout_s + _OVERDUE_S
        args[-1].timeout = limit
        work: Any = None
        try:
            work = getattr(self._group, method)(*args)
            pause_s = _FIRST_POLL_S
            # Poll instead of waiting: if the interpreter ends while a daemon thread is inside a C++ wait, the whole
            # process crashes ("terminate called without an active exception").
            polled_s = time.monotonic()
            while not work.is_completed():
                now_s = time.monotonic()
                if now_s - polled_s > _STOPPED_S:
                    # This process was suspended: gloo's threads need a moment to notice that their time is over.
                    end_s += now_s - polled_s
                polled_s = now_s
                if PROCESS_ENDING.is_set():
                    raise RuntimeError("the process is ending")  # noqa: TRY301
                if now_s > end_s:
                    raise TimeoutError(f"no answer {_OVERDUE_S:g} s after its time limit of {timeout_s:g} s")  # noqa: TRY301
                time.sleep(pause_s)
                pause_s = min(pause_s * 1.5, _LAST_POLL_S)
            work.wait(limit)
        except (RuntimeError, TimeoutError) as error:  # torch's distributed errors are RuntimeErrors
            self._broken = True
            # gloo's thread would release the tensors whenever the call ends. It needs the interpreter's lock for that,
            # and a process that ends at that moment crashes.
            _keep(work)
            raise WorldError(f"rank {self._rank}: {method} with the other ranks failed: {_brief(error)}") from error

    def close(self) -> None:
        """Release the group. A broken one is kept, because its destructor would wait forever."""
        if self._broken:
            _keep(self._group)
        self._group = None


_groups: weakref.WeakSet[GlooGroup] = weakref.WeakSet()


def _brief(error: BaseException) -> str:
    """Return gloo's message without the source location before it and the advice after it."""
    text = _SOURCE_PLACE.sub("", str(error).strip().splitlines()[0])
    return text.split(". This is typically", 1)[0]


def _left_s(end_s: float) -> float:
    return max(end_s - time.monotonic(), 0.001)


def _keep_in_child() -> None:
    """Keep every group alive in a forked child, even past the end of its interpreter."""
    for group in list(_groups):
        _keep(group._group)


def _keep(group: Any) -> None:
    """Keep a group alive as long as the process, even past the end of its interpreter."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(group))


os.register_at_fork(after_in_child=_keep_in_child)
