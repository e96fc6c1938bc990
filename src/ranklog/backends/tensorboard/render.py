"""What TensorBoard shows of each record.

Takes entries in the order of the journal, gives the serialised events; files that TensorBoard has no view for are
stored in a folder on the way. Rendering the same entries again gives the same events and files. Blocks for the
disk.
"""

from __future__ import annotations

import shutil
import struct
import wave
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import msgspec

from ranklog.abc import Refused, RunContext
from ranklog.backends.shared.artifacts import ArtifactPaths, step_path
from ranklog.backends.tensorboard import events
from ranklog.backends.tensorboard.events import Moment
from ranklog.backends.tensorboard.layout import Charts
from ranklog.backends.tensorboard.order import Disorder, in_order
from ranklog.backends.tensorboard.projector import Projector
from ranklog.backends.tensorboard.rewinds import going_back
from ranklog.journal.superseded import Rewinds
from ranklog.model import content
from ranklog.model.record import Attempt, Entry, Event, Item, Metrics, Params
from ranklog.model.spec import Scalar

COVERAGE_TAG = "ranklog/coverage"
EVENTS_TAG = "ranklog/events"
_SHOWN_NAMES = 20
_LISTS = {"image": (".png",), "figure": (".png",), "audio": (".wav",), "video": (".gif",)}
"""Kinds that TensorBoard shows, also as lists, with the suffixes of their files that it shows."""
_SHOWN = {
    *(("text", content.TEXT), ("dict", content.JSON), ("table", content.TABLE), ("histogram", content.HISTOGRAM)),
    *(("image", content.PNG), ("figure", content.PNG), ("audio", content.WAV), ("video", content.GIF)),
    *(("dataset", content.DATASET), ("graph", content.GRAPH), ("pr_curve", content.PR_CURVE), ("alert", content.TEXT)),
}
_NEVER_SHOWN = (
    *(FileExistsError, NotADirectoryError, IsADirectoryError),
    *(ValueError, EOFError, struct.error, wave.Error, msgspec.MsgspecError),
)


class Renderer:
    """Renders the entries of one run.

    Args:
        context: Gives the contents of files.
        artifacts: Folder for what TensorBoard has no view for, in the folder of the run.

    Attributes:
        params: The newest value of each parameter.
        disorder: Metrics with points out of order.
        charts: Charts of the Custom Scalars page.
        graphs: Graphs by their name.
        head_changed: Whether charts or graphs were added; whoever writes them sets it back.
    """

    def __init__(self, context: RunContext, artifacts: Path) -> None:
        self._context = context
        self._artifacts = artifacts
        self._shelf = ArtifactPaths()
        self._owners: dict[str, str] = {}
        self._projector = Projector(context, artifacts.parent)
        self._attempt = 0
        self._rewinds = Rewinds()
        self._highest_step = 0
        self._events_step = 0
        self.params: dict[str, Scalar] = {}
        self.disorder = Disorder()
        self.charts = Charts()
        self.graphs: dict[str, content.Graph] = {}
        self.head_changed = False

    def learn(self, entry: Entry) -> None:
        """Take notice of an entry that was rendered before."""
        record = entry.record
        if isinstance(record, Metrics):
            self._note_metrics(record)
            self.charts.note(record)
        elif isinstance(record, Item):
            self._back([self._tag(record.name, record.kind)], record.step)
            if self._is_stored(record):
                self._shelf.keep(record)
            elif record.kind == "embedding":
                self._projector.learn(record)
            elif record.kind == "graph":
                self.graphs[record.name] = msgspec.json.decode(
                    self._context.content(record.files[0]), type=content.Graph
                )
        elif isinstance(record, Event):
            self._place(record)
        else:
            self._note_run(record)

    def render(self, entry: Entry) -> list[bytes]:
        """Events of an entry.

        Raises:
            Refused: its content is not what its kind promises, or its path is taken by a file or folder.
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
                rendered = self._item(record, tag)
            except _NEVER_SHOWN as error:
                reason = f"{record.kind} {record.name!r} cannot be stored: {error}"
                raise Refused(reason, [entry.ordinal]) from error
            return list(going_back(rendered, step=record.step, time_ns=record.time_ns)) if back else rendered
        self._note_run(record)
        if isinstance(record, Params):
            # For a running TensorBoard, which may not read the file that has them all.
            return [events.session_start(self.params, self._context.facts.created_ns)]
        return []

    def _note_run(self, record: object) -> None:
        if isinstance(record, Attempt):
            self._attempt = record.attempt
        elif isinstance(record, Params):
            self.params |= record.values

    def _back(self, tags: Iterable[str], step: int) -> list[str]:
        """Those of the tags with which this attempt goes back to an earlier step."""
        self._highest_step = max(self._highest_step, step)
        return self._rewinds.add(tags, step=step, attempt=self._attempt)

    def _place(self, event: Event) -> int:
        """Step of an event on the axis; it never gets smaller, since the default loader would hide those before."""
        self._events_step = max(self._events_step, self._highest_step if event.step is None else event.step)
        return self._events_step

    def _event(self, event: Event) -> bytes:
        step = self._place(event)
        said = "" if event.step in (None, step) else f" (step {event.step})"
        return events.text(EVENTS_TAG, f"**{event.code}**: {event.text}{said}", Moment(step, event.time_ns))

    def _tag(self, name: str, kind: str) -> str:
        """A tag belongs to one kind, since TensorBoard shows a tag by the first that it reads."""
        return name if self._owners.setdefault(name, kind) == kind else f"{name} ({kind})"

    def _note_metrics(self, record: Metrics) -> tuple[dict[str, float], dict[str, float], bool]:
        """Values by their tags: those that go on, those that go back; and whether the text of coverage goes back."""
        goes_on = {self._tag(name, "metric"): value for name, value in record.values.items()}
        back = self._back(goes_on, record.step)
        self.disorder.note(goes_on, back=back, step=record.step)
        goes_back = {tag: goes_on.pop(tag) for tag in back}
        partial = record.coverage is not None and not record.coverage.full
        return goes_on, goes_back, partial and bool(self._back([COVERAGE_TAG], record.step))

    def _metrics(self, record: Metrics) -> list[bytes]:
        at = Moment(record.step, record.time_ns)
        goes_on, goes_back, coverage_goes_back = self._note_metrics(record)
        rendered = [events.scalars(goes_on, at)] if goes_on else []
        going = [events.scalars(goes_back, at)] if goes_back else []
        self.head_changed = self.charts.note(record) or self.head_changed
        if record.coverage is not None and not record.coverage.full:
            names = ", ".join(list(record.values)[:_SHOWN_NAMES])
            more = len(record.values) - _SHOWN_NAMES
            shown = f"{names} and {more} more" if more > 0 else names
            text = events.text(COVERAGE_TAG, f"{shown}: {record.coverage}", at)
            (going if coverage_goes_back else rendered).append(text)
        if going:
            rendered += going_back(going, step=record.step, time_ns=record.time_ns)
        return rendered

    def in_order(self, entries: Iterable[Entry]) -> Iterator[bytes]:
        """Events that show metrics with points out of order in order; the entries are all that were seen."""
        begins = self.disorder.begins
        return in_order(entries, begins, tag_of=lambda name: self._tag(name, "metric"), rewinds=self._rewinds)

    @staticmethod
    def _is_stored(item: Item) -> bool:
        """Whether it is kept as files and told of in a text, since TensorBoard has no view for it."""
        if item.media == content.REFERENCE or item.kind in ("model", "best_model"):
            return True
        if item.media == content.FOLDER:
            return item.kind not in _LISTS and item.kind != "embedding"
        return (item.kind, item.media) not in _SHOWN

    def _item(self, item: Item, tag: str) -> list[bytes]:
        at = Moment(item.step, item.time_ns)
        if self._is_stored(item):
            return [events.text(tag, self._store(item), at)]
        if item.kind == "embedding":
            return [events.text(tag, self._projector.store(item), at)]
        if item.media == content.FOLDER:
            return self._list(item, tag, at)
        body = self._context.content(item.files[0])
        caption = str(item.meta.get("caption") or "")
        if item.kind in _LISTS:
            return [self._picture_or_sound(tag, item.kind, body, caption, at)]
        if item.kind == "histogram":
            return [events.histogram(tag, msgspec.json.decode(body, type=content.Histogram), at)]
        if item.kind == "pr_curve":
            return [events.pr_curve(tag, msgspec.json.decode(body, type=content.PrCurve), at)]
        if item.kind == "graph":
            self.graphs[item.name] = msgspec.json.decode(body, type=content.Graph)
            self.head_changed = True
            return []
        return [events.text(tag, self._markdown(item, body), at)]

    def _list(self, item: Item, tag: str, at: Moment) -> list[bytes]:
        """Each of a list under the tag with its number, as TensorBoard's own summaries name them."""
        rendered: list[bytes] = []
        for index, file in enumerate(item.files):
            suffix = PurePosixPath(file.path).suffix
            caption = str(item.meta.get(f"caption.{index}") or "")
            if suffix not in _LISTS[item.kind]:
                single = msgspec.structs.replace(item, media=suffix, files=(file,))
                rendered.append(events.text(f"{tag}/{index}", self._store(single), at))
                continue
            body = self._context.content(file)
            rendered.append(self._picture_or_sound(f"{tag}/{index}", item.kind, body, caption, at))
        return rendered

    @staticmethod
    def _picture_or_sound(tag: str, kind: str, body: bytes, caption: str, at: Moment) -> bytes:
        if kind == "audio":
            return events.audio(tag, body, caption, at)
        if kind == "video":
            return events.animation(tag, body, caption, at)
        return events.image(tag, body, caption, at)

    @staticmethod
    def _markdown(item: Item, body: bytes) -> str:
        if item.kind == "table":
            return events.table_markdown(msgspec.json.decode(body, type=content.Table))
        if item.kind == "dict":
            return f"```json\n{msgspec.json.format(body.decode())}\n```"
        if item.kind == "dataset":
            facts = msgspec.to_builtins(msgspec.json.decode(body, type=content.Dataset))
            return events.facts_markdown({**facts, "context": item.meta.get("context")})
        text = body.decode("utf-8", "replace")
        return f"**{item.meta.get('level')}**: {text}" if item.kind == "alert" else text

    def _store(self, item: Item) -> str:
        places = self._shelf.places(item)
        for path, each in places:
            self._write(path, each)
        self._shelf.keep(item)
        latest, own = places[0][0], step_path(item, places[0][0])
        if item.media == content.REFERENCE:
            reference = msgspec.json.decode(self._context.content(item.files[0]), type=content.Reference)
            size = sum(file.size for file in reference.files)
            return f"{item.kind}, {size} bytes, stays at `{reference.uri}` (seen from {reference.host})"
        size = sum(file.size for file in item.files)
        return f"{item.kind}, {size} bytes: `artifacts/{latest}` (after other steps: `artifacts/{own}`)"

    def _write(self, path: PurePosixPath, item: Item) -> None:
        target = self._artifacts / path
        if item.media == content.FOLDER:
            if target.is_dir():
                shutil.rmtree(target)
            target.mkdir(parents=True, mode=0o700)
            self._context.materialise(item.files, target)
        else:
            renamed = msgspec.structs.replace(item.files[0], path=str(path))
            self._context.materialise([renamed], self._artifacts)
