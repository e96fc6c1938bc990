"""The port that every backend implements: a `Backend` stores the records of one run.

One thread calls `open` once, then `deliver` any number of times, then `close` once. Delivery is at least once: after a
crash, a reopened backend receives all entries since the last saved cursor and must not show a record twice. A backend
raises any exception on failure; delivery then keeps the entries, waits and tries again. `ConnectionError`,
`TimeoutError` and `OSError` say that the backend cannot be reached. When another exception keeps coming back while the
backend accepts other entries, delivery looks for the entry that causes it and sets that one aside. A backend raises
`Refused` for entries that it will never accept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, TextIO

import msgspec

from ranklog.model.errors import InvalidArgumentError
from ranklog.model.record import Entry, File, RunFacts, Status
from ranklog.model.spec import BackendSpec


class ContentReader(Protocol):
    """Reads the contents of a run's items."""

    def read(self, file: File) -> bytes:
        """Return the content of one file of an item."""

    def copy(self, files: Sequence[File], directory: Path) -> list[Path]:
        """Write files below ``directory`` under their relative paths and return these paths.

        Raises:
            ValueError: a path would leave the directory.
        """


class RunContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend knows about the run when it opens.

    Attributes:
        facts: The run's immutable facts.
        spec: The backend's name and options, as given in the training process.
        run_dir: The run directory.
        contents: Reads the contents of items; see `content` and `materialise`.
        known: What `Backend.open` returned last time, for example the backend's own run id. Empty at first.
        attempt: Number of the attempt that is being delivered, from 0.
        resumed_at: Ordinal of the first entry that will be delivered; the backend accepted all entries below it.
        console: Stream for lines that people read.
        refused: Ordinals of entries that were set aside and that the backend therefore does not have.
        extra: Whether no attempt names this backend; it then receives every record.
    """

    facts: RunFacts
    spec: BackendSpec
    run_dir: Path
    contents: ContentReader
    known: dict[str, str]
    attempt: int
    resumed_at: int
    console: TextIO
    refused: frozenset[int] = frozenset()
    extra: bool = False

    @property
    def savedir(self) -> Path:
        """The directory in which the backend stores its files.

        Raises:
            InvalidArgumentError: the backend's options have no ``savedir``.
        """
        savedir = self.spec.options.get("savedir")
        if not isinstance(savedir, str):
            raise InvalidArgumentError(f"the {self.spec.backend} backend's option 'savedir' is missing: give a path")
        return Path(savedir)

    def content(self, file: File) -> bytes:
        """Return the content of one file of an item."""
        return self.contents.read(file)

    def materialise(self, files: Sequence[File], directory: Path) -> list[Path]:
        """Write an item's files below ``directory`` under their relative paths and return these paths.

        Raises:
            ValueError: a path would leave the directory.
        """
        return self.contents.copy(files, directory)


class Refused(Exception):  # noqa: N818 - it is an answer of the backend, not an error
    """The backend will never accept these entries. They are set aside with the reason; delivery continues.

    Args:
        reason: Why, in the backend's words.
        ordinals: The refused entries.
        reasons: Reasons by ordinal, for entries with a different reason each.
    """

    def __init__(self, reason: str, ordinals: Sequence[int], reasons: Mapping[int, str] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.ordinals = tuple(ordinals)
        self.reasons = dict.fromkeys(ordinals, reason) | dict(reasons or {})

    @classmethod
    def together(cls, reasons: Mapping[int, str]) -> Refused:
        """Combine the refusals of several entries, given as reasons by ordinal."""
        return cls("; ".join(sorted(set(reasons.values()))), sorted(reasons), reasons)


class Backend(Protocol):
    """A consumer of the journal.

    The class attribute ``FORMS`` maps each kind to the form in which the backend stores it, in a few words. The
    reference lists these, and tests check them with the backend's own reader. Kinds that ``FORMS`` leaves out are
    stored as files.
    """

    def open(self, *, context: RunContext) -> dict[str, str]:
        """Connect, and open the run: a new one, or the one in ``context.known``.

        Returns facts to remember and show: ``run_id`` (the backend's own), ``experiment_id`` and ``url`` if the backend
        has them. ``ranklog ls`` and ``ranklog show`` print a ``warning`` until a later `open` returns it as "".
        """

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        """Store entries. They count as delivered when this returns.

        Raises:
            Refused: the backend will never accept some of them; it stored the others.
        """

    def close(self, *, status: Status | None, timeout_s: float) -> None:
        """Finish the run with a status and release the client. With None, the run continues elsewhere or later."""
