"""The ports that an item passes: a `Room` takes a `Call` of `log` and gives records to the `Sink`.

An `Encoder` makes the canonical bytes of one item. All of these run in the training thread and never wait for a
network or for other ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from ranklog.model.place import Place
from ranklog.model.record import File, Item, Record
from ranklog.model.spec import BackendSpec, Scalar


class Content(msgspec.Struct, frozen=True):
    """One file of an encoded item: its relative path, and its bytes or the file to copy them from."""

    path: str
    source: bytes | Path


class Encoded(msgspec.Struct, frozen=True):
    """An item in canonical form.

    Attributes:
        media: Media type of the whole.
        contents: Its files.
        meta: Facts that the encoding adds to `Item.meta`.
        changed: In words, which part of the item is not stored as it was given; empty for none.
    """

    media: str
    contents: tuple[Content, ...]
    meta: dict[str, Scalar] = {}
    changed: str = ""


class PendingItem(msgspec.Struct, frozen=True):
    """An item whose contents are not stored yet."""

    item: Item
    contents: tuple[Content | File, ...]


Job = Callable[[], Iterable[Record | PendingItem]]


class Sink(Protocol):
    """Where rooms put their records. Usable from any thread."""

    @property
    def place(self) -> Place:
        """This process's place."""

    def submit(self, record: Record, contents: Sequence[Content | File] = ()) -> None:
        """Queue a record; an item comes with its contents, and after background jobs under its kind and name."""

    def background(self, key: str, job: Job) -> None:
        """Run a slow job after those before it, and queue what it returns. A job that fails counts as lost.

        Args:
            key: Name for messages; ``kind 'name'`` for the job of an item.
            job: Runs in the background thread.
        """

    def report(self, code: str, text: str, *, about: str = "") -> None:
        """Warn once per code and count; never raises. ``about`` tells causes of one code apart."""

    def run_dir(self, timeout_s: float) -> Path:
        """The path of the run directory, which rank 0 may not have created yet.

        Raises:
            RanklogError: this rank does not know it in time.
        """

    def reach_run_dir(self) -> Path:
        """Wait for the run directory, and return it; for background jobs.

        Raises:
            RanklogError: it was not there within the time limit.
            OSError: the disk refused.
        """


class Sampler(Protocol):
    """Measures this node in the background."""

    def measure(self, kind: str, *, step: int, to: int, every_s: float | None) -> None:
        """Measure once, or at a fixed interval until the run closes.

        Raises:
            MissingExtraError: the package of this kind is missing.
        """


class Call(msgspec.Struct, frozen=True):
    """One call of `log` that ``log_freq`` and ``log_on_workers`` let through.

    Attributes:
        item: The logged object.
        name: Its identifier.
        kind: A name of `ranklog.model.kinds.KINDS`.
        step: The step.
        options: Keyword arguments of the call.
        to: Backends for which this rank logs, as a bit mask.
        to_all: Backends that take the call, whichever rank makes it.
        lead: Backends for which this rank is the lowest that logs.
        specs: Fronts of the run's backends; a backend's position is its bit.
        opened_s: Monotonic time at which the run was opened.
        sampler: Measures this node.
        meet: Returns when every rank has called it.
    """

    item: Any
    name: str
    kind: str
    step: int
    options: Mapping[str, Any]
    to: int
    to_all: int
    lead: int
    specs: Sequence[BackendSpec]
    opened_s: float
    sampler: Sampler
    meet: Callable[[], None]

    @property
    def what(self) -> str:
        """The item's name in messages."""
        return f"{self.kind} {self.name!r}"


class Encoder(Protocol):
    """Makes the canonical bytes of one item, in the training thread."""

    def __call__(self, item: Any, name: str, options: Mapping[str, Any], /) -> Encoded:
        """Encode an item.

        Args:
            item: The logged object.
            name: Its identifier.
            options: Every option of the kind, read and checked by the table of kinds.

        Raises:
            InvalidItemError: the kind cannot store such an item.
        """


class Room(Protocol):
    """Takes the calls of a kind."""

    def __call__(self, call: Call, sink: Sink, /) -> Callable[[], None] | None:
        """Take one call; returns a function that stops what continues after the call, or None."""
