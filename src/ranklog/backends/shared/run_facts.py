"""What the records of a run say about the run as a whole, as names and values that a backend can show beside it.

In: entries of one run in order. Out: facts by name, the same for every backend that uses this:

- ``ranklog.attempt``, ``ranklog.host``, ``ranklog.world_size``: of the newest attempt; facts of the job as `facts_of`
  names them;
- ``ranklog.coverage``: the lowest coverage behind the reduced metrics, as ``2/2`` or in words, and
  ``ranklog.coverage.partial_steps``: how many steps some ranks did not answer for;
- ``ranklog.goal.<metric>``, ``ranklog.context.<metric>``: what was said about a metric;
- ``ranklog.superseded.<attempt>``: from which step on, name by name, this attempt's points count instead of those of
  earlier attempts (`ranklog.journal.superseded`);
- ``ranklog.changed.<param>``: a parameter's values in order, where it changed;
- ``ranklog.event.<code>``: text of the last event of that code; ``ranklog.reason``: why the run ended.

An entry that comes again changes nothing. Pure.
"""

from __future__ import annotations

from ranklog.journal.superseded import Rewinds
from ranklog.model.facts import JobFacts, facts_of
from ranklog.model.record import Attempt, Coverage, End, Entry, Event, MetricInfo, Metrics, Params
from ranklog.model.spec import Scalar, distinct_key


class Coverages:
    """Which steps are reduced from fewer ranks than there are."""

    def __init__(self) -> None:
        self._partial: dict[int, Coverage] = {}
        self._lowest_full: Coverage | None = None

    def note(self, record: Metrics) -> None:
        """Take notice of a record, which may correct an earlier one."""
        coverage = record.coverage
        if coverage is None:
            return
        if record.corrects:
            self._partial.pop(record.step, None)
        if coverage.full:
            self._lowest_full = _lower(coverage, self._lowest_full)
        else:
            self._partial[record.step] = _lower(coverage, self._partial.get(record.step))

    def facts(self) -> dict[str, Scalar]:
        """The lowest coverage, and for how many steps ranks did not answer; nothing where nothing is reduced."""
        lowest = self._lowest_full
        for each in self._partial.values():
            lowest = _lower(each, lowest)
        if lowest is None:
            return {}
        return {"ranklog.coverage": str(lowest), "ranklog.coverage.partial_steps": len(self._partial)}


def _lower(one: Coverage, other: Coverage | None) -> Coverage:
    return one if other is None or one.share < other.share else other


class Superseded:
    """From which step on, name by name, points of an attempt count instead of those of earlier ones.

    Attributes:
        rewinds: Which points these are.
    """

    def __init__(self) -> None:
        self.rewinds = Rewinds()
        self._said: dict[int, list[str]] = {}

    def note(self, record: Metrics, attempt: int) -> list[str]:
        """Take notice of a record; returns the names of metrics with which this attempt now goes back."""
        back = self.rewinds.add(record.values, step=record.step, attempt=attempt)
        if back:
            said = self._said.setdefault(attempt, [])
            said.extend(f"{name} from step {record.step}" for name in back)
        return back

    def facts(self) -> dict[str, Scalar]:
        """A text an attempt."""
        return {f"ranklog.superseded.{attempt}": "; ".join(said) for attempt, said in self._said.items()}


class Marks:
    """Collects the facts of one run.

    Attributes:
        attempt: Number of the attempt that is being read.
        params: The newest value of every parameter.
        rewinds: Which points a later attempt superseded.
    """

    def __init__(self) -> None:
        self.attempt = 0
        self.params: dict[str, Scalar] = {}
        self._next = 0
        self._facts: dict[str, Scalar] = {}
        self._superseded = Superseded()
        self.rewinds = self._superseded.rewinds
        self._coverages = Coverages()

    def take(self, entry: Entry) -> list[str]:
        """Note an entry; returns the names of metrics with which this attempt now goes back to an earlier step."""
        if entry.ordinal < self._next:
            return []
        self._next = entry.ordinal + 1
        match entry.record:
            case Metrics() as metrics:
                self._coverages.note(metrics)
                return self._superseded.note(metrics, self.attempt)
            case MetricInfo() as info:
                told = {"goal": info.goal, "context": info.context}
                self._facts |= {f"ranklog.{what}.{info.name}": said for what, said in told.items() if said}
            case Params(values=values):
                self._take_params(values)
            case Attempt() as attempt:
                self.attempt = attempt.attempt
                self._facts |= {
                    "ranklog.attempt": attempt.attempt,
                    "ranklog.host": attempt.host,
                    "ranklog.world_size": attempt.place.world_size,
                }
                self._facts.pop("ranklog.reason", None)
            case JobFacts() as job:
                self._facts |= facts_of(job)
            case Event() as event:
                self._facts[f"ranklog.event.{event.code}"] = event.text
            case End(reason=reason) if reason:
                self._facts["ranklog.reason"] = reason
        return []

    def facts(self) -> dict[str, Scalar]:
        """All facts so far."""
        return self._facts | self._coverages.facts() | self._superseded.facts()

    def _take_params(self, values: dict[str, Scalar]) -> None:
        for name, value in values.items():
            before = self.params.get(name, value)
            if distinct_key(before) != distinct_key(value):
                key = f"ranklog.changed.{name}"
                said = self._facts.get(key, f"{before}")
                self._facts[key] = f"{said}; {value} in attempt {self.attempt}"
        self.params |= values
