"""What TensorBoard shows of each record.

Takes entries in the order of the journal, gives the serialised events; files that TensorBoard has no view for are
stored in a folder on the way. Rendering the same entries again gives the same events and files. Blocks for the
disk.
"""

from __future__ import annotations

import shutil
import struct
from pathlib import Path, PurePosixPath

import msgspec

from ranklog.delivery.backends import tensorboard_events as events
from ranklog.delivery.backends.base import Refused, RunContext
from ranklog.delivery.backends.files import DIRECTORY, Shelf, step_path
from ranklog.delivery.backends.tensorboard_events import Moment
from ranklog.model.record import Entry, Event, Item, Metrics

COVERAGE_TAG = "ranklog/coverage"
EVENTS_TAG = "ranklog/events"
_SHOWN_NAMES = 20
_NEVER_SHOWN = (
    *(FileExistsError, NotADirectoryError, IsADirectoryError),
    *(ValueError, struct.error, msgspec.MsgspecError),
)


class Renderer:
    """Renders the entries of one run.

    Args:
        context: Gives the contents of files.
        artifacts: Folder for what TensorBoard has no view for.
    """

    def __init__(self, context: RunContext, artifacts: Path) -> None:
        self._context = context
        self._artifacts = artifacts
        self._shelf = Shelf()
        self._owners: dict[str, str] = {}

    @property
    def scalar_tags(self) -> list[str]:
        """Tags of the scalars so far."""
        return [tag for tag, owner in self._owners.items() if owner == "metric"]

    def learn(self, entry: Entry) -> None:
        """Take notice of an entry that was rendered before."""
        record = entry.record
        if isinstance(record, Metrics):
            for name in record.values:
                self._tag(name, "metric")
        elif isinstance(record, Item):
            self._tag(record.name, record.kind)
            if self._is_stored(record):
                self._shelf.keep(record)

    def render(self, entry: Entry) -> list[bytes]:
        """Events of an entry.

        Raises:
            Refused: its content is not what its kind promises, or its path is taken by a file or folder.
        """
        record = entry.record
        if isinstance(record, Metrics):
            return self._metrics(record)
        if isinstance(record, Event):
            markdown = f"**{record.code}**: {record.text}"
            return [events.text(EVENTS_TAG, markdown, Moment(record.step or 0, record.time_ns))]
        if isinstance(record, Item):
            try:
                return self._item(record)
            except _NEVER_SHOWN as error:
                reason = f"{record.kind} {record.name!r} cannot be stored: {error}"
                raise Refused(reason, [entry.ordinal]) from error
        return []

    def _tag(self, name: str, kind: str) -> str:
        """A tag belongs to one kind, since TensorBoard shows a tag by the first that it reads."""
        return name if self._owners.setdefault(name, kind) == kind else f"{name} ({kind})"

    def _metrics(self, record: Metrics) -> list[bytes]:
        at = Moment(record.step, record.time_ns)
        values = {self._tag(name, "metric"): value for name, value in record.values.items()}
        rendered = [events.scalars(values, at)]
        if record.coverage is not None and not record.coverage.full:
            names = ", ".join(list(record.values)[:_SHOWN_NAMES])
            more = len(record.values) - _SHOWN_NAMES
            shown = f"{names} and {more} more" if more > 0 else names
            rendered.append(events.text(COVERAGE_TAG, f"{record.coverage} ranks behind {shown}", at))
        return rendered

    def _is_stored(self, item: Item) -> bool:
        shown = ("text", "dict", "table", "histogram", "image")
        return item.kind not in shown and (item.kind != "figure" or item.media != "image/png")

    def _item(self, item: Item) -> list[bytes]:
        tag = self._tag(item.name, item.kind)
        at = Moment(item.step, item.time_ns)
        if self._is_stored(item):
            return [events.text(tag, self._store(item), at)]
        content = self._context.content(item.files[0])
        if item.kind == "histogram":
            histogram = msgspec.json.decode(content, type=events.Histogram)
            return [events.histogram(tag, histogram, at)]
        if item.media == "image/png":
            return [events.image(tag, content, str(item.meta.get("caption") or ""), at)]
        if item.kind == "table":
            markdown = events.table_markdown(msgspec.json.decode(content, type=events.Table))
        elif item.kind == "dict":
            markdown = f"```json\n{msgspec.json.format(content.decode())}\n```"
        else:
            markdown = content.decode("utf-8", "replace")
        return [events.text(tag, markdown, at)]

    def _store(self, item: Item) -> str:
        places = self._shelf.places(item)
        for path, each in places:
            self._write(path, each)
        self._shelf.keep(item)
        latest, own = places[0][0], step_path(item, places[0][0])
        size = sum(file.size for file in item.files)
        return f"{item.kind}, {size} bytes: `artifacts/{latest}` (after other steps: `artifacts/{own}`)"

    def _write(self, path: PurePosixPath, item: Item) -> None:
        target = self._artifacts / path
        if item.media == DIRECTORY:
            if target.is_dir():
                shutil.rmtree(target)
            target.mkdir(parents=True, mode=0o700)
            self._context.materialise(item.files, target)
        else:
            renamed = msgspec.structs.replace(item.files[0], path=str(path))
            self._context.materialise([renamed], self._artifacts)
