"""Decides which calls of `log` count, compiled once for a rank: pure, no I/O.

In: the fronts of the backends with their ``log_freq`` and ``log_on_workers``, and the place. Out: for each call a bit
mask of the backends it is for; 0 means the call is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from ranklog.model.errors import InvalidArgumentError
from ranklog.model.spec import BackendSpec, LogFreq
from ranklog.model.text import type_text
from ranklog.values.local import local


class Gate:
    """The gate of one rank over some of a run's backends.

    Args:
        specs: Fronts of the backends this gate speaks for.
        rank: Global rank of this process.
        world_size: Number of ranks.
        first_bit: Position of the first of them in the run's list of backends.

    Attributes:
        every: Backends that take a call without ``batch_idx``: all.
        always: Backends that take every call with one.
        counted: Frequencies above 0 with the backends that have them.
        write: Backends for which this rank logs values of its own.
        shared: Backends for which more than one rank does; their series are kept apart by rank.
        plan: Default reduction to backends that have it.
        reduces: Whether any backend has a default reduction.
        lead: Backends for which this rank is the lowest that logs: it alone gives parameters.
    """

    __slots__ = ("always", "counted", "every", "lead", "plan", "reduces", "shared", "write")

    def __init__(self, specs: Sequence[BackendSpec], *, rank: int, world_size: int, first_bit: int = 0) -> None:
        self.every = self.write = self.shared = self.lead = self.always = 0
        counted: dict[int, int] = {}
        plan: dict[str | None, int] = {}
        for index, spec in enumerate(specs, first_bit):
            bit = 1 << index
            self.every |= bit
            ranks = _ranks(spec, world_size)
            self.write |= bit if rank in ranks else 0
            self.lead |= bit if rank == ranks[0] else 0
            self.shared |= bit if len(ranks) > 1 else 0
            plan[spec.reduce] = plan.get(spec.reduce, 0) | bit
            if spec.log_freq == "batch":
                self.always |= bit
            elif spec.log_freq != "epoch":
                counted[spec.log_freq] = counted.get(spec.log_freq, 0) | bit
        self.counted = tuple(counted.items())
        self.plan = tuple(plan.items())
        self.reduces = any(op is not None for op in plan)

    def batch(self, batch_idx: int) -> int:
        """Backends whose ``log_freq`` takes a call with this ``batch_idx``.

        Example:
            >>> gate = Gate([BackendSpec(backend="console", log_freq=10)], rank=0, world_size=1)
            >>> gate.batch(20), gate.batch(21), gate.every
            (1, 0, 1)

        Raises:
            InvalidArgumentError: ``batch_idx`` is no number.
        """
        if type(batch_idx) is not int:
            batch_idx = local(batch_idx, "batch_idx")
        mask = self.always
        try:
            for freq, bits in self.counted:
                if not batch_idx % freq:
                    mask |= bits
        except (TypeError, ValueError, RuntimeError):  # texts, arrays and tensors have errors of their own
            raise _no_batch(batch_idx) from None
        return mask


def _ranks(spec: BackendSpec, world_size: int) -> Sequence[int]:
    workers = spec.log_on_workers
    if workers == -1:
        return range(world_size)
    ranks = (workers,) if isinstance(workers, int) else workers
    beyond = [rank for rank in ranks if rank >= world_size]
    if beyond:
        raise InvalidArgumentError(
            f"log_on_workers={workers!r} names rank {beyond[0]}, but the world has ranks 0 to {world_size - 1}"
        )
    return ranks


def freq_takes(log_freq: LogFreq, batch_idx: int | None) -> bool:
    """Whether a ``log_freq`` takes a call, whatever the rank.

    Raises:
        InvalidArgumentError: ``batch_idx`` is no number.

    Example:
        >>> freq_takes("epoch", None), freq_takes("epoch", 0), freq_takes(5, 10), freq_takes("batch", 3)
        (True, False, True, True)
    """
    if batch_idx is None or log_freq == "batch":
        return True
    if log_freq == "epoch":
        return False
    number = local(batch_idx, "batch_idx")
    try:
        return bool(number % log_freq == 0)
    except (TypeError, ValueError, RuntimeError):  # texts, arrays and tensors have errors of their own
        raise _no_batch(number) from None


def _no_batch(batch_idx: object) -> InvalidArgumentError:
    return InvalidArgumentError(f"batch_idx is {type_text(batch_idx)}: give an int")
