"""Metrics of one MLflow run: their points, and the tags that describe them.

Takes metrics in the order of the journal. Points that MLflow already has are not sent again: a tag that is sent with
them holds how far the run is. Blocks for disk and network.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ranklog.backends.mlflow.batches import METRICS_PER_REQUEST, in_requests
from ranklog.backends.mlflow.goals import Goals
from ranklog.backends.mlflow.models import Latest
from ranklog.backends.mlflow.names import cut_name_tag, to_key
from ranklog.backends.mlflow.run import MlflowRun
from ranklog.backends.mlflow.times import Times
from ranklog.backends.mlflow.trouble import is_too_large
from ranklog.backends.shared.run_facts import Coverages, SupersededSteps
from ranklog.model.record import Entry, MetricInfo, Metrics

if TYPE_CHECKING:
    from mlflow.entities import Metric

DELIVERED_TAG = "ranklog.delivered_metrics"

_key = functools.lru_cache(maxsize=65536)(to_key)


class MetricStore:
    """Stores the metrics of one run.

    `look_ahead` reads every entry of a batch, in order, before `store` sends the metrics among them.

    Args:
        run: The open run.
        created_ns: Creation time of the ranklog run; a delivery mark of another run does not count.

    Attributes:
        latest: The newest point of each metric.
    """

    def __init__(self, run: MlflowRun, created_ns: int) -> None:
        self._run = run
        self._created_ns = created_ns
        self._superseded = SupersededSteps()
        self._coverages = Coverages()
        self._times = Times()
        self._goals = Goals()
        self._per_request = METRICS_PER_REQUEST
        self._next_to_look_at = 0
        self._next_to_send = 0
        self.latest: dict[str, Latest] = {}
        created, _, upto = run.tags.get(DELIVERED_TAG, "").partition("/")
        if created == str(created_ns) and upto.isdecimal():
            self._next_to_send = int(upto)

    def restore(self, entry: Entry, attempt: int) -> None:
        """Restore an entry that was delivered before the run was opened."""
        self.look_ahead(entry, attempt)
        if isinstance(entry.record, Metrics):
            self._describe(entry.record, attempt)

    def look_ahead(self, entry: Entry, attempt: int) -> None:
        """Read an entry before its batch is sent. It may come again after an error."""
        record = entry.record
        if isinstance(record, Metrics):
            self._times.add(entry.ordinal, record)
            for name, value, time_ms in self._times.points(entry.ordinal, record):
                self.latest[name] = Latest(value, time_ms, record.step)
        if entry.ordinal < self._next_to_look_at:
            return
        self._next_to_look_at = entry.ordinal + 1
        if isinstance(record, Metrics):
            self._goals.add(record, attempt)
        elif isinstance(record, MetricInfo):
            self._goals.set_goal(record)

    def store(self, entries: Sequence[Entry], attempt: int) -> None:
        """Send the metrics among the entries of one attempt, and the tags that describe them."""
        batch: list[Metric] = []
        tags: dict[str, str] = {}
        for entry in entries:
            if not isinstance(entry.record, Metrics):
                continue
            tags |= _tags_of(entry.record)
            self._describe(entry.record, attempt)
            if entry.ordinal < self._next_to_send:
                continue
            for metric in self._points(entry.ordinal, entry.record):
                if len(batch) == METRICS_PER_REQUEST:
                    self._send(batch, upto=entry.ordinal)
                    batch = []
                batch.append(metric)
        if batch:
            self._send(batch, upto=entries[-1].ordinal + 1)
        facts = self._coverages.facts() | self._superseded.facts()
        self._run.set_tags(tags | {name: str(value) for name, value in facts.items()} | self._goals.tags())

    def forget_times(self) -> None:
        """Forget the times of points that were sent."""
        self._times.forget(below=self._next_to_send)

    def _describe(self, record: Metrics, attempt: int) -> None:
        self._coverages.add(record)
        self._superseded.add(record, attempt)

    def _points(self, ordinal: int, record: Metrics) -> list[Metric]:
        from mlflow.entities import Metric

        points = self._times.points(ordinal, record)
        return [Metric(_key(name), value, time_ms, record.step) for name, value, time_ms in points]

    def _send(self, batch: Sequence[Metric], *, upto: int) -> None:
        """Send points together with the mark that MLflow has all metrics below ``upto``.

        MLflow itself ignores equal points, but searches the whole history of the run for each of them. The mark avoids
        this when a cursor was lost.
        """
        from mlflow.entities import RunTag
        from mlflow.exceptions import MlflowException

        mark = RunTag(DELIVERED_TAG, f"{self._created_ns}/{upto}")
        left = batch
        while left:
            part = next(in_requests(left, lambda metric: (metric.key,), self._per_request))
            last = len(part) == len(left)
            try:
                self._run.client.log_batch(self._run.backend_run_id, metrics=part, tags=[mark] if last else [])
            except MlflowException as error:
                if self._per_request == 1 or not is_too_large(error):
                    raise
                self._per_request //= 2  # a proxy in front of the server has a lower limit
                continue
            left = left[len(part) :]
        self._next_to_send = upto


def _tags_of(record: Metrics) -> dict[str, str]:
    """Return tags for values and names that MLflow stores in another form."""
    tags: dict[str, str] = {}
    for name, value in record.values.items():
        if math.isinf(value):
            tags[to_key(f"ranklog.infinite.{name}")] = f"{value:+} at step {record.step}"
        if len(_key(name)) > 200 and (tag := cut_name_tag(name)):
            tags[tag] = name
    return tags
