"""Run-level facts (coverage, goals, superseded steps, …) derived from the records, and the run's owner and program.

`FactCollector` takes the entries of one run in order. Its facts have the same names in every backend that shows them:

- ``ranklog.attempt``, ``ranklog.host``, ``ranklog.world_size``: of the newest attempt; facts of the job have the names
  that `facts_of` gives them;
- ``ranklog.coverage``: the lowest coverage of all reduced metrics, as ``2/2`` or in words;
  ``ranklog.coverage.partial_steps``: the number of steps for which some ranks did not answer;
- ``ranklog.goal.<metric>``, ``ranklog.context.<metric>``: the goal and context that were logged with a metric;
- ``ranklog.superseded.<attempt>``: the metrics of which this attempt replaces points of earlier attempts, with the step
  from which on it does (`ranklog.journal.superseded`);
- ``ranklog.changed.<param>``: all values of a parameter that changed, in order;
- ``ranklog.event.<code>``: text of the last event with that code; ``ranklog.reason``: why the run ended.

Adding an entry twice changes nothing. Pure, except for `owner_of`.
"""

from __future__ import annotations

import pwd
from pathlib import Path, PurePosixPath

from ranklog.journal.superseded import Rewinds
from ranklog.model.facts import JobFacts, facts_of
from ranklog.model.record import Attempt, Coverage, End, Entry, Event, MetricInfo, Metrics, Params
from ranklog.model.spec import Scalar, distinct_key


class Coverages:
    """The steps that were reduced from fewer ranks than the world has."""

    def __init__(self) -> None:
        self._partial: dict[int, Coverage] = {}
        self._lowest_full: Coverage | None = None

    def add(self, record: Metrics) -> None:
        """Add a record, which may correct an earlier one."""
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
        """Return the lowest coverage and the number of partial steps; nothing for a run without reduced metrics."""
        lowest = self._lowest_full
        for each in self._partial.values():
            lowest = _lower(each, lowest)
        if lowest is None:
            return {}
        return {"ranklog.coverage": str(lowest), "ranklog.coverage.partial_steps": len(self._partial)}


def _lower(one: Coverage, other: Coverage | None) -> Coverage:
    return one if other is None or one.share < other.share else other


class SupersededSteps:
    """The steps from which on an attempt's points replace those of earlier attempts, per metric.

    Attributes:
        rewinds: Decides which points are superseded.
    """

    def __init__(self) -> None:
        self.rewinds = Rewinds()
        self._texts: dict[int, list[str]] = {}

    def add(self, record: Metrics, attempt: int) -> list[str]:
        """Add a record; returns the metrics for which this attempt now returns to an earlier step."""
        back = self.rewinds.add(record.values, step=record.step, attempt=attempt)
        if back:
            texts = self._texts.setdefault(attempt, [])
            texts.extend(f"{name} from step {record.step}" for name in back)
        return back

    def facts(self) -> dict[str, Scalar]:
        """Return one text per attempt."""
        return {f"ranklog.superseded.{attempt}": "; ".join(texts) for attempt, texts in self._texts.items()}


class FactCollector:
    """Collects the facts of one run.

    Attributes:
        attempt: Number of the newest attempt.
        params: The newest value of every parameter.
        rewinds: Decides which points a later attempt superseded.
    """

    def __init__(self) -> None:
        self.attempt = 0
        self.params: dict[str, Scalar] = {}
        self._next = 0
        self._facts: dict[str, Scalar] = {}
        self._superseded = SupersededSteps()
        self.rewinds = self._superseded.rewinds
        self._coverages = Coverages()

    def add(self, entry: Entry) -> list[str]:
        """Add an entry; returns the metrics for which this attempt now returns to an earlier step."""
        if entry.ordinal < self._next:
            return []
        self._next = entry.ordinal + 1
        match entry.record:
            case Metrics() as metrics:
                self._coverages.add(metrics)
                return self._superseded.add(metrics, self.attempt)
            case MetricInfo() as info:
                facts = {"goal": info.goal, "context": info.context}
                self._facts |= {f"ranklog.{fact}.{info.name}": value for fact, value in facts.items() if value}
            case Params(values=values):
                self._add_params(values)
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
        """Return all facts so far."""
        return self._facts | self._coverages.facts() | self._superseded.facts()

    def _add_params(self, values: dict[str, Scalar]) -> None:
        for name, value in values.items():
            before = self.params.get(name, value)
            if distinct_key(before) != distinct_key(value):
                key = f"ranklog.changed.{name}"
                history = self._facts.get(key, f"{before}")
                self._facts[key] = f"{history}; {value} in attempt {self.attempt}"
        self.params |= values


def owner_of(run_dir: Path) -> str:
    """Return the name of the user who owns a run directory, or ``uid-1000`` when the system knows no name."""
    uid = run_dir.stat().st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # as in containers that do not know the host's users
        return f"uid-{uid}"


def program_of(script: str) -> str:
    """Return the program name of a script.

    Example:
        >>> program_of("jobs/train.py"), program_of("")
        ('train.py', 'program')
    """
    return PurePosixPath(script).name or "program"
