"""The port that every backend implements, and how a backend is found by name.

Three methods, called from one thread, in this order: `open` once, `deliver` any number of times, `close` once.
Delivery is at least once: a backend that is opened again after a crash receives entries from the last saved
cursor on, and must not show a record twice. A backend raises any exception on trouble; the pump keeps the entries,
waits and tries again. Trouble on the way to the backend is best told by `ConnectionError`, `TimeoutError` or `OSError`:
another exception that comes again and again makes the pump look for the entry to blame and set it aside, provided that
the backend takes others. An entry that can never be accepted is raised as `Refused`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, TextIO, cast

import msgspec

from ranklog.journal import layout
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.kinds import KINDS
from ranklog.model.record import Entry, File, RunFacts, Status
from ranklog.model.spec import BackendSpec

GROUP = "ranklog.backends"
FILE = "file"
"""Form of a kind for which a backend has nothing better: its files, below its name."""


class RunContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend is told about the run when it is opened.

    Attributes:
        facts: The run's immutable facts.
        spec: The front of this backend, with its options.
        run_dir: The run directory; blobs are read through `content` and `materialise`.
        known: What `open` returned last time, empty at first: for example the backend's own run id.
        attempt: Number of the attempt that is delivered, from 0.
        resumed_at: Ordinal of the first entry that will come; below the entries already accepted.
        console: Where lines for people go.
        refused: Ordinals of entries that were set aside: they are no part of what the backend has.
        extra: Whether no attempt names this backend, so that everything is for it.
    """

    facts: RunFacts
    spec: BackendSpec
    run_dir: Path
    known: dict[str, str]
    attempt: int
    resumed_at: int
    console: TextIO
    refused: frozenset[int] = frozenset()
    extra: bool = False

    @property
    def savedir(self) -> Path:
        """Where the backend stores what it stores.

        Raises:
            InvalidArgumentError: its front gave no such option.
        """
        savedir = self.spec.options.get("savedir")
        if not isinstance(savedir, str):
            raise InvalidArgumentError(f"the {self.spec.backend} backend's option 'savedir' is missing: give a path")
        return Path(savedir)

    def content(self, file: File) -> bytes:
        """Content of one file of an item."""
        return layout.read_file(self.run_dir, file)

    def materialise(self, files: Sequence[File], directory: Path) -> list[Path]:
        """Write an item's files below ``directory`` under their relative paths; returns the paths.

        Raises:
            ValueError: when a path would leave the directory.
        """
        written: list[Path] = []
        root = directory.resolve()
        for file in files:
            target = (root / file.path).resolve()
            if root not in target.parents:
                raise ValueError(f"path {file.path!r} of an item leaves its directory")
            layout.make_private_dir(target.parent)
            layout.copy_out(self.run_dir, file, target)
            written.append(target)
        return written


class Refused(Exception):  # noqa: N818 - it is an answer, not an error of ours
    """The backend will never accept these entries; they are set aside with the reason, the rest goes on.

    Args:
        reason: Why, in the backend's words.
        ordinals: The entries refused.
        reasons: Why, by ordinal, where each has its own.
    """

    def __init__(self, reason: str, ordinals: Sequence[int], reasons: Mapping[int, str] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.ordinals = tuple(ordinals)
        self.reasons = dict.fromkeys(ordinals, reason) | dict(reasons or {})

    @classmethod
    def together(cls, reasons: Mapping[int, str]) -> Refused:
        """One for several entries, whose ordinals have reasons."""
        return cls("; ".join(sorted(set(reasons.values()))), sorted(reasons), reasons)


class Backend(Protocol):
    """A consumer of the journal.

    A class says in ``FORMS``, by kind and in a word or a few, what it makes of each: the reference lists that, and
    tests ask the backend's own reader whether it is so. Kinds that it leaves out are kept as `FILE`.
    """

    def open(self, *, context: RunContext) -> dict[str, str]:
        """Connect and open the run, or the one in ``context.known`` again.

        Returns facts to remember and show: ``run_id``, ``experiment_id``, ``url`` where the backend has them. A
        ``warning`` is printed by ``ranklog ls`` and ``show`` until it is "".
        """

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        """Store entries; they count as delivered when this returns."""

    def close(self, *, status: Status | None, timeout_s: float) -> None:
        """Finish the run with a status and release the client. None: the run goes on elsewhere or later."""


def create_backend(name: str) -> Backend:
    """Make the backend of that name from the entry-point group ``ranklog.backends``.

    Raises:
        InvalidArgumentError: when there is none; lists those installed.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        raise InvalidArgumentError(f"backend {name!r} is not installed: there are {', '.join(sorted(found))}")
    return cast(Backend, found[name].load()())


def forms_of(name: str) -> dict[str, str]:
    """What the backend of that name makes of each kind that reaches backends.

    Raises:
        InvalidArgumentError: when there is no such backend.
    """
    said = getattr(type(create_backend(name)), "FORMS", {})
    return {kind.name: said.get(kind.name, FILE) for kind in KINDS.values() if kind.becomes is None}
