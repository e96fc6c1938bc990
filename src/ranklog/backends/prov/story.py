"""The story of a run, from which its provenance document is built.

`Story` takes entries in order, each once, and collects attempts, parameters, metrics, contexts, items and events. It
does not depend on PROV. Memory is bounded by the number of names, attempts and hosts; only the newest events and
versions are kept. The same entries always give the same story.
"""

from __future__ import annotations

from collections.abc import Callable

from ranklog.backends.prov.items import Items
from ranklog.backends.prov.metrics import MetricSummary, context_of
from ranklog.backends.prov.superseded import SupersededValues
from ranklog.model.facts import JobFacts, RankFacts
from ranklog.model.record import Attempt, End, Entry, Event, File, Item, MetricInfo, Metrics, Params
from ranklog.model.spec import Scalar

EVENTS = 100


class AttemptStory:
    """One attempt.

    Attributes:
        head: Its first record.
        job: Facts of its job, once rank 0 has found them.
        hosts: Its hosts, each with the facts of the first rank that reported, and the ranks that reported.
        last_ns: Time of its last record.
        end: Its end, if the journal has it.
    """

    def __init__(self, head: Attempt) -> None:
        self.head = head
        self.job: JobFacts | None = None
        self.hosts: dict[str, tuple[RankFacts, set[int]]] = {}
        self.last_ns = head.time_ns
        self.end: End | None = None


class Span:
    """The time span of a context.

    Attributes:
        first_ns: Time of its first record.
        last_ns: Time of its last record.
    """

    def __init__(self, time_ns: int) -> None:
        self.first_ns = time_ns
        self.last_ns = time_ns

    def add(self, time_ns: int) -> None:
        """Add the time of a record."""
        self.first_ns, self.last_ns = min(self.first_ns, time_ns), max(self.last_ns, time_ns)


class Story:
    """One run.

    Args:
        superseded: Decides which values do not count.
        content: Reads the content of a file.

    Attributes:
        attempts: Attempts by number.
        params: Parameters with their times. A later value replaces the earlier one.
        metrics: Summaries by context and name.
        contexts: Time spans by context.
        items: All items.
        events: The newest events.
        events_seen: Number of all events.
        records: Number of records, without those that begin an attempt or a segment.
    """

    def __init__(self, superseded: SupersededValues, content: Callable[[File], bytes]) -> None:
        self._superseded = superseded
        self._content = content
        self._infos: dict[str, MetricInfo] = {}
        self._attempt = 0
        self.attempts: dict[int, AttemptStory] = {}
        self.params: dict[str, tuple[Scalar, int]] = {}
        self.metrics: dict[tuple[str, str], MetricSummary] = {}
        self.contexts: dict[str, Span] = {}
        self.items = Items()
        self.events: list[Event] = []
        self.events_seen = 0
        self.records = 0

    def add(self, entry: Entry) -> None:
        """Add an entry."""
        record = entry.record
        self.records += not isinstance(record, Attempt)
        if isinstance(record, Attempt):
            self._attempt = record.attempt
            # Every segment repeats its attempt. The first one has the time of the attempt's start.
            self.attempts.setdefault(record.attempt, AttemptStory(record)).end = None
        attempt = self.attempts.get(self._attempt)
        if attempt is not None:
            attempt.last_ns = max(attempt.last_ns, record.time_ns)
        match record:
            case MetricInfo():
                self._infos[record.name] = record
            case Metrics():
                self._add_metrics(entry, record)
            case Params():
                self.params.update({name: (value, record.time_ns) for name, value in record.values.items()})
            case Item():
                self._add_item(record)
            case Event():
                self.events = [*self.events, record][-EVENTS:]
                self.events_seen += 1
            case _ if attempt is not None:
                _add_facts(attempt, record)

    def _add_metrics(self, entry: Entry, record: Metrics) -> None:
        for name, value in self._superseded.values(entry, self._attempt):
            info = self._infos.get(name)
            context = context_of(name, info)
            summary = self.metrics.setdefault((context, name), MetricSummary(name, context))
            summary.add(value, record)
            if info is not None and info.goal is not None:
                summary.goal = info.goal
            self.contexts.setdefault(context, Span(record.time_ns)).add(record.time_ns)

    def _add_item(self, item: Item) -> None:
        self.items.add(item, self._content)
        context = item.meta.get("context")
        if isinstance(context, str) and context:
            self.contexts.setdefault(context, Span(item.time_ns)).add(item.time_ns)


def _add_facts(attempt: AttemptStory, record: object) -> None:
    match record:
        case JobFacts():
            attempt.job = record
        case RankFacts():
            attempt.hosts.setdefault(record.host, (record, set()))[1].add(record.rank)
        case End():
            attempt.end = record
