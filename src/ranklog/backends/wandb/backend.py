"""The Weights & Biases backend: one W&B run per ranklog run, online or as an offline directory below ``savedir``.

W&B's own client writes and uploads, in a process that belongs to it.

- W&B's step is the number of the entry in the journal, because W&B accepts growing steps only. The user's step is the
  column ``step``, the x axis of every chart. Smaller steps than before (evaluation, a restart at an older checkpoint)
  are therefore kept.
- Each `Metrics` record is one row of the history. If not every rank had a value, the columns ``ranklog/answered``,
  ``ranklog/contributed`` and ``ranklog/world_size`` say so. The summary has the lowest coverage of the run as
  ``ranklog/coverage`` and the status as ``ranklog/status``. A record that corrects an earlier one is another row of
  the same ``step``, because W&B cannot change rows.
- From the second attempt on, each row has the column ``ranklog/attempt``. If an attempt returned to an earlier step,
  its rows replace those with a lower attempt, or without one, of the same ``step`` and above.
- The summary has the best value of a metric with a goal (`goals`). An alert is W&B's own alert. It is sent once, or
  again when the server's answer was lost.
- Parameters are the run's config, nested at their dots. Facts of the run are below ``ranklog`` there. Events are
  lines of the run's log.
- A metric with the name of one of W&B's own columns (``step``, ``_step``, ``_runtime``, ``_timestamp``, ``_wandb``)
  becomes ``user/<name>``.

Nothing shows twice. An offline directory that is incomplete or continues is deleted and written again from the first
entry, because W&B loses rows when it is killed. If it was synced, another directory continues after it (`offline`).
Online, the server knows which rows it has, and these are not sent again. W&B never prompts for a login. Blocks for
W&B's client; `close` blocks for at most the time it is given.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ranklog.abc import RunContext
from ranklog.backends.shared.history import earlier_entries
from ranklog.backends.wandb import offline, service
from ranklog.backends.wandb.config import attempt_facts, merge_params, run_facts
from ranklog.backends.wandb.goals import Goals
from ranklog.backends.wandb.init import init_run
from ranklog.backends.wandb.items import FORMS, ItemStore
from ranklog.backends.wandb.names import to_backend_run_id, to_column
from ranklog.backends.wandb.offline import Synced
from ranklog.journal.layout import make_private_dir
from ranklog.model.facts import JobFacts, facts_of
from ranklog.model.record import Attempt, Coverage, End, Entry, Event, Item, MetricInfo, Metrics, Params, Record, Status
from ranklog.model.spec import Scalar

if TYPE_CHECKING:
    import wandb

_ABORT_TIMEOUT_S = 10.0
_LEVELS = {"info": "INFO", "warning": "WARN", "error": "ERROR"}


class WandbBackend:
    """Writes to Weights & Biases. The module's docstring describes the form of each record."""

    FORMS: ClassVar[dict[str, str]] = FORMS

    _context: RunContext
    _run: wandb.Run
    _backend_run_id: str
    _directory: Path
    _items: ItemStore
    _goals: Goals

    def __init__(self) -> None:
        self._next = 0
        self._broken = False
        self._server_has = 0
        self._attempt = 0
        self._lowest: Coverage | None = None

    def open(self, *, context: RunContext) -> dict[str, str]:
        """Create the run, or open the known one again. Offline, it is written again.

        Raises:
            InvalidArgumentError: the run is online and W&B has no API key.
        """
        self.__init__()  # type: ignore[misc]
        self._context = context
        self._attempt = context.attempt
        savedir = context.savedir
        self._backend_run_id = to_backend_run_id(context.facts.run_id)
        make_private_dir(savedir)
        resend = _must_send_again(context)
        is_offline = service.prepare(savedir, offline=bool(context.spec.options.get("offline_mode")))
        synced = offline.clear(savedir, self._backend_run_id, context.known.get("directory")) if is_offline else None
        self._next = synced.next_ordinal if synced else 0 if resend else context.resumed_at
        self._run = init_run(context, savedir, self._backend_run_id, offline=is_offline)
        try:
            self._set_up(synced)
        except BaseException:
            with contextlib.suppress(Exception):
                service.finish(self._run, None, _ABORT_TIMEOUT_S)
            raise
        known = {"run_id": self._backend_run_id, "experiment_id": self._run.project, "directory": str(self._directory)}
        if not is_offline and self._run.url:
            known["url"] = self._run.url
        if synced is not None and (synced.warning or "warning" in context.known):
            known["warning"] = synced.warning
        return known | {"redeliver_from": str(self._next)}

    def _set_up(self, synced: Synced | None) -> None:
        """Prepare the run for the first entry."""
        run, context = self._run, self._context
        self._directory = Path(run.settings.sync_dir)
        offline.begin(self._directory)
        if synced is not None:
            offline.hide(self._directory, self._backend_run_id)
            if synced.warning:
                run.write_logs(f"[ranklog] warning: {synced.warning}")
        run.define_metric("step", hidden=True)
        run.define_metric("*", step_metric="step")
        self._server_has = run.starting_step
        self._items = ItemStore(context, run, self._directory / "ranklog")
        self._goals = Goals(run)
        self._configure(run_facts(context.facts))
        for entry in earlier_entries(context, below=self._next):
            self._observe(entry.record)
        self._goals.write()

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        """Hand entries to W&B's client. Those that it accepted in an earlier try are skipped."""
        for entry in entries:
            if entry.ordinal >= self._next:
                self._store(entry)
                self._next = entry.ordinal + 1
        self._goals.write()

    def close(self, *, status: Status | None, timeout_s: float) -> None:
        """Finish the run. None marks it as preempted, which in W&B means that it continues later.

        Raises:
            TimeoutError: W&B did not finish in time; its process was killed.
            ConnectionError: W&B's process had died before; the run has to be opened again.
        """
        if self._broken:
            raise ConnectionError("W&B's process died: everything is sent again when the run opens again")
        self._broken = True
        service.finish(self._run, status, timeout_s)
        offline.finish(self._directory, self._next)
        offline.show(self._directory, self._backend_run_id)

    def _observe(self, record: Record) -> None:
        """Read a record, which W&B may already have."""
        match record:
            case Metrics():
                self._goals.add(record, self._attempt)
                self._show_coverage(record.coverage)
            case MetricInfo():
                self._goals.set_goal(record)
            case Item():
                self._items.restore(record)
            case Params():
                self._configure(record.values)
            case Attempt():
                self._attempt = record.attempt
                self._configure(attempt_facts(record))
            case JobFacts():
                self._configure(facts_of(record))

    def _store(self, entry: Entry) -> None:
        record = entry.record
        self._observe(record)
        match record:
            case Metrics():
                row = {to_column(name): value for name, value in record.values.items()}
                self._log(row | _partial(record.coverage), record, entry.ordinal)
            case Item():
                store = _STORES.get(record.kind, WandbBackend._store_item)
                store(self, record, entry.ordinal)
            case Event():
                self._run.write_logs(f"[ranklog] {record.level}: {record.text}{_where(record)}")
            case End():
                if record.reason:
                    self._run.summary["ranklog/reason"] = record.reason

    def _store_item(self, item: Item, ordinal: int) -> None:
        try:
            row = self._items.row(item, ordinal)
            if row is not None:
                self._log(row, item, ordinal)
                return
        except (TypeError, ValueError):
            pass  # W&B's own checks refused it, but accept it as an artifact
        self._items.store_artifact(item, ordinal)

    def _store_alert(self, item: Item, ordinal: int) -> None:
        """Send an alert, unless the server already has it."""
        if ordinal < self._server_has:
            return
        text = self._context.content(item.files[0]).decode("utf-8", "replace")
        wait_s = item.meta.get("wait_duration")
        level = _LEVELS.get(str(item.meta.get("level")), "INFO")
        self._run.alert(item.name, text, level=level, wait_duration=float(wait_s or 0))
        # This row counts, so the server's number of rows says later whether it has the alert.
        self._log({"ranklog/alert": item.name}, item, ordinal)

    def _log(self, row: dict[str, Any], record: Metrics | Item, ordinal: int) -> None:
        if ordinal >= self._server_has:
            row |= {"step": record.step, "_timestamp": record.time_ns / 1e9}
            if self._attempt:
                row["ranklog/attempt"] = self._attempt
            self._run.log(row, step=ordinal, commit=True)

    def _show_coverage(self, coverage: Coverage | None) -> None:
        if coverage is not None and (self._lowest is None or coverage.share < self._lowest.share):
            self._lowest = coverage
            self._run.summary["ranklog/coverage"] = str(coverage)

    def _configure(self, values: Mapping[str, Scalar]) -> None:
        changed = merge_params(self._run.config.as_dict(), values)
        self._run.config.update(changed, allow_val_change=True)


_STORES: dict[str, Callable[[WandbBackend, Item, int], None]] = {"alert": WandbBackend._store_alert}
"""The function that stores a kind which is neither a value of the history nor an artifact."""


def _partial(coverage: Coverage | None) -> dict[str, int]:
    if coverage is None or coverage.all_contributed:
        return {}
    ranks = {"answered": coverage.answered, "contributed": coverage.contributed, "world_size": coverage.world_size}
    return {f"ranklog/{name}": count for name, count in ranks.items()}


def _where(event: Event) -> str:
    parts = [f"{word} {value}" for word, value in (("rank", event.rank), ("step", event.step)) if value is not None]
    return f" ({', '.join(parts)})" if parts else ""


def _must_send_again(context: RunContext) -> bool:
    """Return whether an online run was not finished, so that W&B may not have sent everything it received."""
    directory = context.known.get("directory")
    return directory is not None and not offline.is_finished(Path(directory))
