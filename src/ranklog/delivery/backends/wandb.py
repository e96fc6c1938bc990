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
- A metric with a goal has its best value in the summary, by ``define_metric``. An alert is W&B's own alert, once, or
  again where its answer was lost.
- Parameters are the run's config, nested again at their dots. Facts of the run are below ``ranklog`` there. Events
  are lines of the run's log.
- A metric that has the name of one of W&B's own columns (``step``, ``_step``, ``_runtime``, ``_timestamp``,
  ``_wandb``) becomes ``user/<name>``.

Nothing shows twice. An offline directory that was left open is deleted and written anew from the first entry (W&B
loses rows when it is killed, and would keep only one directory of several). Online, the server says which rows it
has, and those are not sent again. Never asks for a login. Blocks for W&B's client, at the end at most for the time
it is given.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ranklog.delivery.backends import wandb_service
from ranklog.delivery.backends.base import RunContext
from ranklog.delivery.backends.wandb_config import merge_params
from ranklog.delivery.backends.wandb_items import ItemStore
from ranklog.delivery.backends.wandb_names import to_column, to_run_id
from ranklog.journal.layout import make_private_dir
from ranklog.model.facts import JobFacts, facts_of
from ranklog.model.record import Attempt, Coverage, End, Entry, Event, Item, MetricInfo, Metrics, Params, Status
from ranklog.model.spec import Scalar

if TYPE_CHECKING:
    import wandb

FINISHED_MARK = "ranklog-finished"
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
    _items: ItemStore

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
        run_id = to_run_id(context.facts.run_id)
        make_private_dir(savedir)
        again = _must_send_again(context)
        offline = wandb_service.prepare(savedir, offline=bool(context.spec.options.get("offline_mode")))
        if offline:
            _discard(savedir, run_id)
        self._run = run = _init(context, savedir, run_id, offline)
        run.define_metric("step", hidden=True)
        run.define_metric("*", step_metric="step")
        self._server_has = run.starting_step
        directory = Path(run.settings.sync_dir)
        (directory / FINISHED_MARK).unlink(missing_ok=True)
        self._items = ItemStore(context, run, directory / "ranklog")
        self._configure(_facts(context))
        known = {"run_id": run_id, "experiment_id": run.project, "directory": str(directory)}
        if not offline and run.url:
            known["url"] = run.url
        if offline or again:
            known["redeliver_from"] = "0"
        return known

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        """Hand entries to W&B's client; those of an earlier try that it took are passed over."""
        for entry in entries:
            if entry.ordinal >= self._next:
                self._store(entry)
                self._next = entry.ordinal + 1

    def close(self, *, status: Status | None, timeout_s: float) -> None:
        """Finish the run; None marks it as preempted, which in W&B means that it goes on later.

        Raises:
            TimeoutError: W&B did not finish in time; its process was ended.
            ConnectionError: its process had ended before; the run has to be opened again.
        """
        if self._broken:
            raise ConnectionError("W&B's process ended too early: everything is sent again at the next open")
        self._broken = True
        wandb_service.finish(self._run, status, timeout_s)
        (Path(self._run.settings.sync_dir) / FINISHED_MARK).touch()

    def _store(self, entry: Entry) -> None:
        record = entry.record
        match record:
            case Metrics():
                row = {to_column(name): value for name, value in record.values.items()}
                self._note_coverage(record, row)
                self._log(row, record, entry.ordinal)
            case MetricInfo(goal="min" | "max" as goal):
                self._set_goal(to_column(record.name), goal)
            case Item(kind="alert"):
                self._alert(record, entry.ordinal)
            case Item():
                self._store_item(record, entry.ordinal)
            case Params():
                self._configure(record.values)
            case Attempt():
                self._attempt = record.attempt
                self._configure(_attempt_facts(record))
            case JobFacts():
                self._configure(facts_of(record))
            case Event():
                self._run.write_logs(f"[ranklog] {record.level}: {record.text}{_where(record)}")
            case End():
                if record.reason:
                    self._run.summary["ranklog/reason"] = record.reason

    def _set_goal(self, column: str, goal: str) -> None:
        if "*" in column:
            # W&B takes it for a pattern, of other metrics too, and refuses it elsewhere than at the end.
            self._run.write_logs(f"[ranklog] warning: W&B cannot keep the {goal} of {column}: its name has a *")
            return
        # A dot would be a way into a mapping.
        self._run.define_metric(column.replace(".", "\\."), step_metric="step", summary=f"{goal},last")

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

    def _note_coverage(self, record: Metrics, row: dict[str, Any]) -> None:
        coverage = record.coverage
        if coverage is None:
            return
        if not coverage.all_contributed:
            ranks = {"answered": coverage.answered, "contributed": coverage.contributed}
            ranks["world_size"] = coverage.world_size
            row |= {f"ranklog/{what}": count for what, count in ranks.items()}
        if self._lowest is None or coverage.share < self._lowest.share:
            self._lowest = coverage
            self._run.summary["ranklog/coverage"] = str(coverage)

    def _configure(self, values: Mapping[str, Scalar]) -> None:
        changed = merge_params(self._run.config.as_dict(), values)
        self._run.config.update(changed, allow_val_change=True)


def _where(event: Event) -> str:
    parts = [f"{word} {value}" for word, value in (("rank", event.rank), ("step", event.step)) if value is not None]
    return f" ({', '.join(parts)})" if parts else ""


def _facts(context: RunContext) -> dict[str, Scalar]:
    facts = context.facts
    return {"ranklog.run_id": facts.run_id, "ranklog.command": " ".join(facts.command)}


def _attempt_facts(attempt: Attempt) -> dict[str, Scalar]:
    place = attempt.place
    return {
        "ranklog.attempt": attempt.attempt,
        "ranklog.host": attempt.host,
        "ranklog.world_size": place.world_size,
        "ranklog.node_count": place.node_count,
        "ranklog.launcher": place.launcher,
        "ranklog.job_id": place.job_id,
    }


def _init(context: RunContext, savedir: Path, run_id: str, offline: bool) -> wandb.Run:
    import wandb

    settings = wandb.Settings(
        console="off",
        silent=True,
        # This process is not the one that trains: its code and its load would mislead.
        disable_code=True,
        x_disable_stats=True,
        program=context.facts.script or None,
        use_dot_wandb=False,
    )
    try:
        return wandb.init(
            project=str(context.spec.options["project_name"]),
            dir=str(savedir),
            id=run_id,
            name=_given(context, "run_name", "WANDB_NAME", context.facts.run_id),
            group=_given(context, "group", "WANDB_RUN_GROUP", context.facts.group),
            job_type=_given(context, "job_type", "WANDB_JOB_TYPE"),
            notes=_given(context, "notes", "WANDB_NOTES"),
            tags=tags.split(",") if (tags := _given(context, "tags", "WANDB_TAGS")) else None,
            resume="allow",
            mode="offline" if offline else None,
            reinit="create_new",
            settings=settings,
        )
    except BaseException:
        wandb_service.stop_if_idle()
        raise


def _given(context: RunContext, option: str, variable: str, otherwise: str = "") -> str | None:
    """The logger's own setting, else W&B's variable, which its client reads by itself, else what ranklog knows."""
    given = context.spec.options.get(option)
    if given:
        return str(given)
    return None if os.environ.get(variable) else otherwise or None


def _must_send_again(context: RunContext) -> bool:
    """Whether an online run was left without an orderly end, so that W&B may not have sent all it was given."""
    directory = context.known.get("directory")
    return directory is not None and not (Path(directory) / FINISHED_MARK).exists()


def _discard(savedir: Path, run_id: str) -> None:
    """Delete the offline directories of this run: the journal has all that is in them, and more."""
    for directory in (savedir / "wandb").glob("offline-run-*"):
        if (directory / f"run-{run_id}.wandb").is_file():
            shutil.rmtree(directory)
