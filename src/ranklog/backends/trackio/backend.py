"""The Trackio backend: one run per ranklog run in a Trackio project below ``savedir``, for Trackio's dashboard and API.

Writes with Trackio's own storage (`store`). Records that are delivered twice show once. Steps and times are those of
the calls. The newest attempt counts: when it returns to an earlier step, the values that it supersedes
(`ranklog.journal.superseded`) are removed from the run, as are values that a later record corrects. The run's config
has the parameters, the status and the run-level facts. There is no Space, no server and no network, and nothing is
written to the home directory. Blocks for the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from ranklog.abc import Refused, RunContext
from ranklog.backends.shared.history import earlier_entries
from ranklog.backends.shared.run_facts import FactCollector, owner_of
from ranklog.backends.trackio.items import ALERT_LEVELS, FORMS, ItemStore
from ranklog.backends.trackio.store import Row, TrackioStore, clock, explained, to_key, unique_id
from ranklog.model.errors import MissingExtraError
from ranklog.model.kinds import LOAD
from ranklog.model.record import Attempt, Entry, Event, Item, Metrics, Status
from ranklog.model.spec import Scalar, distinct_key

_METRICS = "metrics"


class TrackioBackend:
    """Writes to a Trackio project."""

    FORMS: ClassVar[dict[str, str]] = FORMS

    _context: RunContext
    _store: TrackioStore
    _items: ItemStore

    def __init__(self) -> None:
        self._attempt = 0
        self._facts = FactCollector()
        self._config: dict[str, tuple[str, str]] = {}
        self._superseded: list[tuple[list[str], int, int]] = []

    @explained()
    def open(self, *, context: RunContext) -> dict[str, str]:
        """Create the project and the run, or open them again.

        Raises:
            MissingExtraError: Trackio is not installed.
            ProjectBusyError: another process has the project open. The other methods raise it, too.
        """
        options = context.spec.options
        project = str(options.get("project_name") or context.facts.experiment)
        try:
            self._store = TrackioStore(context.savedir, project, context.facts.run_id)
        except ImportError as error:
            raise MissingExtraError("the Trackio backend needs Trackio: pip install 'ranklog[trackio]'") from error
        self._context = context
        self._items = ItemStore(context, self._store)
        for entry in earlier_entries(context):
            self._facts.add(entry)
        self._attempt = self._facts.attempt
        self._write_config("RUNNING")
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
            Refused: Trackio does not accept some of them; the others are stored.
        """
        refused: dict[int, str] = {}
        corrected: dict[tuple[str, int], int] = {}
        attempt = self._attempt
        for entry in entries:
            if isinstance(entry.record, Attempt):
                attempt = entry.record.attempt
            back = self._facts.add(entry)
            if isinstance(entry.record, Metrics):
                if back:
                    self._superseded.append((back, entry.record.step, attempt))
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
        self._store.log_system([row for entry in entries for row in self._system_rows(entry)])
        self._write_config("RUNNING")
        self._superseded = []
        if refused:
            raise Refused.together(refused)
        self._attempt = attempt

    @explained()
    def close(self, *, status: Status | None, timeout_s: float) -> None:
        """Write the status; None leaves the run unchanged. Nothing is open between calls."""
        del timeout_s  # Nothing here waits for others.
        if status is not None:
            self._write_config(status)

    def _rows(self, entry: Entry, attempt: int, corrected: dict[tuple[str, int], int]) -> list[Row]:
        match entry.record:
            case Metrics() as record:
                values = {
                    to_key(name): value
                    for name, value in record.values.items()
                    if not name.startswith(LOAD)
                    and corrected.get((name, record.step), entry.ordinal) <= entry.ordinal
                    and not self._facts.rewinds.is_superseded(name, step=record.step, attempt=attempt)
                }
                row_id = self._id(f"{_METRICS}/{attempt}/{entry.ordinal}")
                return [Row(row_id, record.step, record.time_ns, values)] if values else []
            case Item() as item:
                values = self._items.store(item, entry.ordinal)
                if values:
                    return [Row(self._id(f"items/{entry.ordinal}"), item.step, item.time_ns, values)]
            case Event() as event:
                self._store.alert(
                    id=self._id(f"events/{entry.ordinal}"),
                    title=event.code,
                    text=event.text,
                    level=ALERT_LEVELS.get(event.level, event.level),
                    step=event.step,
                    time_ns=event.time_ns,
                )
        return []

    def _system_rows(self, entry: Entry) -> list[Row]:
        """Return the system metrics of an entry, which Trackio shows on another page, over time."""
        if not isinstance(record := entry.record, Metrics):
            return []
        values = {name[len(LOAD) :]: value for name, value in record.values.items() if name.startswith(LOAD)}
        return [Row(self._id(f"load/{entry.ordinal}"), record.step, record.time_ns, values)] if values else []

    def _remove(self, corrected: dict[tuple[str, int], int]) -> None:
        """Remove values that were superseded or corrected."""
        for names, step, attempt in self._superseded:
            self._store.remove(names, (step, None), partial(self._is_before, attempt, -1))
        for (name, step), ordinal in corrected.items():
            self._store.remove([name], (step, step), partial(self._is_before, -1, ordinal))

    def _id(self, part: str) -> str:
        return unique_id(self._context.facts, part)

    def _is_before(self, attempt: int, ordinal: int, row_id: str) -> bool:
        """Return whether a row has metrics of an earlier attempt, or of an earlier entry."""
        head, _, where = row_id.partition(self._id(f"{_METRICS}/"))
        own_attempt, _, own_ordinal = where.partition("/")
        if head or not (own_attempt.isdecimal() and own_ordinal.isdecimal()):
            return False
        return int(own_attempt) < attempt or int(own_ordinal) < ordinal

    def _write_config(self, status: str) -> None:
        """Write the config, if it changed, and the row that makes Trackio list a run without metrics."""
        facts = self._context.facts
        config: dict[str, Scalar] = {
            **{f"ranklog.{name}" if name.startswith("_") else name: v for name, v in self._facts.params.items()},
            "ranklog.status": status,
            **self._facts.facts(),
            "_Username": owner_of(self._context.run_dir),
            "_Created": clock(facts.created_ns),
            "_Group": facts.group or None,
        }
        identities = {name: distinct_key(value) for name, value in config.items()}
        if identities == self._config:
            return
        card: dict[str, Any] = {
            "ranklog/run": {
                "_type": "trackio.markdown",
                "_value": f"Run `{facts.run_id}` of ranklog: {facts.experiment}",
            }
        }
        self._store.log([Row(self._id("run"), 0, facts.created_ns, card)], config=config)
        self._config = identities
