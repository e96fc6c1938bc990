"""Decide which keys can be reduced when ranks hold different ones. Pure, and equal on every rank.

In: every rank's report of its closed rows, and what was agreed before (`Memory`). Out: the keys that are ready, each
with the ranks that hold it and the ranks that answered, and the new memory. A key is ready when every rank that lacks
it has answered or is no longer waited for. A rank that lacks a key has answered when

- it is closing and its report contains everything that it still holds; or
- it has closed a row that comes after the key, or in the same run of one step, in the program of a rank that holds the
  key. Program order counts, not step numbers, because train steps and epochs are different counters; or
- it has never shared a key with those ranks and is past the key's step (pipeline stages with their own metrics). The
  steps of its report count; if that is all it has closed, earlier steps count too; or
- it takes part but has never had anything to reduce, and the key is older than a short grace period.

A rank is no longer waited for, and counts as missing, once the key is older than the time limit. From then on it is
idle until it reports something again. A rank outside of the generation is not waited for either. A value that arrives
late, for a key that was reduced without it, is ready at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

Key = tuple[str, str, int, int]
"""Name, reduction, backends, step."""

Series = tuple[str, str, int]
"""Name, reduction, backends."""

RowPosition = tuple[int, int]
"""Rank and index of a row in its report."""

GRACE_S = 2.0
REMEMBERED_KEYS = 4096
_NEVER = -(2**63)


class RowReport(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One closed row as other ranks see it; ``states`` and ``bins`` are the states of its names, as bytes."""

    names: list[str]
    step: int
    op: str
    to: int
    time_ns: int
    group: int
    age_s: float
    states: bytes = b""
    bins: bytes = b""

    def held_keys(self) -> list[Key]:
        """Return the key of each name."""
        return [(name, self.op, self.to, self.step) for name in self.names]


class Report(msgspec.Struct, frozen=True, array_like=True):
    """One rank's message in a gathered round.

    Attributes:
        rows: Closed rows, in program order.
        complete: Whether these are all its closed rows.
        closing: Whether it will add nothing more.
        ever_added: Whether it has ever had a value to reduce.
        max_closed_step: Highest step that it has ever closed.
        patience_s: Age of a row above which it stops waiting for a rank.
        absent: Whether the rank is outside of this generation, so that this report is not its own.
    """

    rows: list[RowReport]
    complete: bool = True
    closing: bool = False
    ever_added: bool = True
    max_closed_step: int | None = None
    patience_s: float = 30.0
    absent: bool = False


ABSENT = Report([], patience_s=0.0, absent=True)
"""Stands for the report of a rank outside of this generation."""


class Memory(msgspec.Struct, frozen=True):
    """Agreements of earlier rounds, equal on all ranks.

    Attributes:
        shared: ``[a, b]``: whether ranks a and b have ever held the same key.
        passed: ``[h, r]``: highest group of rank h that rank r is known to have closed.
        idle: Ranks that are no longer waited for.
        partial: Keys that were reduced from some ranks only, oldest first, with these ranks.
        forgot: Of keys dropped to keep `partial` small, the highest step of each name, reduction and backends.
    """

    shared: NDArray[np.bool_]
    passed: NDArray[np.int64]
    idle: NDArray[np.bool_]
    partial: dict[Key, frozenset[int]]
    forgot: dict[Series, int] = {}

    @classmethod
    def fresh(cls, size: int) -> Memory:
        """Return the memory of ``size`` ranks that have agreed on nothing yet."""
        # Equal numbers are views of one, because 16,384 ranks would need 2 GiB each on every rank.
        return cls(
            np.eye(size, dtype=np.bool_),
            np.broadcast_to(np.int64(-1), (size, size)),
            np.zeros(size, dtype=np.bool_),
            {},
            {},
        )

    def knows(self, key: Key) -> bool:
        """Whether it is known from which ranks a key was reduced, if it ever was."""
        name, op, to, step = key
        return key in self.partial or step > self.forgot.get((name, op, to), _NEVER)

    def after_fused(self, keys: Sequence[Key] = (), members: Sequence[int] | None = None) -> Memory:
        """Return the memory after a round in which all ranks, or these members of the generation, held these keys."""
        if members is None or len(members) == len(self.idle):
            if self.shared.all() and not self.idle.any():
                return self
            everyone, idle = np.broadcast_to(np.bool_(True), self.shared.shape), np.zeros_like(self.idle)
            return Memory(everyone, self.passed, idle, self.partial, self.forgot)
        shared, idle, partial, forgot = self.shared.copy(), self.idle.copy(), dict(self.partial), dict(self.forgot)
        shared[np.ix_(members, members)] = True
        idle[list(members)] = False
        _remember(partial, keys, frozenset(members), late=False, size=len(idle))
        _forget(partial, forgot)
        return Memory(shared, self.passed, idle, partial, forgot)


class Ready(msgspec.Struct, frozen=True):
    """Names that are ready together: one row on each of the same ranks.

    Attributes:
        names: The names.
        step: Their step.
        op: Their reduction.
        to: Their backends.
        holders: Rows that hold them, by rank.
        answered: Ranks that answered, holders included.
        late: Whether these values add to ones that were reduced before.
    """

    names: list[str]
    step: int
    op: str
    to: int
    holders: tuple[RowPosition, ...]
    answered: frozenset[int]
    late: bool

    def keys(self) -> Iterator[Key]:
        """Return the key of each name."""
        return ((name, self.op, self.to, self.step) for name in self.names)


class _Judgement(msgspec.Struct, frozen=True):
    """Result of the rules for each set of rows, and the parts of the next memory.

    Attributes:
        answered: Ranks that answered, or None if a rank is still waited for.
        timed_out: ``[set, rank]``: ranks that are no longer waited for because of the time limit.
    """

    answered: list[frozenset[int] | None]
    timed_out: NDArray[np.bool_]
    shared: NDArray[np.bool_]
    passed: NDArray[np.int64]
    idle: NDArray[np.bool_]


def agree(reports: Sequence[Report], memory: Memory) -> tuple[list[Ready], Memory]:
    """Decide which keys are ready; the module's docstring has the rules."""
    together = _group(reports)
    judged = _judge(reports, [holders for holders, _ in together], memory)
    idle = judged.idle.copy()
    ready: list[Ready] = []
    partial = dict(memory.partial)
    waiting: set[Key] = set()
    forgot = dict(memory.forgot)
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
    # Last, so that a late value in this round still finds what it corrects.
    _forget(partial, forgot)
    return ready, Memory(judged.shared, judged.passed, idle, partial, forgot)


def _group(reports: Sequence[Report]) -> list[tuple[tuple[RowPosition, ...], list[Key]]]:
    """Group keys by the rows that hold them. A key's next occurrence on a rank forms a separate, later group."""
    positions: dict[Key, list[list[RowPosition]]] = {}
    for rank, report in enumerate(reports):
        for index, row in enumerate(report.rows):
            for name in row.names:
                occurrences = positions.setdefault((name, row.op, row.to, row.step), [])
                for held in occurrences:
                    if held[-1][0] != rank:
                        held.append((rank, index))
                        break
                else:
                    occurrences.append([(rank, index)])
    grouped: dict[tuple[int, tuple[RowPosition, ...]], list[Key]] = {}
    for key, occurrences in positions.items():
        for number, held in enumerate(occurrences):
            grouped.setdefault((number, tuple(held)), []).append(key)
    return [(holders, keys) for (_, holders), keys in sorted(grouped.items(), key=lambda item: item[0][0])]


def _is_late(contributed: frozenset[int] | None, ranks: frozenset[int]) -> bool:
    return contributed is not None and not contributed & ranks


def _remember(
    partial: dict[Key, frozenset[int]], keys: Sequence[Key], ranks: frozenset[int], *, late: bool, size: int
) -> None:
    """Note from which ranks keys were reduced."""
    for key in keys:
        before = partial.pop(key, frozenset())
        contributed = before | ranks if late else ranks
        if len(contributed) < size:
            partial[key] = contributed


def _forget(partial: dict[Key, frozenset[int]], forgot: dict[Series, int]) -> None:
    """Drop the oldest keys beyond the limit, and note up to which step each series was dropped."""
    while len(partial) > REMEMBERED_KEYS:
        name, op, to, step = oldest = next(iter(partial))
        del partial[oldest]
        forgot[name, op, to] = max(step, forgot.get((name, op, to), step))


def _reached_step(report: Report) -> int:
    """Return the step up to which a rank has reported everything. Of a long backlog, only the reported rows count."""
    if not report.complete:
        return max((row.step for row in report.rows), default=_NEVER)
    return _NEVER if report.max_closed_step is None else report.max_closed_step


def _judge(reports: Sequence[Report], together: Sequence[tuple[RowPosition, ...]], memory: Memory) -> _Judgement:
    """Apply the rules of the module's docstring to all sets of rows at once."""
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
    absent = np.array([r.absent for r in reports])
    timed_out = ~answered & ~absent & (ages_s >= patience_s)[:, None]
    ready = (answered | timed_out | (idle & past_grace) | absent).all(axis=1)
    everyone = frozenset(range(size))
    verdicts = [
        None if not is_ready else everyone if row.all() else frozenset(np.flatnonzero(row).tolist())
        for is_ready, row in zip(ready.tolist(), answered, strict=True)
    ]
    return _Judgement(verdicts, timed_out, shared, passed, idle)
