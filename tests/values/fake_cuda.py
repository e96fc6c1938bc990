"""CUDA devices that run on the CPU, as lazily as real ones may: nothing is computed before someone waits for it.

In: torch's own calls on tensors that say ``cuda``. Out: right values for code that orders its streams, and wrong ones
for code that does not. Kernels and copies are queued on streams and run when an event is waited for; before that,
device and pinned memory hold ``GARBAGE``, and memory that was freed is overwritten as soon as the streams allow it.
Two schedules are the extremes of what a device may do: ``copies`` runs only what the awaited event needs, ``training``
runs all other streams to their end first. A thread that may not wait and does gets an `AssertionError`.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_map

aten = torch.ops.aten
GARBAGE = 77


class Task:
    """One entry of a stream's queue."""

    def __init__(self, stream: Stream, action: Callable[[], object] | None, after: Task | None) -> None:
        self.stream, self.action, self.after, self.done = stream, action, after, False

    def finish(self) -> None:
        while not self.done:
            self.stream.run_next()


class Stream:
    """What `torch.cuda.Stream` is used for."""

    def __init__(self, cuda: FakeCuda, device: int) -> None:
        self.cuda, self.device_index = cuda, device
        self.queue: deque[Task] = deque()
        cuda.streams.append(self)

    def enqueue(self, action: Callable[[], object] | None = None, after: Task | None = None) -> Task:
        with self.cuda.lock:
            task = Task(self, action, after)
            self.queue.append(task)
            return task

    def run_next(self) -> None:
        task = self.queue[0]
        if task.after is not None:
            task.after.finish()
        if task.action is not None:
            task.action()
        task.done = True
        self.queue.popleft()

    def run_all(self) -> None:
        while self.queue:
            self.run_next()

    def wait_stream(self, other: Stream) -> None:
        self.enqueue(after=other.enqueue())

    def wait_event(self, event: Event) -> None:
        self.enqueue(after=event.mark)

    def record_event(self, event: Event | None = None) -> Event:
        event = event or Event(self.cuda)
        event.record(self)
        return event

    def query(self) -> bool:
        return not self.queue

    def synchronize(self) -> None:
        self.cuda.wait_for("Stream.synchronize()", self.enqueue())


class Event:
    """What `torch.cuda.Event` is used for."""

    def __init__(self, cuda: FakeCuda, blocking: bool = False) -> None:
        self.cuda, self.blocking, self.pid = cuda, blocking, os.getpid()
        self.mark: Task | None = None

    def record(self, stream: Stream | None = None) -> None:
        self.mark = (stream or self.cuda.current_stream()).enqueue()

    def wait(self, stream: Stream | None = None) -> None:
        (stream or self.cuda.current_stream()).wait_event(self)

    def query(self) -> bool:
        return self.mark is None or self.mark.done

    def synchronize(self) -> None:
        assert self.blocking, "waiting for an event that was made without blocking=True keeps a core busy"
        if self.mark is not None:
            self.cuda.wait_for("Event.synchronize()", self.mark)

    def __del__(self) -> None:
        if os.getpid() != self.pid:
            os.abort()  # as torch does: it raises in a destructor


class Block:
    """Device memory of one tensor and its views."""

    def __init__(self, memory: torch.Tensor, home: Stream) -> None:
        self.memory, self.home = memory.fill_(GARBAGE), home
        self.readers: set[Stream] = set()

    def __del__(self) -> None:
        memory = self.memory
        for stream in self.readers:
            self.home.wait_stream(stream)
        self.home.enqueue(lambda: memory.fill_(GARBAGE))


class CudaTensor(torch.Tensor):
    """A tensor of such a device; ``memory`` is what it will hold."""

    memory: torch.Tensor
    block: Block
    cuda: FakeCuda

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, cuda: FakeCuda, memory: torch.Tensor, block: Block) -> CudaTensor:
        device = f"cuda:{block.home.device_index}"
        self = torch.Tensor._make_wrapper_subclass(
            cls, memory.shape, strides=memory.stride(), dtype=memory.dtype, device=device
        )
        self.cuda, self.memory, self.block = cuda, memory, block
        return self

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found: list[CudaTensor] = []
        tree_map(lambda x: found.append(x) if isinstance(x, CudaTensor) else None, args)
        with torch.inference_mode(False):
            # In inference mode compound operations come here whole.
            parts = func.decompose(*args, **(kwargs or {}))
            return found[0].cuda.launch(func, found[0], args, kwargs or {}) if parts is NotImplemented else parts

    def record_stream(self, stream: Stream) -> None:
        self.block.readers.add(stream)

    def __repr__(self) -> str:
        return f"CudaTensor(cuda:{self.block.home.device_index})"


def _reading(name: str) -> Callable[..., Any]:
    def method(self: CudaTensor, *args: Any) -> Any:
        self.cuda.wait_for(f"Tensor.{name}()", self.block.home.enqueue())
        return getattr(self.memory, name)(*args)

    return method


# Not all of these reach `__torch_dispatch__` where torch was built without CUDA.
for _name in ("__float__", "__int__", "__bool__", "__index__", "__array__", "item", "tolist", "numpy", "cpu"):
    setattr(CudaTensor, _name, _reading(_name))


class FakeCuda:
    """Devices, installed in place of `torch.cuda`.

    Attributes:
        kernels: Names of the operations that were launched on devices.
        transfers: How many copies to the host were.
        pinned: Pinned allocations.
        capturing: The thread that captures a graph in the default mode, which forbids other threads to wait.
        idle: While it is not set, every wait lasts.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, schedule: str) -> None:
        self.schedule = schedule
        self.lock = threading.RLock()
        self.streams: list[Stream] = []
        self.current: dict[int, Stream] = {}
        self.kernels: list[str] = []
        self.transfers = 0
        self.pinned: list[torch.Tensor] = []
        self.waits: list[tuple[str, str]] = []
        self.capturing: threading.Thread | None = None
        self.idle = threading.Event()
        self.idle.set()
        self._forbidden: threading.Thread | None = None
        self._modes: dict[int, int] = {}
        self._empty, self._cdll = torch.empty, ctypes.CDLL
        monkeypatch.setattr(torch, "empty", self.empty)
        monkeypatch.setattr(ctypes, "CDLL", self.load)
        for name, stand_in in {
            "Stream": lambda device=0: Stream(self, device),
            "Event": lambda blocking=False: Event(self, blocking),
            "current_stream": self.current_stream,
            "stream": self.use,
            "synchronize": lambda device=None: self.wait_for("torch.cuda.synchronize()", *self.marks()),
            "is_current_stream_capturing": lambda: self.capturing is threading.current_thread(),
        }.items():
            monkeypatch.setattr(torch.cuda, name, stand_in)

    def tensor(self, value: Any, dtype: Any = None, device: int = 0) -> CudaTensor:
        """A tensor whose value is computed by the device's current stream, so not yet."""
        # What is computed later, in another thread, must not be bound to this thread's mode.
        with torch.inference_mode(False):
            memory = torch.tensor(value, dtype=dtype)
            ready, stream = memory.clone(), self.current_stream(device)
        tensor = CudaTensor(self, memory, Block(memory, stream))
        stream.enqueue(lambda: memory.copy_(ready))
        return tensor

    @contextmanager
    def training(self) -> Iterator[None]:
        """Inside, this thread may not wait for the device."""
        self._forbidden = threading.current_thread()
        try:
            yield
        finally:
            self._forbidden = None

    def wait_for(self, what: str, *marks: Task) -> None:
        """A thread of the host waits for marks in streams."""
        thread = threading.current_thread()
        self.waits.append((thread.name, what))
        assert thread is not self._forbidden, f"{what} makes the training thread wait for the device"
        mode = self._modes.get(threading.get_ident(), 0)
        if self.capturing not in (None, thread) and mode == 0:
            self.capturing = None
            raise RuntimeError("operation not permitted when stream is capturing; the capture is lost")
        assert self.idle.wait(120)
        with self.lock:
            if self.schedule == "training":
                for stream in self.streams:
                    if all(mark.stream is not stream for mark in marks):
                        stream.run_all()
            for mark in marks:
                mark.finish()

    def marks(self) -> list[Task]:
        return [stream.enqueue() for stream in self.streams]

    def current_stream(self, device: int = 0) -> Stream:
        if device not in self.current:
            self.current[device] = Stream(self, device)
        return self.current[device]

    @contextmanager
    def use(self, stream: Stream) -> Iterator[None]:
        before = self.current_stream(stream.device_index)
        self.current[stream.device_index] = stream
        try:
            yield
        finally:
            self.current[stream.device_index] = before

    def launch(self, func: Any, first: CudaTensor, args: Any, kwargs: dict[str, Any]) -> Any:
        """Queue one operation on the current stream of its tensors' device.

        What is queued holds bare memory and no tensors: those are freed when their last user lets go of them.
        """
        stream = self.current_stream(first.block.home.device_index)
        memories = tree_map(lambda x: x.memory if isinstance(x, CudaTensor) else x, args)
        to_host = str(kwargs.pop("device", "cuda")).startswith("cpu")
        if func is aten._local_scalar_dense.default or to_host:
            self.wait_for(str(func), stream.enqueue())
            return func(*memories, **kwargs)
        if func is aten.copy_.default and not isinstance(args[0], CudaTensor):
            self.transfers += 1
            task = stream.enqueue(lambda: aten.copy_.default(*memories))
            if not (args[2:3] == (True,) and self.is_pinned(args[0])):
                self.wait_for("a copy_() that is not both non_blocking and into pinned memory", task)
            return args[0]
        aliases = [argument.alias_info for argument in func._schema.arguments if argument.alias_info is not None]
        if any(not alias.is_write for alias in aliases):
            return CudaTensor(self, func(*memories, **kwargs), first.block)
        self.kernels.append(str(func))
        if aliases:
            stream.enqueue(lambda: func(*memories, **kwargs))
            return args[0]
        memory = func(*memories, **kwargs)
        stream.enqueue(lambda: memory.copy_(func(*memories, **kwargs)))
        return CudaTensor(self, memory, Block(memory, stream))

    def empty(self, *size: Any, pin_memory: bool = False, **kwargs: Any) -> torch.Tensor:
        made = self._empty(*size, **kwargs)
        if pin_memory:
            made.fill_(GARBAGE)
            self.pinned.append(made)
        return made

    def is_pinned(self, tensor: torch.Tensor) -> bool:
        place = tensor.untyped_storage().data_ptr()
        return any(place == each.untyped_storage().data_ptr() for each in self.pinned)

    def load(self, name: Any, *args: Any, **kwargs: Any) -> Any:
        return self if name == "libcuda.so.1" else self._cdll(name, *args, **kwargs)

    def cuThreadExchangeStreamCaptureMode(self, reference: Any) -> int:
        mode, thread = reference._obj, threading.get_ident()
        mode.value, self._modes[thread] = self._modes.get(thread, 0), mode.value
        return 0
