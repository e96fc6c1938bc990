"""Ranks of Ray Train: the place from its context, and a communicator through torch's group or an actor.

In: the state of Ray in this process, only looked up if the program has imported Ray. Out: a `Place` and a `World`.
TorchTrainer initialises torch's group on all workers before the user's function runs, so that group is used. Workers of
other trainers have no group. They connect through a `Rendezvous`, one named actor per group of workers. The first rank
creates the actor, on its own node. The actor ends with the process that created it; then the other ranks get a
`WorldError`.
"""

from __future__ import annotations

import concurrent.futures
import functools
import os
import sys
import threading
import time
from typing import Any

import msgspec
import numpy as np

from ranklog.abc import Floats, ReduceOp, World
from ranklog.model.errors import InvalidArgumentError, WorldError
from ranklog.model.place import Place
from ranklog.world.place.detect import STRATEGY_VARIABLE, detect_place
from ranklog.world.place.reconcile import with_given_rank
from ranklog.world.ray.rendezvous import GATHER, Rendezvous
from ranklog.world.torch import connect_torch, initialised_group

_GRACE_S = 1.0
"""The actor keeps the time limits; its answer may arrive this much later."""
_STOP_POLL_S = 0.1

_worker_pid: int | None = None
_actors: dict[str, Any] = {}  # keep the handles: an actor ends with the handle of its creator
_actors_lock = threading.Lock()


def in_ray_worker() -> bool:
    """Return whether Ray started this process, to execute tasks or an actor. Imports nothing.

    Such a process inherits its variables from the process that started the node's daemon. A launcher's rank in them is
    that of the daemon.
    """
    global _worker_pid  # noqa: PLW0603 - stays true after the worker disconnects at its end
    if _worker_pid == os.getpid():
        return True
    internals = sys.modules.get("ray._private.worker")
    worker = getattr(internals, "global_worker", None)
    if worker is None or worker.mode is None or worker.mode != getattr(internals, "WORKER_MODE", None):
        return False
    _worker_pid = os.getpid()
    return True


def initialised_place() -> Place | None:
    """Return the place in Ray Train; None outside its workers and with only one worker. Imports nothing.

    The scheduler's job id is preferred over Ray's, whose numbers restart in each cluster.
    """
    context = _train_context()
    try:
        if context is None or context.get_world_size() <= 1:
            return None
        return _place(
            context.get_world_rank(),
            context.get_world_size(),
            context.get_local_rank(),
            context.get_local_world_size(),
            context.get_node_rank(),
        )
    except RuntimeError:  # the worker is starting or ending
        return None


@functools.cache  # called often, and the variables never change
def _place(rank: int, size: int, local_rank: int, local_size: int, node_rank: int) -> Place:
    job = _alone()
    return Place(
        rank=rank,
        world_size=size,
        local_rank=local_rank,
        local_world_size=local_size,
        node_rank=node_rank,
        node_count=max(-(-size // local_size), node_rank + 1),
        launcher="ray",
        job_id=job.job_id or sys.modules["ray"].get_runtime_context().get_job_id(),
        attempt=job.attempt,
    )


def training_id() -> str | None:
    """Return what all workers and restarts of one ``fit()`` of Ray Train share; None elsewhere. Imports nothing.

    Ray Train has no public name for it. Version 1, and a Ray that has moved it, give None.
    """
    if not in_ray_worker():
        return None
    try:
        context: Any = sys.modules["ray.train.v2._internal.execution.context"].get_train_context()
        return str(context.train_run_context.run_id)
    except (KeyError, AttributeError, RuntimeError):
        return None


def _alone() -> Place:
    return detect_place({**os.environ, STRATEGY_VARIABLE: "single"})


def _train_context() -> Any:
    train: Any = sys.modules.get("ray.train")
    if not hasattr(train, "get_context") or not in_ray_worker():
        return None
    if train.get_context == getattr(sys.modules.get("ray.train.context"), "get_context", None):
        # Ray Train v1: its context warns without a session; a Tune trial has a session without a rank.
        session = sys.modules["ray.train._internal.session"].get_session()
        return train.get_context() if getattr(session, "world_rank", None) is not None else None
    # Ray Train v2: its public function would import ray.tune, so use the internal object that it reads.
    internals: Any = sys.modules.get("ray.train.v2._internal.execution.train_fn_utils")
    try:
        utils: Any = getattr(internals, "_train_fn_utils", train)
        return None if utils is None else utils.get_context()
    except (RuntimeError, DeprecationWarning):  # a task or actor outside Train, or a Tune trial
        return None


class RayStrategy(msgspec.Struct, frozen=True):
    """Workers of a Ray Train trainer."""

    rank: int | None = None
    name: str = "ray"

    def place(self) -> Place:
        """Return Ray Train's place; in other workers of Ray rank 0 of 1, outside Ray the launcher's.

        Raises:
            InvalidArgumentError: the given rank differs.
        """
        train = initialised_place()
        found = train or (_alone() if in_ray_worker() else detect_place(os.environ))
        return with_given_rank(found, self.rank, detected=train is not None or found.launcher != "single")

    def ready(self) -> bool:
        """Return whether this is a worker of a trainer with several workers."""
        return initialised_place() is not None

    def connect(self, *, channel: str, timeout_s: float, stop: threading.Event | None = None) -> World:
        """Connect through torch's group if the trainer has initialised one, else through an actor."""
        if not self.ready():
            raise WorldError("no worker of a Ray Train trainer with several workers: log inside the trainer's function")
        try:
            place = self.place()
        except InvalidArgumentError as error:
            raise WorldError(str(error)) from error
        dist = initialised_group()
        if dist is not None and (dist.get_rank(), dist.get_world_size()) == (place.rank, place.world_size):
            return connect_torch(place, channel=channel, timeout_s=timeout_s, stop=stop)
        return _connect_actor(place, channel, timeout_s, stop)


class RayWorld:
    """All ranks, connected through an actor.

    Args:
        rendezvous: Handle of the `Rendezvous` actor.
        channel: Name of the communicator.
        place: This rank.
    """

    def __init__(self, rendezvous: Any, channel: str, place: Place) -> None:
        self._rendezvous = rendezvous
        self._channel = channel
        self._place = place
        self._broken = ""

    @property
    def place(self) -> Place:
        """Place of this rank in Ray Train."""
        return self._place

    def all_reduce(self, values: Floats, *, op: ReduceOp, timeout_s: float) -> Floats:
        """Combine equally long vectors elementwise, in rank order."""
        if not len(values):
            return values.copy()
        combined = self._exchange(op, values.astype(np.float64).tobytes(), timeout_s)[0]
        return np.frombuffer(combined, dtype=np.float64).copy()

    def all_gather(self, data: bytes, *, timeout_s: float) -> list[bytes]:
        """Return the bytes of every rank."""
        return self._exchange(GATHER, bytes(data), timeout_s)

    def barrier(self, *, timeout_s: float) -> None:
        """Return when every rank has called."""
        self._exchange(GATHER, b"", timeout_s)

    def close(self) -> None:
        """Leave; the other ranks get a `WorldError`."""
        self._broken = self._broken or "the communicator is closed"
        rendezvous, self._rendezvous = self._rendezvous, None
        # After Ray has shut down, calling a remote method would start Ray again.
        if rendezvous is not None and sys.modules["ray"].is_initialized():
            rendezvous.leave.remote(self._channel, self._place.rank)

    def _exchange(self, call: str, data: bytes, timeout_s: float) -> list[bytes]:
        if not self._broken:
            try:
                arguments = (self._channel, self._place.rank, call, data, timeout_s)
                answer: list[bytes] | str = _ask(self._rendezvous.exchange, *arguments, timeout_s=timeout_s)
            except Exception as error:  # Ray raises many types for an actor that is gone or does not answer
                answer = _reason(error)
            if isinstance(answer, list):
                return answer
            self._broken = answer
        raise WorldError(f"{self._place}: {call} with the other ranks failed: {self._broken}")


def _connect_actor(place: Place, channel: str, timeout_s: float, stop: threading.Event | None) -> RayWorld:
    rendezvous: Any = None
    try:
        process = sys.modules["ray"].get_runtime_context().get_worker_id()
        rendezvous = _rendezvous_actor(place.world_size)
        arguments = (channel, place.rank, process, timeout_s)
        trouble: str = _ask(rendezvous.join, *arguments, timeout_s=timeout_s, stop=stop)
    except Exception as error:  # as in `_exchange`
        _forget_dead_actor(rendezvous, error)
        trouble = _reason(error)
    if trouble:
        raise WorldError(f"{place}: no communicator could be opened: {trouble}")
    return RayWorld(rendezvous, channel, place)


def _rendezvous_actor(size: int) -> Any:
    """Return the handle of the actor that connects these workers; the first rank creates it."""
    ray = sys.modules["ray"]
    context = ray.get_runtime_context()
    # Workers that Train restarts, after a failure or in another trial, have another placement group.
    group = ray.util.get_current_placement_group()
    run = sys.modules["ray.train"].get_context().get_experiment_name()
    name = f"ranklog/{context.get_job_id()}/{run}/{group.id.hex() if group is not None else ''}"
    with _actors_lock:
        if name not in _actors:
            # On this node, which an autoscaler does not remove while the creator trains.
            strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(context.get_node_id(), soft=False)
            options = {"name": name, "get_if_exists": True, "num_cpus": 0, "scheduling_strategy": strategy}
            actor = ray.remote(Rendezvous).options(**options, max_concurrency=1000 + 2 * size)
            _actors[name] = actor.remote(size)
        return _actors[name]


def _forget_dead_actor(rendezvous: Any, error: Exception) -> None:
    """Let the next call create a new actor if this one has ended with its creator."""
    if isinstance(error, sys.modules["ray"].exceptions.ActorDiedError):
        with _actors_lock:
            for name in [name for name, known in _actors.items() if known is rendezvous]:
                del _actors[name]


def _ask(method: Any, *arguments: Any, timeout_s: float, stop: threading.Event | None = None) -> Any:
    """Call the actor and wait in Python, because no daemon thread may be inside Ray when the interpreter ends."""
    answer = method.remote(*arguments)
    future = answer.future()
    end_s = time.monotonic() + timeout_s + _GRACE_S
    while not future.done():
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(f"the actor that connects the ranks did not answer within {timeout_s:g} s")
        if stop is not None and stop.is_set():
            raise TimeoutError("stopped before all ranks joined")
        concurrent.futures.wait([future], left_s if stop is None else min(left_s, _STOP_POLL_S))
    return future.result()


def _reason(error: Exception) -> str:
    if isinstance(error, sys.modules["ray"].exceptions.ActorDiedError):
        return "the actor that connects the ranks has ended with the rank that created it"
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
