"""What the journal holds: a closed set of typed records.

A record enters on the capture side, is written once by rank 0 and read by every consumer: backends, command
line, exports. `to` is the set of backends that a record is for, as a bit mask over the attempt's
`BackendSpec` list. Times are wall-clock nanoseconds since the epoch. Records that come by the million are not
tracked by the garbage collector: they hold nothing that could refer back to them.
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
"""Names of the texts that a rank leaves when it ends badly begin with it."""

Status = Literal["FINISHED", "FAILED", "KILLED"]


class Coverage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Which part of the world stands behind a reduced value.

    Attributes:
        answered: Ranks that took part in the round that reduced this step.
        world_size: Ranks there are.
        contributed: Ranks that had a value; fewer than `answered` is normal with pipeline parallelism.
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
        """Shares of the ranks that answered and that had a value: the lowest coverage is the one with the least."""
        ranks = max(1, self.world_size)
        return self.answered / ranks, self.contributed / ranks

    def __str__(self) -> str:
        """Short where every rank had a value, else in words.

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
    """First record of every segment: who writes, since when, for which backends."""

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
        values: Name to value; NaN and infinities are kept.
        op: The reduction that made the values, None where they are one rank's own.
        coverage: Set with `op`.
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
    """What is said about a metric, once and when it changes; holds for the records of that name that follow.

    Attributes:
        time_ns: When the call was made.
        to: Backends, as a bit mask; -1 for all.
        name: The metric.
        goal: Whether smaller or larger values are better; None where it was not said.
        context: Part of the work that it belongs to, for example ``"training"``; None where it was not said.
    """

    time_ns: int
    to: int
    name: str
    goal: Literal["min", "max"] | None = None
    context: str | None = None


class File(msgspec.Struct, frozen=True, array_like=True):
    """One file of an item.

    Attributes:
        path: Relative POSIX path inside the item; a bare file name where the item is one file.
        size: In bytes.
        sha256: Lower-case hex digest; names the file under ``blobs/`` when `data` is None.
        data: The content itself, when it is small.
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
    """Something worth knowing about the run itself, for example the first NaN or a rank that went silent."""

    level: Literal["info", "warning"]
    code: str
    text: str
    time_ns: int
    rank: int | None = None
    step: int | None = None


class End(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    """Last record of an attempt that ended in an orderly way."""

    status: Status
    time_ns: int
    reason: str = ""


Record = Attempt | Metrics | MetricInfo | Params | Item | Event | End | RankFacts | JobFacts


class Entry(msgspec.Struct, frozen=True):
    """A record with its place in the journal.

    Attributes:
        ordinal: Number of the record in the run, from 0, over all attempts.
        segment: Number of the segment file it was read from.
        record: The record.
    """

    ordinal: int
    segment: int
    record: Record


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What never changes about a run: the content of ``run.msgpack``.

    Attributes:
        protocol: Version of the run directory's format.
        run_id: Name of the run, also of its directory.
        experiment: Experiment it belongs to.
        created_ns: When it was created.
        ranklog_version: Version that created it.
        command: The command line, secrets masked.
        script: What Python runs, as ``sys.argv[0]`` tells; empty in an interactive session.
        group: Runs of one group belong together, for example those of a job array; empty for none.
    """

    protocol: int
    run_id: str
    experiment: str
    created_ns: int
    ranklog_version: str
    command: tuple[str, ...] = ()
    script: str = ""
    group: str = ""
