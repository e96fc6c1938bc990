"""The Trackio backend: one run of a project in a Trackio directory, ``savedir``, for Trackio's dashboard and API.

Takes entries of the journal, writes them with Trackio's own storage (`trackio_store`). Guarantees: what is delivered
again shows once; steps and times are the user's; the newest attempt counts: where one goes back to an earlier step,
what it supersedes (`ranklog.journal.superseded`) is taken out of the run, as are values that a later record corrects.
What is known about the run stands in its config: parameters, status, and what `marks` lists. No Space, no server, no
network, nothing in the home directory. Blocks for the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from ranklog.abc import Refused, RunContext
from ranklog.backends.shared.history import earlier_entries
from ranklog.backends.shared.owner import owner_of
from ranklog.backends.shared.run_facts import Marks
from ranklog.backends.trackio.items import Items
from ranklog.backends.trackio.store import Row, TrackioStore, clock, explained, to_key
from ranklog.model.errors import MissingExtraError
from ranklog.model.kinds import LOAD
from ranklog.model.record import Attempt, Entry, Event, Item, Metrics, Status
from ranklog.model.spec import Scalar, distinct_key

_LEVELS = {"warning": "warn"}
_MARK = "metrics"


class TrackioBackend:
    """Writes to a Trackio project; see the module."""

    FORMS: ClassVar[dict[str, str]] = {
        "metric": "metric",
        "param": "config",
        "text": "report",
        "dict": "report",
        "table": "table",
        "pr_curve": "table",
        "histogram": "histogram",
        "image": "image",
        "figure": "image, or HTML",
        "audio": "audio",
        "video": "video",
        "html": "HTML",
        "alert": "alert",
        "dataset": "artifact, used",
        **dict.fromkeys(
            ("artifact", "torch", "model", "best_model", "graph", "embedding", "prov_documents"), "artifact"
        ),
    }

    _context: RunContext
    _store: TrackioStore
    _items: Items

    def __init__(self) -> None:
        self._attempt = 0
        self._marks = Marks()
        self._told: dict[str, tuple[str, str]] = {}
        self._undone: list[tuple[list[str], int, int]] = []

    @explained()
    def open(self, *, context: RunContext) -> dict[str, str]:
        """Make the project and the run, or open them again.

        Raises:
            MissingExtraError: Trackio is not installed.
            ProjectBusyError: another process has the project open; so do the other methods.
        """
        options = context.spec.options
        project = str(options.get("project_name") or context.facts.experiment)
        try:
            self._store = TrackioStore(context.savedir, project, context.facts.run_id)
        except ImportError as error:
            raise MissingExtraError("the Trackio backend needs Trackio: pip install 'ranklog[trackio]'") from error
        self._context = context
        self._items = Items(context, self._store)
        for entry in earlier_entries(context):
            self._marks.take(entry)
        self._attempt = self._marks.attempt
        self._tell("RUNNING")
        return {
            "run_id": context.facts.run_id,
            "project": self._store.project,
            "directory": str(context.savedir),
            "show": self._store.show,
        }

    @explained()
    def deliver(self, *, entries: Sequence[Entry]) -> None:
        """Store entries.

        Raises:
            Refused: Trackio does not take some of them; the others are stored.
        """
        refused: dict[int, str] = {}
        corrected: dict[tuple[str, int], int] = {}
        attempt = self._attempt
        for entry in entries:
            if isinstance(entry.record, Attempt):
                attempt = entry.record.attempt
            back = self._marks.take(entry)
            if isinstance(entry.record, Metrics):
                if back:
                    self._undone.append((back, entry.record.step, attempt))
                if entry.record.corrects:
                    corrected |= {(name, entry.record.step): entry.ordinal for name in entry.record.values}
        attempt = self._attempt
        rows: list[Row] = []
        for entry in entries:
            if isinstance(entry.record, Attempt):
                attempt = entry.record.attempt
            try:
                rows += self._rows(entry, attempt, corrected)
            except Refused as error:
                refused[entry.ordinal] = error.reason
        self._remove(corrected)
        self._store.log(rows)
        self._store.log_load([row for entry in entries for row in self._load(entry)])
        self._tell("RUNNING")
        self._undone = []
        if refused:
            raise Refused.together(refused)
        self._attempt = attempt

    @explained()
    def close(self, *, status: Status | None, timeout_s: float) -> None:
        """Tell the status; None leaves the run as it is. Nothing is open between calls."""
        del timeout_s  # Nothing here waits for others.
        if status is not None:
            self._tell(status)

    def _rows(self, entry: Entry, attempt: int, corrected: dict[tuple[str, int], int]) -> list[Row]:
        match entry.record:
            case Metrics() as record:
                values = {
                    to_key(name): value
                    for name, value in record.values.items()
                    if not name.startswith(LOAD)
                    and corrected.get((name, record.step), entry.ordinal) <= entry.ordinal
                    and not self._marks.rewinds.is_superseded(name, step=record.step, attempt=attempt)
                }
                row_id = self._id(f"{_MARK}/{attempt}/{entry.ordinal}")
                return [Row(row_id, record.step, record.time_ns, values)] if values else []
            case Item(kind="alert") as item:
                self._store_alert(item, entry.ordinal)
            case Item() as item:
                shown = self._items.values(item, entry.ordinal)
                if shown:
                    return [Row(self._id(f"items/{entry.ordinal}"), item.step, item.time_ns, shown)]
                self._items.store_artifact(item, entry.ordinal)
            case Event() as event:
                self._store.alert(
                    id=self._id(f"events/{entry.ordinal}"),
                    title=event.code,
                    text=event.text,
                    level=_LEVELS.get(event.level, event.level),
                    step=event.step,
                    time_ns=event.time_ns,
                )
        return []

    def _load(self, entry: Entry) -> list[Row]:
        """What Trackio shows on a page of its own, over time."""
        if not isinstance(record := entry.record, Metrics):
            return []
        values = {name[len(LOAD) :]: value for name, value in record.values.items() if name.startswith(LOAD)}
        return [Row(self._id(f"load/{entry.ordinal}"), record.step, record.time_ns, values)] if values else []

    def _store_alert(self, item: Item, ordinal: int) -> None:
        level = str(item.meta.get("level", "info"))
        self._store.alert(
            id=self._id(f"alerts/{ordinal}"),
            title=item.name,
            text=self._context.content(item.files[0]).decode("utf-8", "replace"),
            level=_LEVELS.get(level, level),
            step=item.step,
            time_ns=item.time_ns,
        )

    def _remove(self, corrected: dict[tuple[str, int], int]) -> None:
        """Take out of the run what does not count any more."""
        for names, step, attempt in self._undone:
            self._store.remove(names, (step, None), partial(self._is_before, attempt, -1))
        for (name, step), ordinal in corrected.items():
            self._store.remove([name], (step, step), partial(self._is_before, -1, ordinal))

    def _id(self, what: str) -> str:
        return f"{self._context.facts.run_id}/{self._context.facts.created_ns}/{what}"

    def _is_before(self, attempt: int, ordinal: int, row_id: str) -> bool:
        """Whether a row is one of metrics, of an earlier attempt or an earlier entry than these."""
        head, _, where = row_id.partition(self._id(f"{_MARK}/"))
        own_attempt, _, own_ordinal = where.partition("/")
        if head or not (own_attempt.isdecimal() and own_ordinal.isdecimal()):
            return False
        return int(own_attempt) < attempt or int(own_ordinal) < ordinal

    def _tell(self, status: str) -> None:
        """Write the config, where it changed, with the row that lets Trackio list a run without metrics."""
        facts = self._context.facts
        told: dict[str, Scalar] = {
            **{f"ranklog.{name}" if name.startswith("_") else name: v for name, v in self._marks.params.items()},
            "ranklog.status": status,
            **self._marks.facts(),
            "_Username": owner_of(self._context.run_dir),
            "_Created": clock(facts.created_ns),
            "_Group": facts.group or None,
        }
        identities = {name: distinct_key(value) for name, value in told.items()}
        if identities == self._told:
            return
        card: dict[str, Any] = {
            "ranklog/run": {
                "_type": "trackio.markdown",
                "_value": f"Run `{facts.run_id}` of ranklog: {facts.experiment}",
            }
        }
        self._store.log([Row(self._id("run"), 0, facts.created_ns, card)], config=told)
        self._told = identities
