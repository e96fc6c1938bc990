"""The records of the journal: a closed set of types.

Ranks create records, rank 0 writes each one once, and every consumer reads them: backends, command line, exports. `to`
is the set of backends that a record is for, as a bit mask over the attempt's list of `BackendSpec`. Times are
wall-clock nanoseconds since the epoch. The garbage collector does not track types that occur by the million, because
they cannot be part of a reference cycle.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ranklog.model.facts import JobFacts, RankFacts
from ranklog.model.place import Place
from ranklog.model.spec import BackendSpec, Scalar

PROTOCOL = 1
EVERY_BACKEND = -1
LAST_LINES = "ranklog/last_lines/"
"""Prefix of the names of texts that a rank leaves when it ends abnormally."""

Status = Literal["FINISHED", "FAILED", "KILLED"]


class Coverage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How many ranks contributed to a reduced value.

    Attributes:
        answered: Ranks that took part in the round that reduced this step.
        world_size: Number of ranks.
        contributed: Ranks that had a value; with pipeline parallelism, fewer than `answered` is normal.
    """

    answered: int
    world_size: int
    contributed: int

    @property
    def full(self) -> bool:
        """Whether every rank answered."""
        return self.answered >= self.world_size

    @property
    def all_contributed(self) -> bool:
        """Whether every rank had a value."""
        return self.contributed >= self.world_size

    @property
    def share(self) -> tuple[float, float]:
        """Shares of the ranks that answered and that had a value, for comparing coverages."""
        ranks = max(1, self.world_size)
        return self.answered / ranks, self.contributed / ranks

    def __str__(self) -> str:
        """Short if every rank had a value, else in words.

        Example:
            >>> for coverage in (Coverage(4, 4, 4), Coverage(4, 4, 1), Coverage(3, 4, 2)):
            ...     print(coverage)
            4/4
            1 of 4 ranks had a value
            2 of 4 ranks had a value, 3 answered
        """
        if self.all_contributed:
            return f"{self.answered}/{self.world_size}"
        words = f"{self.contributed} of {self.world_size} ranks had a value"
        return words if self.full else f"{words}, {self.answered} answered"


class Attempt(msgspec.Struct, frozen=True, array_like=True, tag="attempt"):
    """First record of every segment: who writes, since when, and for which backends."""

    protocol: int
    run_id: str
    attempt: int
    place: Place
    host: str
    pid: int
    time_ns: int
    backends: tuple[BackendSpec, ...]


class Metrics(msgspec.Struct, frozen=True, array_like=True, tag="metrics", gc=False):
    """Scalars of one step.

    Attributes:
        step: The user's step.
        time_ns: When the call was made.
        to: Backends, as a bit mask; -1 for all.
        values: Values by name; NaN and infinities are kept.
        op: The reduction that produced the values; None if they are from one rank.
        coverage: Set together with `op`.
        corrects: Whether these values replace earlier ones of the same names and step.
    """

    step: int
    time_ns: int
    to: int
    values: dict[str, float]
    op: str | None = None
    coverage: Coverage | None = None
    corrects: bool = False


class Params(msgspec.Struct, frozen=True, array_like=True, tag="params"):
    """Hyper-parameters, flattened: nested names are joined by dots."""

    time_ns: int
    to: int
    values: dict[str, Scalar]


class MetricInfo(msgspec.Struct, frozen=True, array_like=True, tag="metric_info"):
    """Information about a metric, stored once and when it changes; it applies to later records of that name.

    Attributes:
        time_ns: When the call was made.
        to: Backends, as a bit mask; -1 for all.
        name: Name of the metric.
        goal: Whether smaller or larger values are better; None if not given.
        context: Part of the work that it belongs to, for example ``"training"``; None if not given.
    """

    time_ns: int
    to: int
    name: str
    goal: Literal["min", "max"] | None = None
    context: str | None = None


class File(msgspec.Struct, frozen=True, array_like=True):
    """One file of an item.

    Attributes:
        path: Relative POSIX path inside the item; a bare file name if the item is one file.
        size: Size in bytes.
        sha256: Lower-case hex digest; names the file under ``blobs/`` if `data` is None.
        data: The content itself, if it is small.
    """

    path: str
    size: int
    sha256: str
    data: bytes | None = None


class Item(msgspec.Struct, frozen=True, array_like=True, tag="item"):
    """Anything that is not a scalar or a parameter, in its canonical encoding.

    Attributes:
        kind: A name of `ranklog.model.kinds.KINDS`.
        name: The user's identifier.
        step: The user's step.
        time_ns: When the call was made.
        to: Backends, as a bit mask; -1 for all.
        rank: Rank that logged it.
        media: Media type of the content; ``inode/directory`` for a folder.
        files: One file, or the files of a folder.
        meta: Options of the call, for example ``caption``.
    """

    kind: str
    name: str
    step: int
    time_ns: int
    to: int
    rank: int
    media: str
    files: tuple[File, ...]
    meta: dict[str, Scalar] = {}


class Event(msgspec.Struct, frozen=True, array_like=True, tag="event"):
    """Something that happened to the run itself, for example the first NaN or a rank that went silent."""

    level: Literal["info", "warning"]
    code: str
    text: str
    time_ns: int
    rank: int | None = None
    step: int | None = None


class End(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    """Last record of an attempt that ended normally."""

    status: Status
    time_ns: int
    reason: str = ""


Record = Attempt | Metrics | MetricInfo | Params | Item | Event | End | RankFacts | JobFacts


class Entry(msgspec.Struct, frozen=True):
    """A record and its position in the journal.

    Attributes:
        ordinal: Number of the record in the run, from 0, over all attempts.
        segment: Number of the segment that it was read from.
        record: The record.
    """

    ordinal: int
    segment: int
    record: Record


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Immutable facts about a run: the content of ``run.msgpack``.

    Attributes:
        protocol: Version of the run directory's format.
        run_id: Name of the run, and of its directory.
        experiment: Experiment that it belongs to.
        created_ns: When it was created.
        ranklog_version: Version that created it.
        command: The command line, secrets masked.
        script: The script that Python runs, from ``sys.argv[0]``; empty in an interactive session.
        group: Name of a group of related runs, for example those of a job array; empty for none.
    """

    protocol: int
    run_id: str
    experiment: str
    created_ns: int
    ranklog_version: str
    command: tuple[str, ...] = ()
    script: str = ""
    group: str = ""
