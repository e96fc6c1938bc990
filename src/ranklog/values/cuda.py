"""Copies scalars from CUDA devices into pinned memory while training continues.

In: scalar tensors on CUDA devices, from the training thread. Out: one value per tensor, for which the drain thread can
wait. The tensors of one call and one device are gathered into one vector on the user's stream, so that a later change
in place does not affect it. The vector is copied with one transfer and one event on a separate stream. The training
thread only enqueues: it reads nothing, waits for nothing, and allocates pinned memory once per thousands of values.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ranklog.model.errors import InvalidItemError

SLAB_VALUES = 4096
THREAD_LOCAL_CAPTURE = 1


class Slab:
    """Pinned float64 values that are handed out once, front to back.

    A slab is never refilled. torch's caching host allocator gets it back with the last copy that points into it. This
    relies on two promises of the allocator: each ``copy_(non_blocking=True)`` records its stream on the block, also
    through a slice; and a block is reused only after the work on these streams is done. So a copy that nobody reads can
    be dropped safely, and in the steady state no more memory is pinned, which could stall the device.
    """

    __slots__ = ("used", "values")

    def __init__(self, torch: Any, size: int) -> None:
        # A tensor made in the user's inference mode could not be written to outside of it.
        with torch.inference_mode(False):
            self.values = torch.empty(size, dtype=torch.float64, device="cpu", pin_memory=True)
        self.used = 0


class Lane:
    """The side stream of a device, and the slab that its copies fill."""

    __slots__ = ("_lock", "_slab", "stream")

    def __init__(self, torch: Any, device: int) -> None:
        self.stream = torch.cuda.Stream(device)
        self._lock = threading.Lock()
        self._slab: Slab | None = None

    def place(self, torch: Any, count: int) -> Any:
        """Pinned memory for ``count`` values."""
        with self._lock:
            slab = self._slab
            if slab is None or slab.used + count > len(slab.values):
                slab = self._slab = Slab(torch, max(SLAB_VALUES, count))
            start, slab.used = slab.used, slab.used + count
        return slab.values[start : start + count]


class Transfer:
    """Values that are being copied from a device."""

    __slots__ = ("__weakref__", "_pending", "_values")

    def __init__(self, pinned: Any, done: Any) -> None:
        self._pending: tuple[Any, Any] | None = (pinned, done)
        self._values: list[float] = []
        _in_flight.add(self)

    def values(self) -> list[float]:
        """The values; the first call waits for the device."""
        pending = self._pending
        if pending is not None:
            pinned, done = pending
            with _apart_from_captures():
                done.synchronize()
                self._values = pinned.tolist()
                self._pending = pending = pinned = done = None
        return self._values


class CudaValue:
    """One value of a transfer."""

    __slots__ = ("_index", "_transfer")

    def __init__(self, transfer: Transfer, index: int) -> None:
        self._transfer = transfer
        self._index = index

    def resolve(self) -> float:
        """The value; waits for the device without holding the interpreter. Not for the training thread."""
        return self._transfer.values()[self._index]


_lanes: dict[int, Lane] = {}
_in_flight: weakref.WeakSet[Transfer] = weakref.WeakSet()
_inherited: list[object] = []


def take(tensors: Mapping[str, Any]) -> dict[str, CudaValue]:
    """Start to copy scalar tensors; each copy has the value at this point of the device's current stream.

    Costs a few launches per device and dtype, not per tensor, and one transfer per device.

    Raises:
        InvalidItemError: the current stream is being captured into a CUDA graph. Tensors have no values then, and
            replays run no Python, so the call could never log anything.
    """
    torch = sys.modules["torch"]
    if torch.cuda.is_current_stream_capturing():
        raise InvalidItemError(
            f"metric {next(iter(tensors))!r} is logged while a CUDA graph is captured, where tensors have no values: "
            "log it after the graph's replay()"
        )
    devices: dict[int, dict[Any, list[str]]] = {}
    for name, tensor in tensors.items():
        devices.setdefault(tensor.device.index, {}).setdefault(tensor.dtype, []).append(name)
    taken: dict[str, CudaValue] = {}
    with torch.no_grad():
        for device, by_dtype in devices.items():
            # Stacking different dtypes would round some values to the dtype of others.
            vectors = [_gather(torch, [tensors[name] for name in names]) for names in by_dtype.values()]
            vector = vectors[0] if len(vectors) == 1 else torch.cat(vectors)
            transfer = _transfer(torch, device, vector)
            for index, name in enumerate(name for names in by_dtype.values() for name in names):
                taken[name] = CudaValue(transfer, index)
    return taken


def _gather(torch: Any, tensors: list[Any]) -> Any:
    """One float64 vector on the device that shares no memory with the tensors."""
    if len(tensors) == 1:
        return tensors[0].to(torch.float64, copy=True).reshape(1)
    return torch.stack([tensor.reshape(()) if tensor.ndim else tensor for tensor in tensors]).to(torch.float64)


def _transfer(torch: Any, device: int, vector: Any) -> Transfer:
    lane = _lanes.get(device) or _lanes.setdefault(device, Lane(torch, device))
    lane.stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(lane.stream):
        pinned = lane.place(torch, len(vector))
        pinned.copy_(vector, non_blocking=True)
    # The vector is dropped on return; its memory must not be reused before the side stream has read it.
    vector.record_stream(lane.stream)
    # Blocking, so that the drain thread sleeps while it waits; the default would keep a core busy.
    done = torch.cuda.Event(blocking=True)
    done.record(lane.stream)
    return Transfer(pinned, done)


@contextmanager
def _apart_from_captures() -> Iterator[None]:
    """Let this thread wait for events while another one captures a CUDA graph.

    In CUDA's default mode a capture forbids such calls in all threads, and fails when a thread makes one. A thread may
    opt out, which is safe here because these events belong to no capture. torch has no function for it.
    """
    import ctypes  # imported here, because a script without a GPU does not need it

    try:
        exchange = ctypes.CDLL("libcuda.so.1").cuThreadExchangeStreamCaptureMode
    except (OSError, AttributeError):  # another platform's driver
        yield
        return
    mode = ctypes.c_int(THREAD_LOCAL_CAPTURE)
    changed = exchange(ctypes.byref(mode)) == 0
    try:
        yield
    finally:
        if changed:
            exchange(ctypes.byref(mode))


def _leave_to_parent() -> None:
    """Keep the parent's objects in a forked child without using or freeing them, for which torch would abort it."""
    _inherited.extend((dict(_lanes), list(_in_flight)))
    _lanes.clear()


# Registered at import, so that it runs before the hooks of open loggers, which drop their references.
os.register_at_fork(after_in_child=_leave_to_parent)
