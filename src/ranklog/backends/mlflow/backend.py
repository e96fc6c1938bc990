"""The MLflow backend: one MLflow run for a ranklog run, on a server or on SQLite under ``savedir``.

Takes entries of the journal, writes them by `MlflowClient`. Guarantees: what is delivered again shows once
(metrics carry the journal's time, artifacts and models have names that follow from the entry); nothing is
dropped in silence: what MLflow would change is marked by tags. These are:

- ``ranklog.coverage``: the lowest coverage behind the reduced metrics, as ``2/2`` or in words, and
  ``ranklog.coverage.partial_steps``: how many steps some ranks did not answer for;
- ``ranklog.infinite.<key>``: the metric was infinite, which MLflow stores as ±1.797e308; tells the last step;
- ``param.<key>.<attempt>``: a parameter's changed value, since MLflow keeps the first one;
- ``ranklog.superseded.<attempt>``: from which step on, name by name, this attempt's points count instead of those of
  earlier attempts, which MLflow cannot delete; a point's attempt follows from its time;
- ``ranklog.event.<code>``: text of the last event of that code; ``ranklog.attempt``: number of the attempt;
- ``ranklog.name.<digest>``: a name that was too long for MLflow;
- ``ranklog.goal.<key>``: whether smaller or larger values of a metric are better, and ``ranklog.best.<key>``: the best
  one so far and its step;
- ``ranklog.alert.<title>``: text of the last alert of that title;
- ``ranklog.delivered_metrics``: up to which entry of the journal the metrics are there.

A parameter that is too long or was changed is whole in the artifact ``params.json``. Of one name and step, what was
logged later has a later millisecond, so that MLflow takes it for the latest (`mlflow_times`). Blocks for disk and
network.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import msgspec

from ranklog.abc import Refused, RunContext
from ranklog.backends.mlflow.batches import METRICS_A_BATCH, PAIRS_A_BATCH, in_requests
from ranklog.backends.mlflow.datasets import store_dataset
from ranklog.backends.mlflow.goals import Goals
from ranklog.backends.mlflow.items import ItemStore
from ranklog.backends.mlflow.models import Latest, store_model
from ranklog.backends.mlflow.names import cut_name_tag, to_key
from ranklog.backends.mlflow.run import MlflowRun, open_run
from ranklog.backends.mlflow.times import Times
from ranklog.backends.mlflow.trouble import is_too_large, try_each
from ranklog.backends.shared.history import earlier_entries
from ranklog.backends.shared.run_facts import Coverages, Superseded
from ranklog.model.as_json import nonfinite_values_as_text
from ranklog.model.facts import JobFacts, facts_of
from ranklog.model.record import Attempt, Entry, Event, File, Item, MetricInfo, Metrics, Params, Status
from ranklog.model.spec import Scalar

if TYPE_CHECKING:
    from mlflow.entities import Metric

DELIVERED_TAG = "ranklog.delivered_metrics"
MAX_PARAM_CHARS = 6000
MODELS = ("model", "best_model")

_key = functools.lru_cache(maxsize=65536)(to_key)


class MlflowBackend:
    """Writes to MLflow; see the module for what is marked how."""

    FORMS: ClassVar[dict[str, str]] = {
        "metric": "metric",
        "param": "parameter",
        "table": "table",
        "image": "image",
        "figure": "PNG, or page and JSON",
        "dataset": "dataset of the run's inputs",
        "model": "logged model",
        "best_model": "logged model",
        "pr_curve": "JSON and page",
        "alert": "tag and text",
    }

    _context: RunContext
    _run: MlflowRun
    _items: ItemStore

    def __init__(self) -> None:
        self._attempt = 0
        self._superseded = Superseded()
        self._coverages = Coverages()
        self._params: dict[str, Scalar] = {}
        self._next_metrics = 0
        self._times = Times()
        self._at_once = METRICS_A_BATCH
        self._goals = Goals()
        self._next_goals = 0
        self._latest: dict[str, Latest] = {}
        self._at_models: dict[int, dict[str, Latest]] = {}

    def open(self, *, context: RunContext) -> dict[str, str]:
        """Connect and make the run, or open the known one again."""
        self._context = context
        self._run = open_run(context)
        created, _, upto = self._run.tags.get(DELIVERED_TAG, "").partition("/")
        if created == str(context.facts.created_ns) and upto.isdecimal():
            self._next_metrics = int(upto)
        earlier: list[Item] = []
        for entry in earlier_entries(context):
            if isinstance(entry.record, Item):
                earlier.append(entry.record)
            elif isinstance(entry.record, Params):
                self._params |= entry.record.values
            elif isinstance(entry.record, Metrics):
                self._coverages.note(entry.record)
                self._superseded.note(entry.record, self._attempt)
                self._times.note(entry.ordinal, entry.record)
                self._note_latest(entry)
                self._goals.note(entry.record, self._attempt)
            elif isinstance(entry.record, MetricInfo):
                self._goals.set(entry.record)
            elif isinstance(entry.record, Attempt):
                self._attempt = entry.record.attempt
        self._attempt = context.attempt
        self._items = ItemStore(context, self._run, earlier)
        return self._run.facts()

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        """Store entries.

        Raises:
            Refused: MLflow does not take some of them; the others are stored.
            MlflowUnavailableError: MLflow or the run takes nothing now; says what helps.
        """
        with self._run.explained():
            self._deliver(entries)

    def _deliver(self, entries: Sequence[Entry]) -> None:
        refused: dict[int, str] = {}
        for of_one_attempt in _by_attempt(entries):
            at_models = self._look_through(of_one_attempt)
            others = [entry for entry in of_one_attempt if not isinstance(entry.record, Metrics)]
            if others and isinstance(others[0].record, Attempt):
                self._try_each(self._deliver_other, [others.pop(0)], refused)
            self._at_models = at_models
            self._try_each(self._deliver_metrics, [e for e in of_one_attempt if isinstance(e.record, Metrics)], refused)
            for entry in others:
                self._try_each(self._deliver_other, [entry], refused)
        if any(isinstance(entry.record, Item) for entry in entries):
            self._run.ensure_active()  # for MLflow's client any page is the answer to an upload
        self._times.forget(below=self._next_metrics)
        if refused:
            raise Refused.together(refused)

    def close(self, *, status: Status | None, timeout_s: float) -> None:
        """Set the run's status; None leaves it running."""
        del timeout_s  # A request's own time limit bounds the one call.
        if status is not None:
            with self._run.explained():
                self._run.client.set_terminated(self._run.run_id, status=status)

    def _try_each(
        self, deliver: Callable[[Sequence[Entry]], None], entries: Sequence[Entry], refused: dict[int, str]
    ) -> None:
        try_each(deliver, entries, refused, run_takes=self._run.ensure_active)

    def _deliver_metrics(self, entries: Sequence[Entry]) -> None:
        batch: list[Metric] = []
        tags: dict[str, str] = {}
        for entry in entries:
            if not isinstance(entry.record, Metrics):
                continue
            tags |= _marks(entry.record)
            self._coverages.note(entry.record)
            self._superseded.note(entry.record, self._attempt)
            if entry.ordinal < self._next_metrics:
                continue
            for metric in self._points(entry.ordinal, entry.record):
                if len(batch) == METRICS_A_BATCH:
                    self._send_metrics(batch, upto=entry.ordinal)
                    batch = []
                batch.append(metric)
        if batch:
            self._send_metrics(batch, upto=entries[-1].ordinal + 1)
        facts = self._coverages.facts() | self._superseded.facts()
        self._run.set_tags(tags | {name: str(value) for name, value in facts.items()} | self._goals.tags())

    def _look_through(self, entries: Sequence[Entry]) -> dict[int, dict[str, Latest]]:
        """Note what metrics are about and how they stand; gives the newest values at each model."""
        at_models: dict[int, dict[str, Latest]] = {}
        attempt = self._attempt
        for entry in entries:
            record = entry.record
            if isinstance(record, Attempt):
                attempt = record.attempt
            elif isinstance(record, Metrics):
                self._times.note(entry.ordinal, record)
                self._note_latest(entry)
            elif isinstance(record, Item) and record.kind in MODELS:
                at_models[entry.ordinal] = dict(self._latest)
            if entry.ordinal < self._next_goals:
                continue  # comes again after trouble
            self._next_goals = entry.ordinal + 1
            if isinstance(record, Metrics):
                self._goals.note(record, attempt)
            elif isinstance(record, MetricInfo):
                self._goals.set(record)
        return at_models

    def _note_latest(self, entry: Entry) -> None:
        if isinstance(entry.record, Metrics):
            for name, value, time_ms in self._times.points(entry.ordinal, entry.record):
                self._latest[name] = Latest(value, time_ms, entry.record.step)

    def _points(self, ordinal: int, record: Metrics) -> list[Metric]:
        from mlflow.entities import Metric

        points = self._times.points(ordinal, record)
        return [Metric(_key(name), value, time_ms, record.step) for name, value, time_ms in points]

    def _send_metrics(self, batch: Sequence[Metric], *, upto: int) -> None:
        """Send metrics together with the mark that entries below ``upto`` are there.

        MLflow keeps equal metrics once by itself, but searches the run's whole history for each of them:
        the mark spares that when a cursor was lost.
        """
        from mlflow.entities import RunTag
        from mlflow.exceptions import MlflowException

        mark = RunTag(DELIVERED_TAG, f"{self._context.facts.created_ns}/{upto}")
        left = batch
        while left:
            part = next(in_requests(left, lambda metric: (metric.key,), self._at_once))
            last = len(part) == len(left)
            try:
                self._run.client.log_batch(self._run.run_id, metrics=part, tags=[mark] if last else [])
            except MlflowException as error:
                if self._at_once == 1 or not is_too_large(error):
                    raise
                self._at_once //= 2  # a proxy before the server takes only so much
                continue
            left = left[len(part) :]
        self._next_metrics = upto

    def _deliver_other(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            record = entry.record
            if isinstance(record, Params):
                self._deliver_params(record)
            elif isinstance(record, Item) and record.kind in MODELS:
                store_model(self._context, self._run, record, entry.ordinal, self._at_models.get(entry.ordinal, {}))
            elif isinstance(record, Item) and record.kind == "dataset":
                store_dataset(self._run, record, self._context.content(record.files[0]))
            elif isinstance(record, Item):
                self._items.store(record, entry.ordinal)
                if record.kind == "alert":
                    text = self._context.content(record.files[0]).decode("utf-8", "replace")
                    self._run.set_tags({to_key(f"ranklog.alert.{record.name}"): f"{record.meta.get('level')}: {text}"})
            elif isinstance(record, Event):
                self._run.set_tags({to_key(f"ranklog.event.{record.code}"): record.text})
            elif isinstance(record, Attempt):
                self._attempt = record.attempt
                self._run.set_tags({"ranklog.attempt": str(record.attempt)})
            elif isinstance(record, JobFacts):
                self._run.set_tags(_job_tags(record))

    def _deliver_params(self, record: Params) -> None:
        from mlflow.entities import Param

        self._params |= record.values
        new: list[Param] = []
        tags: dict[str, str] = {}
        whole = False
        for name, value in record.values.items():
            key, text = to_key(name), str(value)
            shown = text[:MAX_PARAM_CHARS]
            changed = self._run.params.get(key, shown) != shown
            whole = whole or changed or len(text) > MAX_PARAM_CHARS
            if changed:
                tags[to_key(f"param.{name}.{self._attempt}")] = text
            elif key not in self._run.params:
                new.append(Param(key, shown))
            if tag := cut_name_tag(name):
                tags[tag] = name
        for batch in in_requests(new, lambda param: (param.key, param.value), PAIRS_A_BATCH):
            self._run.client.log_batch(self._run.run_id, params=batch)
            self._run.params.update({param.key: param.value for param in batch})
        self._run.set_tags(tags)
        if whole:
            content = msgspec.json.format(msgspec.json.encode(nonfinite_values_as_text(self._params)))
            self._items.upload([File("params.json", len(content), "", content)])


def _job_tags(job: JobFacts) -> dict[str, str]:
    """Facts of the job, those of git under the names that MLflow's own pages show."""
    tags = {to_key(name): str(value) for name, value in facts_of(job).items()}
    if job.git is not None:
        tags["mlflow.source.git.commit"] = job.git.commit
        if job.git.branch:
            tags["mlflow.source.git.branch"] = job.git.branch
        if job.git.remote:
            tags["mlflow.source.git.repoURL"] = job.git.remote
    return tags


def _by_attempt(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Parts of the entries that each begin with an `Attempt`, but perhaps for the first."""
    starts = [index for index, entry in enumerate(entries) if isinstance(entry.record, Attempt)]
    for start, end in pairwise([0, *starts, len(entries)]):
        if start < end:
            yield entries[start:end]


def _marks(record: Metrics) -> dict[str, str]:
    """Tags for what MLflow cannot show of a record."""
    tags: dict[str, str] = {}
    for name, value in record.values.items():
        if math.isinf(value):
            tags[to_key(f"ranklog.infinite.{name}")] = f"{value:+} at step {record.step}"
        if len(_key(name)) > 200 and (tag := cut_name_tag(name)):
            tags[tag] = name
    return tags
