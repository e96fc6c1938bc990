"""Decides which keys are reduced when ranks hold different ones: pure, the same on every rank.

In: every rank's report of its closed rows, and what was agreed before (`Memory`). Out: the keys that are ready, each
with the ranks that hold it and those that answered, and the new memory. A key is ready when every rank that lacks
it has answered or is no longer waited for. A rank that lacks a key has answered when

- it is closing and all it still holds is in its report; or
- it has closed something that comes after the key, or in the same run of one step, in the program of a rank that
  holds the key (program order, not step numbers: train steps and epochs are different counters); or
- it has never shared a key with those ranks and is past the key's step (pipeline stages with metrics of their own):
  the steps of its report count, and where that is all it has closed, those of earlier ones too; or
- it has never had anything to reduce, takes part, and the key is older than a short grace.

It is no longer waited for, and counts as missing, once the key is older than the time limit; from then on it is idle
until it reports something again. What comes late for a key that was reduced without it is ready at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

Key = tuple[str, str, int, int]
"""Name, reduction, backends, step."""

Place = tuple[int, int]
"""Rank and index of a row in its report."""

GRACE_S = 2.0
REMEMBERED_KEYS = 4096
_NEVER = -(2**63)


class RowReport(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One closed row as other ranks see it; ``states`` and ``bins`` are those of its names' states, as bytes."""

    names: list[str]
    step: int
    op: str
    to: int
    time_ns: int
    group: int
    age_s: float
    states: bytes = b""
    bins: bytes = b""


class Report(msgspec.Struct, frozen=True, array_like=True):
    """What one rank tells in a gathered round.

    Attributes:
        rows: Closed rows, in program order.
        complete: Whether these are all it has closed.
        closing: Whether it will add nothing more.
        ever_added: Whether it has ever had a value to reduce.
        max_closed_step: Highest step it has ever closed.
        patience_s: Age at which it no longer waits for a rank.
    """

    rows: list[RowReport]
    complete: bool = True
    closing: bool = False
    ever_added: bool = True
    max_closed_step: int | None = None
    patience_s: float = 30.0


class Memory(msgspec.Struct, frozen=True):
    """What was agreed in earlier rounds, equal on all ranks.

    Attributes:
        shared: ``[a, b]``: whether ranks a and b have ever held the same key.
        passed: ``[h, r]``: highest group of rank h that rank r is known to have closed.
        idle: Ranks that are no longer waited for.
        partial: Keys that were reduced from some ranks only, oldest first, with these ranks.
    """

    shared: NDArray[np.bool_]
    passed: NDArray[np.int64]
    idle: NDArray[np.bool_]
    partial: dict[Key, frozenset[int]]

    @classmethod
    def fresh(cls, size: int) -> Memory:
        """Nothing agreed yet among ``size`` ranks."""
        return cls(
            np.eye(size, dtype=np.bool_),
            np.full((size, size), -1, dtype=np.int64),
            np.zeros(size, dtype=np.bool_),
            {},
        )

    def after_fused(self) -> Memory:
        """Memory after a round in which all ranks held the same keys."""
        if self.shared.all() and not self.idle.any():
            return self
        return Memory(np.ones_like(self.shared), self.passed, np.zeros_like(self.idle), self.partial)


class Ready(msgspec.Struct, frozen=True):
    """Names that are ready together: one row on each of the same ranks.

    Attributes:
        names: The names.
        step: Their step.
        op: Their reduction.
        to: Their backends.
        holders: Where they lie, by rank.
        answered: Ranks that answered, holders included.
        late: Whether this adds to what was reduced before.
    """

    names: list[str]
    step: int
    op: str
    to: int
    holders: tuple[Place, ...]
    answered: frozenset[int]
    late: bool

    def keys(self) -> Iterator[Key]:
        """The key of each name."""
        return ((name, self.op, self.to, self.step) for name in self.names)


class _Judgement(msgspec.Struct, frozen=True):
    """What the rules say of each set of rows, and what the next memory needs.

    Attributes:
        answered: Ranks that answered, or None where one is waited for.
        timed_out: ``[set, rank]``: ranks that are given up because of the time limit.
    """

    answered: list[frozenset[int] | None]
    timed_out: NDArray[np.bool_]
    shared: NDArray[np.bool_]
    passed: NDArray[np.int64]
    idle: NDArray[np.bool_]


def agree(reports: Sequence[Report], memory: Memory) -> tuple[list[Ready], Memory]:
    """Decide what is ready; see the module's text for the rules."""
    together = _group(reports)
    judged = _judge(reports, [holders for holders, _ in together], memory)
    idle = judged.idle.copy()
    ready: list[Ready] = []
    partial = dict(memory.partial)
    waiting: set[Key] = set()
    for (holders, keys), verdict, timed_out in zip(together, judged.answered, judged.timed_out, strict=True):
        ranks = frozenset(rank for rank, _ in holders)
        for late in (False, True):
            chosen = [k for k in keys if k not in waiting and _is_late(partial.get(k), ranks) == late]
            if not chosen:
                continue
            if not late and verdict is None:
                waiting.update(chosen)
                continue
            if late or verdict is None:
                answered = ranks
            else:
                answered = verdict
                idle |= timed_out
            _, op, to, step = chosen[0]
            ready.append(Ready([key[0] for key in chosen], step, op, to, holders, answered, late))
            _remember(partial, chosen, ranks, late=late, size=len(reports))
    return ready, Memory(judged.shared, judged.passed, idle, partial)


def _group(reports: Sequence[Report]) -> list[tuple[tuple[Place, ...], list[Key]]]:
    """Keys by the rows that hold them; a key's next occurrence on a rank stands apart, after the first."""
    places: dict[Key, list[list[Place]]] = {}
    for rank, report in enumerate(reports):
        for index, row in enumerate(report.rows):
            for name in row.names:
                occurrences = places.setdefault((name, row.op, row.to, row.step), [])
                for held in occurrences:
                    if held[-1][0] != rank:
                        held.append((rank, index))
                        break
                else:
                    occurrences.append([(rank, index)])
    grouped: dict[tuple[int, tuple[Place, ...]], list[Key]] = {}
    for key, occurrences in places.items():
        for number, held in enumerate(occurrences):
            grouped.setdefault((number, tuple(held)), []).append(key)
    return [(holders, keys) for (_, holders), keys in sorted(grouped.items(), key=lambda item: item[0][0])]


def _is_late(contributed: frozenset[int] | None, ranks: frozenset[int]) -> bool:
    return contributed is not None and not contributed & ranks


def _remember(
    partial: dict[Key, frozenset[int]], keys: Sequence[Key], ranks: frozenset[int], *, late: bool, size: int
) -> None:
    for key in keys:
        before = partial.pop(key, frozenset())
        contributed = before | ranks if late else ranks
        if len(contributed) < size:
            partial[key] = contributed
    while len(partial) > REMEMBERED_KEYS:
        del partial[next(iter(partial))]


def _reached_step(report: Report) -> int:
    """Step up to which a rank has told all; of a longer backlog the rows in the report, and only those, are told."""
    if not report.complete:
        return max((row.step for row in report.rows), default=_NEVER)
    return _NEVER if report.max_closed_step is None else report.max_closed_step


def _judge(reports: Sequence[Report], together: Sequence[tuple[Place, ...]], memory: Memory) -> _Judgement:
    """Apply the rules of the module's text to each set of rows, to all at once."""
    size = len(reports)
    groups = np.full((len(together), size), -1, dtype=np.int64)
    steps = np.zeros(len(together), dtype=np.int64)
    ages_s = np.zeros(len(together))
    for index, holders in enumerate(together):
        for rank, place in holders:
            row = reports[rank].rows[place]
            groups[index, rank] = row.group
            steps[index] = row.step
            ages_s[index] = max(ages_s[index], row.age_s)
    held = groups >= 0

    shared = memory.shared | ((held.T.astype(np.float64) @ held) > 0)
    passed = memory.passed.copy()
    if together:
        for rank in range(size):
            seen = np.where(held & held[:, rank, None], groups[:, rank, None], -1).max(axis=0)
            passed[rank] = np.maximum(passed[rank], seen)

    ever = np.array([r.ever_added for r in reports])
    max_step = np.array([_reached_step(r) for r in reports])
    answered = held | np.array([r.closing and r.complete for r in reports])
    for rank in range(size):
        answered |= held[:, rank, None] & (passed[rank] >= groups[:, rank, None])
    strangers = ~((held.astype(np.float64) @ shared) > 0) & ever
    answered |= strangers & (max_step >= steps[:, None])
    patience_s = max(r.patience_s for r in reports)
    past_grace = (ages_s >= min(GRACE_S, patience_s))[:, None]
    answered |= ~ever & past_grace

    idle = memory.idle & np.array([not r.rows for r in reports])
    timed_out = ~answered & (ages_s >= patience_s)[:, None]
    ready = (answered | timed_out | (idle & past_grace)).all(axis=1)
    everyone = frozenset(range(size))
    verdicts = [
        None if not is_ready else everyone if row.all() else frozenset(np.flatnonzero(row).tolist())
        for is_ready, row in zip(ready.tolist(), answered, strict=True)
    ]
    return _Judgement(verdicts, timed_out, shared, passed, idle)
