"""The MLflow backend: one MLflow run per ranklog run, on a server or in a SQLite file below ``savedir``.

Records that are delivered twice show once: metrics carry the journal's time, and names of artifacts and models follow
from their entries. When MLflow cannot store something as it was logged, tags say so:

- ``ranklog.coverage``: the lowest coverage of all reduced metrics, as ``2/2`` or in words;
  ``ranklog.coverage.partial_steps``: the number of steps for which some ranks did not answer;
- ``ranklog.infinite.<key>``: the metric was infinite, which MLflow stores as ±1.797e308; holds the last such step;
- ``param.<key>.<attempt>``: a parameter's changed value, because MLflow keeps the first one;
- ``ranklog.superseded.<attempt>``: the metrics of which this attempt replaces points of earlier attempts, with the
  step from which on it does. MLflow cannot delete points; a point's attempt follows from its time;
- ``ranklog.event.<code>``: text of the last event with that code; ``ranklog.attempt``: number of the attempt;
- ``ranklog.name.<digest>``: a name that was too long for MLflow;
- ``ranklog.goal.<key>``: whether smaller or larger values of a metric are better; ``ranklog.best.<key>``: the best
  value so far and its step;
- ``ranklog.alert.<title>``: text of the last alert with that title;
- ``ranklog.delivered_metrics``: the entry of the journal up to which MLflow has the metrics.

The artifact ``params.json`` holds all parameters when one was changed or is too long. Among the points of one metric
and step, later ones get a later millisecond, so that MLflow shows the last one as the latest (`times`). Blocks for
disk and network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import ClassVar

import msgspec

from ranklog.abc import Refused, RunContext
from ranklog.backends.mlflow.items import FORMS, MODELS, ItemStore
from ranklog.backends.mlflow.metrics import MetricStore
from ranklog.backends.mlflow.models import Latest
from ranklog.backends.mlflow.names import to_key
from ranklog.backends.mlflow.params import ParamStore
from ranklog.backends.mlflow.run import MlflowRun, open_run
from ranklog.backends.mlflow.run_database import choose_database
from ranklog.backends.mlflow.trouble import try_each
from ranklog.backends.shared.history import earlier_entries
from ranklog.model.facts import JobFacts, facts_of
from ranklog.model.record import Attempt, Entry, Event, Item, Metrics, Params, Status


class MlflowBackend:
    """Writes to MLflow. The module's docstring lists the tags."""

    FORMS: ClassVar[dict[str, str]] = FORMS

    _run: MlflowRun
    _metrics: MetricStore
    _params: ParamStore
    _items: ItemStore

    def __init__(self) -> None:
        self._attempt = 0

    def open(self, *, context: RunContext) -> dict[str, str]:
        """Connect and create the run, or open the known one again. A new database gets the whole run."""
        database = choose_database(context)
        if database.is_new:
            context = msgspec.structs.replace(context, known={}, resumed_at=0)
        self._run = open_run(context, database.uri)
        self._metrics = MetricStore(self._run, context.facts.created_ns)
        self._items = ItemStore(context, self._run)
        self._params = ParamStore(self._run, self._items.upload)
        attempt = 0
        for entry in earlier_entries(context):
            match entry.record:
                case Item() as item:
                    self._items.restore(item)
                case Params() as params:
                    self._params.restore(params)
                case Attempt(attempt=number):
                    attempt = number
            self._metrics.restore(entry, attempt)
        self._attempt = context.attempt
        again = {"redeliver_from": "0"} if database.is_new else {}
        return self._run.facts() | {"warning": database.warning} | again

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        """Store entries.

        Raises:
            Refused: MLflow does not accept some of them; the others are stored.
            MlflowUnavailableError: MLflow or the run accepts nothing now. The message says what helps.
        """
        with self._run.explained():
            self._deliver(entries)

    def _deliver(self, entries: Sequence[Entry]) -> None:
        refused: dict[int, str] = {}
        for of_one_attempt in _by_attempt(entries):
            metrics_at_models = self._look_ahead(of_one_attempt)
            others = [entry for entry in of_one_attempt if not isinstance(entry.record, Metrics)]
            if others and isinstance(others[0].record, Attempt):
                self._try_each(self._deliver_others, [others.pop(0)], refused)
            self._items.metrics_at_models = metrics_at_models
            self._try_each(self._deliver_metrics, [e for e in of_one_attempt if isinstance(e.record, Metrics)], refused)
            for entry in others:
                self._try_each(self._deliver_others, [entry], refused)
        if any(isinstance(entry.record, Item) for entry in entries):
            self._run.ensure_active()  # MLflow's client accepts any page as the answer to an upload
        self._metrics.forget_times()
        if refused:
            raise Refused.together(refused)

    def close(self, *, status: Status | None, timeout_s: float) -> None:
        """Set the run's status; None leaves it running."""
        del timeout_s  # The one request has its own time limit.
        if status is not None:
            with self._run.explained():
                self._run.client.set_terminated(self._run.backend_run_id, status=status)

    def _try_each(
        self, deliver: Callable[[Sequence[Entry]], None], entries: Sequence[Entry], refused: dict[int, str]
    ) -> None:
        try_each(deliver, entries, refused, ensure_active=self._run.ensure_active)

    def _look_ahead(self, entries: Sequence[Entry]) -> dict[int, dict[str, Latest]]:
        """Read all metrics; returns the newest value of each metric at each model, by the ordinal of the model."""
        metrics_at_models: dict[int, dict[str, Latest]] = {}
        attempt = self._attempt
        for entry in entries:
            if isinstance(entry.record, Attempt):
                attempt = entry.record.attempt
            self._metrics.look_ahead(entry, attempt)
            if isinstance(entry.record, Item) and entry.record.kind in MODELS:
                metrics_at_models[entry.ordinal] = dict(self._metrics.latest)
        return metrics_at_models

    def _deliver_metrics(self, entries: Sequence[Entry]) -> None:
        self._metrics.store(entries, self._attempt)

    def _deliver_others(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            match entry.record:
                case Params() as params:
                    self._params.store(params, self._attempt)
                case Item() as item:
                    self._items.store(item, entry.ordinal)
                case Event(code=code, text=text):
                    self._run.set_tags({to_key(f"ranklog.event.{code}"): text})
                case Attempt(attempt=number):
                    self._attempt = number
                    self._run.set_tags({"ranklog.attempt": str(number)})
                case JobFacts() as job:
                    self._run.set_tags(_job_tags(job))


def _job_tags(job: JobFacts) -> dict[str, str]:
    """Return facts of the job. Those of git have the names that MLflow's UI shows."""
    tags = {to_key(name): str(value) for name, value in facts_of(job).items()}
    if job.git is not None:
        tags["mlflow.source.git.commit"] = job.git.commit
        if job.git.branch:
            tags["mlflow.source.git.branch"] = job.git.branch
        if job.git.remote:
            tags["mlflow.source.git.repoURL"] = job.git.remote
    return tags


def _by_attempt(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Cut entries into parts that each begin with an `Attempt`, except perhaps for the first part."""
    starts = [index for index, entry in enumerate(entries) if isinstance(entry.record, Attempt)]
    for start, end in pairwise([0, *starts, len(entries)]):
        if start < end:
            yield entries[start:end]
