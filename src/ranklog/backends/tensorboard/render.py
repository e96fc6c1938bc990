"""Entries as TensorBoard's events.

Takes entries in the order of the journal and returns serialised events. Rendering the same entries again gives the same
events and files. Blocks for the disk.
"""

from __future__ import annotations

import struct
import wave
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from ranklog.abc import Refused, RunContext
from ranklog.backends.tensorboard import events
from ranklog.backends.tensorboard.events import Moment
from ranklog.backends.tensorboard.items import HEAD_KINDS, ItemRenderer
from ranklog.backends.tensorboard.layout import Charts
from ranklog.backends.tensorboard.order import Disorder, in_order
from ranklog.backends.tensorboard.rewinds import going_back
from ranklog.journal.superseded import Rewinds
from ranklog.model.record import Attempt, Entry, Event, Item, Metrics, Params
from ranklog.model.spec import Scalar

COVERAGE_TAG = "ranklog/coverage"
EVENTS_TAG = "ranklog/events"
_SHOWN_NAMES = 20
_BAD_CONTENT = (
    *(FileExistsError, NotADirectoryError, IsADirectoryError),
    *(ValueError, EOFError, struct.error, wave.Error, msgspec.MsgspecError),
)


class Renderer:
    """Renders the entries of one run.

    Args:
        context: Reads the contents of files.
        artifacts: Folder for items that TensorBoard cannot show, in the folder of the run.

    Attributes:
        params: The newest value of each parameter.
        disorder: Metrics with points out of order.
        charts: Charts of the Custom Scalars page.
        items: Renders items and has their graphs.
        head_changed: Whether charts or graphs were added; reset by the caller that writes them.
    """

    def __init__(self, context: RunContext, artifacts: Path) -> None:
        self._context = context
        self._kinds: dict[str, str] = {}
        self._attempt = 0
        self._rewinds = Rewinds()
        self._highest_step = 0
        self._events_step = 0
        self.params: dict[str, Scalar] = {}
        self.disorder = Disorder()
        self.charts = Charts()
        self.items = ItemRenderer(context, artifacts)
        self.head_changed = False

    def restore(self, entry: Entry) -> None:
        """Restore an entry that was rendered before."""
        record = entry.record
        if isinstance(record, Metrics):
            self._sort_metrics(record)
            self.charts.add(record)
        elif isinstance(record, Item):
            self._back([self._tag(record.name, record.kind)], record.step)
            self.items.restore(record)
        elif isinstance(record, Event):
            self._place(record)
        else:
            self._observe_run(record)

    def render(self, entry: Entry) -> list[bytes]:
        """Return the events of an entry.

        Raises:
            Refused: its content does not match its kind, or its path needs a folder where a file exists, or the other
                way round.
        """
        record = entry.record
        if isinstance(record, Metrics):
            return self._metrics(record)
        if isinstance(record, Event):
            return [self._event(record)]
        if isinstance(record, Item):
            tag = self._tag(record.name, record.kind)
            back = self._back([tag], record.step)
            try:
                rendered = self.items.render(record, tag)
            except _BAD_CONTENT as error:
                reason = f"{record.kind} {record.name!r} cannot be stored: {error}"
                raise Refused(reason, [entry.ordinal]) from error
            self.head_changed = self.head_changed or record.kind in HEAD_KINDS
            return list(going_back(rendered, step=record.step, time_ns=record.time_ns)) if back else rendered
        self._observe_run(record)
        if isinstance(record, Params):
            # A running TensorBoard may not read the head file, which has all parameters.
            return [events.session_start(self.params, self._context.facts.created_ns)]
        return []

    def _observe_run(self, record: object) -> None:
        if isinstance(record, Attempt):
            self._attempt = record.attempt
        elif isinstance(record, Params):
            self.params |= record.values

    def _back(self, tags: Iterable[str], step: int) -> list[str]:
        """Return the tags for which this attempt returns to an earlier step."""
        self._highest_step = max(self._highest_step, step)
        return self._rewinds.add(tags, step=step, attempt=self._attempt)

    def _place(self, event: Event) -> int:
        """Return the step of an event. Steps never decrease, because TensorBoard would hide the events before."""
        self._events_step = max(self._events_step, self._highest_step if event.step is None else event.step)
        return self._events_step

    def _event(self, event: Event) -> bytes:
        step = self._place(event)
        original = "" if event.step in (None, step) else f" (step {event.step})"
        return events.text(EVENTS_TAG, f"**{event.code}**: {event.text}{original}", Moment(step, event.time_ns))

    def _tag(self, name: str, kind: str) -> str:
        """Return the tag of a name. A tag has one kind, because TensorBoard shows it by the first event it reads."""
        return name if self._kinds.setdefault(name, kind) == kind else f"{name} ({kind})"

    def _sort_metrics(self, record: Metrics) -> tuple[dict[str, float], dict[str, float], bool]:
        """Return the values by tag that continue, those that go back, and whether the text of coverage goes back."""
        forward = {self._tag(name, "metric"): value for name, value in record.values.items()}
        back = self._back(forward, record.step)
        self.disorder.add(forward, back=back, step=record.step)
        backward = {tag: forward.pop(tag) for tag in back}
        partial = record.coverage is not None and not record.coverage.full
        return forward, backward, partial and bool(self._back([COVERAGE_TAG], record.step))

    def _metrics(self, record: Metrics) -> list[bytes]:
        at = Moment(record.step, record.time_ns)
        forward, backward, coverage_is_backward = self._sort_metrics(record)
        rendered = [events.scalars(forward, at)] if forward else []
        going = [events.scalars(backward, at)] if backward else []
        self.head_changed = self.charts.add(record) or self.head_changed
        if record.coverage is not None and not record.coverage.full:
            names = ", ".join(list(record.values)[:_SHOWN_NAMES])
            more = len(record.values) - _SHOWN_NAMES
            shown = f"{names} and {more} more" if more > 0 else names
            text = events.text(COVERAGE_TAG, f"{shown}: {record.coverage}", at)
            (going if coverage_is_backward else rendered).append(text)
        if going:
            rendered += going_back(going, step=record.step, time_ns=record.time_ns)
        return rendered

    def in_order(self, entries: Iterable[Entry]) -> Iterator[bytes]:
        """Yield events that replace the metrics with points out of order; ``entries`` are all entries so far."""
        begins = self.disorder.begins
        return in_order(entries, begins, tag_of=lambda name: self._tag(name, "metric"), rewinds=self._rewinds)
