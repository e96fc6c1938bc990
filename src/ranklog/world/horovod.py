"""Ranks of Horovod: Horovod gives the ranks, and separate gloo groups carry the values.

In: an initialised frontend of Horovod (torch, TensorFlow or MXNet), and torch, for gloo. Neither is imported here, so a
program that trains with another frontend must import torch itself. Out: a `World`. Rank 0 opens a store and publishes
its address on the rendezvous server of Horovod's launcher. If Horovod runs over MPI there is no such server; then the
ranks communicate through mpi4py, if the program has imported it.

No operation of Horovod is ever submitted, for two reasons. Horovod numbers a program's unnamed operations over all
operations of the process: one from a background thread, at a different moment on each rank, makes
``hvd.allreduce(tensor)`` hang. And an operation that only some ranks submit makes ``hvd.join()`` crash.
"""

from __future__ import annotations

import functools
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import ModuleType
from typing import Any
from urllib.parse import quote

import msgspec

from ranklog.abc import World
from ranklog.model.errors import InvalidArgumentError, WorldError
from ranklog.model.place import Place
from ranklog.world import mpi
from ranklog.world.place.detect import detect_place
from ranklog.world.place.launchers import is_set
from ranklog.world.place.reconcile import add_node_facts, with_given_rank
from ranklog.world.single import SingleWorld
from ranklog.world.torch import connect_over, distributed_module

FRONTENDS = ("horovod.torch", "horovod.tensorflow", "horovod.mxnet")
SERVER_HOST = "HOROVOD_GLOO_RENDEZVOUS_ADDR"
SERVER_PORT = "HOROVOD_GLOO_RENDEZVOUS_PORT"
SCOPE = "ranklog"

_REQUESTS_PER_S = 500  # for all ranks together, because the launcher's server is a Python program
_REQUEST_TIMEOUT_S = 3.0
_ASK_S = 0.1

_stores: dict[str, Any] = {}
"""Stores that this process has opened as rank 0, by channel, until all ranks have joined."""


def initialised_frontend() -> ModuleType | None:
    """Return the frontend of Horovod that this process has initialised, or None. Imports nothing."""
    for name in FRONTENDS:
        module = sys.modules.get(name)
        # The attribute is missing while the module is being imported.
        if module is not None and hasattr(module, "is_initialized") and module.is_initialized():
            return module
    return None


def initialised_place() -> Place | None:
    """Return the place in Horovod if it is initialised with several ranks, else None."""
    reported = _group_place()
    return reported if reported is not None and reported.world_size > 1 else None


def _group_place() -> Place | None:
    hvd = initialised_frontend()
    if hvd is None:
        return None
    try:
        group = Place(
            rank=int(hvd.rank()),
            world_size=int(hvd.size()),
            local_rank=int(hvd.local_rank()),
            local_world_size=int(hvd.local_size()),
            node_rank=int(hvd.cross_rank()),
            node_count=int(hvd.cross_size()),
            launcher="horovod",
        )
    except ValueError:  # another thread has shut Horovod down
        return None
    found = add_node_facts(group, os.environ)
    if found.launcher != "horovod":
        return found
    return msgspec.structs.replace(group, job_id=found.job_id, attempt=found.attempt)


class HorovodStrategy(msgspec.Struct, frozen=True):
    """Ranks of Horovod."""

    rank: int | None = None
    name: str = "horovod"

    def place(self) -> Place:
        """Return Horovod's place; before Horovod is initialised, the launcher's.

        Raises:
            InvalidArgumentError: the given rank differs.
        """
        reported = _group_place()
        found = reported or detect_place(os.environ)
        return with_given_rank(found, self.rank, detected=reported is not None or found.launcher != "single")

    def ready(self) -> bool:
        """Return whether Horovod is initialised."""
        return initialised_frontend() is not None

    @property
    def progress(self) -> Callable[[], None] | None:
        """Function that the training thread must call if the ranks may communicate through MPI; see `Strategy`."""
        return None if is_set(os.environ, SERVER_HOST) else _progress_over_mpi

    def connect(self, *, channel: str, timeout_s: float, stop: threading.Event | None = None) -> World:
        """Open a communicator between Horovod's ranks. A call that timed out may be repeated."""
        if not self.ready():
            raise WorldError("Horovod is not initialised: call hvd.init() first")
        try:
            place = self.place()
        except InvalidArgumentError as error:  # Horovod was initialised later and has another rank
            raise WorldError(str(error)) from error
        if place.world_size == 1:
            return SingleWorld(place)
        if is_set(os.environ, SERVER_HOST):
            return _connect_by_server(place, channel, time.monotonic() + timeout_s, stop)
        if mpi.initialised_place() is None:
            raise WorldError(
                f"{place}: Horovod was not started by its own launcher, so rank 0 cannot publish its address: start"
                " the job with horovodrun --gloo, or import mpi4py.MPI if Horovod runs over MPI"
            )
        seen = _over_mpi().place()
        if (seen.rank, seen.world_size) != (place.rank, place.world_size):
            raise WorldError(f"{place}: MPI says {seen}: initialise Horovod with all ranks of MPI")
        return _over_mpi().connect(channel=channel, timeout_s=timeout_s, stop=stop)


@functools.cache
def _over_mpi() -> mpi.MpiStrategy:
    """Return the strategy of this process, created on first use."""
    return mpi.MpiStrategy()


def _progress_over_mpi() -> None:
    if mpi.initialised_mpi() is not None and (progress := _over_mpi().progress) is not None:
        progress()


def _connect_by_server(place: Place, channel: str, end_s: float, stop: threading.Event | None) -> World:
    dist = distributed_module()
    if dist is None:
        raise WorldError(f"{place}: also import torch before the first record: its gloo carries the values")

    def find_store() -> Any:
        return _own_store(dist, channel) if place.is_main else _store_of_rank_zero(dist, place, channel, end_s, stop)

    try:
        world = connect_over(find_store, place, channel=channel, timeout_s=end_s - time.monotonic(), stop=stop)
    except WorldError as error:
        if error.__cause__ is None:  # ranks did not join, so no address is at fault
            raise
        raise WorldError(f"{error}{_hint(place)}") from error
    _stores.pop(channel, None)  # from here on, the group holds it
    return world


def _own_store(dist: ModuleType, channel: str) -> Any:
    """Return rank 0's store and publish its address. The store is opened once per channel, even if this is retried."""
    host = _address_towards_server()
    store = _stores.get(channel)
    if store is None:
        store = _stores[channel] = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False)
    _request("PUT", channel, f"{host} {store.port}".encode())
    return store


def _store_of_rank_zero(
    dist: ModuleType, place: Place, channel: str, end_s: float, stop: threading.Event | None
) -> Any:
    waiting = stop or threading.Event()
    while (address := _request("GET", channel)) is None:
        left_s = end_s - time.monotonic()
        if left_s <= 0 or waiting.wait(min(left_s, max(_ASK_S, place.world_size / _REQUESTS_PER_S))):
            raise WorldError(f"{place}: rank 0 did not join: open the logger on every rank, including rank 0")
    host, port = address.decode().split()
    limit = timedelta(seconds=max(end_s - time.monotonic(), 1.0))
    return dist.TCPStore(host, int(port), is_master=False, timeout=limit)


def _request(method: str, channel: str, body: bytes | None = None) -> bytes | None:
    """Send a request to the launcher's rendezvous server. None if the server does not know the channel."""
    from http.client import HTTPConnection, HTTPException

    host, port = _server()
    connection = HTTPConnection(host, port, timeout=_REQUEST_TIMEOUT_S)
    try:
        connection.request(method, f"/{SCOPE}/{quote(channel, safe='')}", body)
        answer = connection.getresponse()
        data = answer.read()
    except (OSError, HTTPException) as error:
        raise _no_answer(error) from error
    finally:
        connection.close()
    if answer.status not in (200, 404):
        raise WorldError(f"Horovod's rendezvous server at {host}:{port} answers {answer.status} {answer.reason}")
    return data if answer.status == 200 else None


def _address_towards_server() -> str:
    """Return this machine's address in the network through which all ranks reach the launcher."""
    try:
        with socket.create_connection(_server(), _REQUEST_TIMEOUT_S) as connection:
            return str(connection.getsockname()[0])
    except OSError as error:
        raise _no_answer(error) from error


def _server() -> tuple[str, int]:
    return os.environ[SERVER_HOST], int(os.environ[SERVER_PORT])


def _no_answer(error: Exception) -> WorldError:
    host, port = _server()
    return WorldError(f"Horovod's rendezvous server at {host}:{port} does not answer: {error!r}")


def _hint(place: Place) -> str:
    interface = os.environ.get("HOROVOD_GLOO_IFACE")
    if place.node_count == 1 or interface is None or is_set(os.environ, "GLOO_SOCKET_IFNAME"):
        return ""
    return f". If other nodes cannot reach the address of this node's name, set GLOO_SOCKET_IFNAME={interface}"
