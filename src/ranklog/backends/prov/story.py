"""What a run's journal tells, as a provenance document needs it: `Story`.

In: entries in order, each once. Out: who did what when, with which parameters and data, and what came out. It knows
nothing of PROV. Memory is bounded by names, attempts and hosts; of events and versions the newest are kept. The same
entries give the same story, whenever and however often it is made.
"""

from __future__ import annotations

from collections.abc import Callable

from ranklog.backends.prov.items import Items
from ranklog.backends.prov.metrics import MetricSummary, context_of
from ranklog.backends.prov.superseded import Superseded
from ranklog.model.facts import JobFacts, RankFacts
from ranklog.model.record import Attempt, End, Entry, Event, File, Item, MetricInfo, Metrics, Params
from ranklog.model.spec import Scalar

EVENTS = 100


class AttemptStory:
    """One attempt.

    Attributes:
        head: Its first record.
        job: What belongs to it as a whole, once rank 0 has found it out.
        hosts: Its hosts, each with the facts of the rank that told of itself first, and the ranks that did.
        last_ns: When it logged last.
        end: How it ended, where it said so.
    """

    def __init__(self, head: Attempt) -> None:
        self.head = head
        self.job: JobFacts | None = None
        self.hosts: dict[str, tuple[RankFacts, set[int]]] = {}
        self.last_ns = head.time_ns
        self.end: End | None = None


class Span:
    """When a context was at work.

    Attributes:
        first_ns: Time of its first record.
        last_ns: Time of its last record.
    """

    def __init__(self, time_ns: int) -> None:
        self.first_ns = time_ns
        self.last_ns = time_ns

    def take(self, time_ns: int) -> None:
        """Note a record."""
        self.first_ns, self.last_ns = min(self.first_ns, time_ns), max(self.last_ns, time_ns)


class Story:
    """One run.

    Args:
        superseded: Which values do not count.
        content: Reads the content of a file.

    Attributes:
        attempts: By number.
        params: Parameters; a later value of a name replaces the earlier one.
        metrics: By context and name.
        contexts: The parts of the work, by name.
        items: What was logged beside metrics and parameters.
        events: The newest events.
        events_seen: How many events there were.
        records: How many records stand behind it, without those that begin an attempt or a segment.
    """

    def __init__(self, superseded: Superseded, content: Callable[[File], bytes]) -> None:
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

    def take(self, entry: Entry) -> None:
        """Add an entry."""
        record = entry.record
        self.records += not isinstance(record, Attempt)
        if isinstance(record, Attempt):
            self._attempt = record.attempt
            # Every segment repeats its attempt; the first one has the time of its start.
            self.attempts.setdefault(record.attempt, AttemptStory(record)).end = None
        attempt = self.attempts.get(self._attempt)
        if attempt is not None:
            attempt.last_ns = max(attempt.last_ns, record.time_ns)
        match record:
            case MetricInfo():
                self._infos[record.name] = record
            case Metrics():
                self._take_metrics(entry, record)
            case Params():
                self.params.update({name: (value, record.time_ns) for name, value in record.values.items()})
            case Item():
                self._take_item(record)
            case Event():
                self.events = [*self.events, record][-EVENTS:]
                self.events_seen += 1
            case _ if attempt is not None:
                _take_facts(attempt, record)

    def _take_metrics(self, entry: Entry, record: Metrics) -> None:
        for name, value in self._superseded.values(entry, self._attempt):
            info = self._infos.get(name)
            context = context_of(name, info)
            summary = self.metrics.setdefault((context, name), MetricSummary(name, context))
            summary.take(value, record)
            if info is not None and info.goal is not None:
                summary.goal = info.goal
            self.contexts.setdefault(context, Span(record.time_ns)).take(record.time_ns)

    def _take_item(self, item: Item) -> None:
        self.items.take(item, self._content)
        said = item.meta.get("context")
        if isinstance(said, str) and said:
            self.contexts.setdefault(said, Span(item.time_ns)).take(item.time_ns)


def _take_facts(attempt: AttemptStory, record: object) -> None:
    match record:
        case JobFacts():
            attempt.job = record
        case RankFacts():
            attempt.hosts.setdefault(record.host, (record, set()))[1].add(record.rank)
        case End():
            attempt.end = record
