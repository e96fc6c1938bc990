"""The Weights & Biases backend: one W&B run for a ranklog run, online or as an offline directory under ``savedir``.

Takes entries of the journal, hands them to W&B's own client, which writes and uploads from a process of its own.

- W&B's step is the entry's number in the journal, so that it only grows; the user's step is the column ``step``,
  the x axis of every chart. A smaller step than before (evaluation, a restart at an older checkpoint) is kept.
- Each `Metrics` record is one row of the history. Where not every rank had a value, the row says so by
  ``ranklog/answered``, ``ranklog/contributed`` and ``ranklog/world_size``; the lowest coverage of the run is in the
  summary as ``ranklog/coverage``, the status as ``ranklog/status``. A record that corrects an earlier one is a later
  row of the same ``step``: W&B's rows cannot be changed.
- From the second attempt of a run on, each row has the column ``ranklog/attempt``: where an attempt went back to an
  earlier step, its rows count instead of those without it, or with a lower one, of the same ``step`` and above.
- A metric with a goal has its best value in the summary (`wandb_goals`). An alert is W&B's own alert, once, or
  again where its answer was lost.
- Parameters are the run's config, nested again at their dots. Facts of the run are below ``ranklog`` there. Events
  are lines of the run's log.
- A metric that has the name of one of W&B's own columns (``step``, ``_step``, ``_runtime``, ``_timestamp``,
  ``_wandb``) becomes ``user/<name>``.

Nothing shows twice. An offline directory that was left open, or that goes on, is deleted and written anew from the
first entry (W&B loses rows when it is killed), unless it was synced: then another directory goes on after it
(`offline`). Online, the server says which rows it has, and those are not sent again. Never asks for a login.
Blocks for W&B's client, at the end at most for the time it is given.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from ranklog.abc import RunContext
from ranklog.backends.shared.history import earlier_entries
from ranklog.backends.wandb import offline, service
from ranklog.backends.wandb.config import attempt_facts, merge_params, run_facts
from ranklog.backends.wandb.goals import Goals
from ranklog.backends.wandb.init import init_run
from ranklog.backends.wandb.items import ItemStore
from ranklog.backends.wandb.names import to_column, to_run_id
from ranklog.backends.wandb.offline import Taken
from ranklog.journal.layout import make_private_dir
from ranklog.model.facts import JobFacts, facts_of
from ranklog.model.record import Attempt, Coverage, End, Entry, Event, Item, MetricInfo, Metrics, Params, Record, Status
from ranklog.model.spec import Scalar

if TYPE_CHECKING:
    import wandb

_GIVE_UP_S = 10.0
_LEVELS = {"info": "INFO", "warning": "WARN", "error": "ERROR"}


class WandbBackend:
    """Writes to Weights & Biases; see the module for what goes where."""

    FORMS: ClassVar[dict[str, str]] = {
        "metric": "history",
        "param": "config",
        "text": "Html",
        "dict": "artifact",
        "table": "Table",
        "histogram": "Histogram",
        "image": "Image",
        "figure": "Image or Plotly",
        "audio": "Audio",
        "video": "Video",
        "html": "Html",
        "artifact": "artifact",
        "dataset": "artifact of type dataset",
        "torch": "artifact",
        "model": "artifact of type model",
        "best_model": "artifact of type model",
        "graph": "Graph",
        "embedding": "Table",
        "pr_curve": "chart",
        "alert": "alert",
        "prov_documents": "artifact",
    }

    _context: RunContext
    _run: wandb.Run
    _run_id: str
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
        """Open the run, or the known one again; offline it is written anew.

        Raises:
            InvalidArgumentError: online is asked for and there is no login.
        """
        self.__init__()  # type: ignore[misc]
        self._context = context
        self._attempt = context.attempt
        savedir = context.savedir
        self._run_id = run_id = to_run_id(context.facts.run_id)
        make_private_dir(savedir)
        again = _must_send_again(context)
        is_offline = service.prepare(savedir, offline=bool(context.spec.options.get("offline_mode")))
        taken = offline.clear(savedir, run_id, context.known.get("directory")) if is_offline else None
        self._next = taken.next_ordinal if taken else 0 if again else context.resumed_at
        self._run = init_run(context, savedir, run_id, offline=is_offline)
        try:
            self._set_up(taken)
        except BaseException:
            with contextlib.suppress(Exception):
                service.finish(self._run, None, _GIVE_UP_S)
            raise
        known = {"run_id": run_id, "experiment_id": self._run.project, "directory": str(self._directory)}
        if not is_offline and self._run.url:
            known["url"] = self._run.url
        if taken is not None and (taken.warning or "warning" in context.known):
            known["warning"] = taken.warning
        return known | {"redeliver_from": str(self._next)}

    def _set_up(self, taken: Taken | None) -> None:
        """Say what W&B has to know before the first entry comes."""
        run, context = self._run, self._context
        self._directory = Path(run.settings.sync_dir)
        offline.begin(self._directory)
        if taken is not None:
            offline.hide(self._directory, self._run_id)
            if taken.warning:
                run.write_logs(f"[ranklog] warning: {taken.warning}")
        run.define_metric("step", hidden=True)
        run.define_metric("*", step_metric="step")
        self._server_has = run.starting_step
        self._items = ItemStore(context, run, self._directory / "ranklog")
        self._goals = Goals(run)
        self._configure(run_facts(context.facts))
        for entry in earlier_entries(msgspec.structs.replace(context, resumed_at=self._next)):
            self._learn(entry.record)
        self._goals.write()

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        """Hand entries to W&B's client; those of an earlier try that it took are passed over."""
        for entry in entries:
            if entry.ordinal >= self._next:
                self._store(entry)
                self._next = entry.ordinal + 1
        self._goals.write()

    def close(self, *, status: Status | None, timeout_s: float) -> None:
        """Finish the run; None marks it as preempted, which in W&B means that it goes on later.

        Raises:
            TimeoutError: W&B did not finish in time; its process was ended.
            ConnectionError: its process had ended before; the run has to be opened again.
        """
        if self._broken:
            raise ConnectionError("W&B's process ended too early: everything is sent again at the next open")
        self._broken = True
        service.finish(self._run, status, timeout_s)
        offline.finish(self._directory, self._next)
        offline.show(self._directory, self._run_id)

    def _learn(self, record: Record) -> None:
        """Take notice of what is said about the run, also of what W&B has already."""
        match record:
            case Metrics():
                self._goals.note(record, self._attempt)
                self._note_coverage(record.coverage)
            case MetricInfo():
                self._goals.set(record)
            case Item():
                self._items.learn(record)
            case Params():
                self._configure(record.values)
            case Attempt():
                self._attempt = record.attempt
                self._configure(attempt_facts(record))
            case JobFacts():
                self._configure(facts_of(record))

    def _store(self, entry: Entry) -> None:
        record = entry.record
        self._learn(record)
        match record:
            case Metrics():
                row = {to_column(name): value for name, value in record.values.items()}
                self._log(row | _partial(record.coverage), record, entry.ordinal)
            case Item(kind="alert"):
                self._alert(record, entry.ordinal)
            case Item():
                self._store_item(record, entry.ordinal)
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
            pass  # W&B's checks refused it; as an artifact it is kept
        self._items.store_artifact(item, ordinal)

    def _alert(self, item: Item, ordinal: int) -> None:
        """Once: not again to a server that was told of it."""
        if ordinal < self._server_has:
            return
        text = self._context.content(item.files[0]).decode("utf-8", "replace")
        wait_s = item.meta.get("wait_duration")
        level = _LEVELS.get(str(item.meta.get("level")), "INFO")
        self._run.alert(item.name, text, level=level, wait_duration=float(wait_s or 0))
        # A row of its own, so that the number of rows says that the server was told.
        self._log({"ranklog/alert": item.name}, item, ordinal)

    def _log(self, row: dict[str, Any], record: Metrics | Item, ordinal: int) -> None:
        if ordinal >= self._server_has:
            row |= {"step": record.step, "_timestamp": record.time_ns / 1e9}
            if self._attempt:
                row["ranklog/attempt"] = self._attempt
            self._run.log(row, step=ordinal, commit=True)

    def _note_coverage(self, coverage: Coverage | None) -> None:
        if coverage is not None and (self._lowest is None or coverage.share < self._lowest.share):
            self._lowest = coverage
            self._run.summary["ranklog/coverage"] = str(coverage)

    def _configure(self, values: Mapping[str, Scalar]) -> None:
        changed = merge_params(self._run.config.as_dict(), values)
        self._run.config.update(changed, allow_val_change=True)


def _partial(coverage: Coverage | None) -> dict[str, int]:
    if coverage is None or coverage.all_contributed:
        return {}
    ranks = {"answered": coverage.answered, "contributed": coverage.contributed, "world_size": coverage.world_size}
    return {f"ranklog/{what}": count for what, count in ranks.items()}


def _where(event: Event) -> str:
    parts = [f"{word} {value}" for word, value in (("rank", event.rank), ("step", event.step)) if value is not None]
    return f" ({', '.join(parts)})" if parts else ""


def _must_send_again(context: RunContext) -> bool:
    """Whether an online run was left without an orderly end, so that W&B may not have sent all it was given."""
    directory = context.known.get("directory")
    return directory is not None and not offline.is_finished(Path(directory))
