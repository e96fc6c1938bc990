"""Items as OpenTelemetry's log records, and their files.

A log record has the text of a short text or alert. Every other item is stored as its files, and its log record has
their path. Blocks for the disk.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from ranklog.abc import RunContext
from ranklog.backends.opentelemetry.logs import Log, fitting
from ranklog.backends.opentelemetry.points import Attributes
from ranklog.backends.shared.artifacts import ItemFiles
from ranklog.backends.shared.kinds import find_show
from ranklog.model.content import TEXT
from ranklog.model.record import Item

FORMS = {
    "metric": "gauge",
    "param": "log record",
    "text": "log record",
    "alert": "log record",
    **dict.fromkeys(
        (
            *("dict", "table", "histogram", "image", "figure", "audio", "video", "html", "artifact", "dataset"),
            *("torch", "model", "best_model", "graph", "embedding", "pr_curve", "prov_documents"),
        ),
        "file, log record",
    ),
}
ARTIFACTS = "artifacts"
MAX_TEXT_BYTES = 32 * 1024


class ItemStore:
    """Stores the files of one run's items and makes their log records.

    Args:
        context: Reads the contents.
        folder: Folder of the run.
        sends_logs: Whether log records are sent. If not, texts are stored as files, too.
    """

    def __init__(self, context: RunContext, folder: Path, *, sends_logs: bool) -> None:
        self._context = context
        self._folder = folder / ARTIFACTS
        self._files = ItemFiles(context, self._folder)
        self._sends_logs = sends_logs

    def restore(self, item: Item) -> None:
        """Restore an item that an earlier process stored."""
        if self._needs_file(item):
            self._files.restore(item)

    def store(self, item: Item, ordinal: int) -> Log:
        """Store the files of an item and return its log record.

        Raises:
            Refused: the path needs a folder where a file exists, or the other way round.
        """
        own = _attributes(item)
        path = ""
        if self._needs_file(item):
            path = str(self._folder / self._files.store(item, ordinal)[0][0])
            own |= {"file.path": path, "host.name": socket.gethostname()}
        if show := find_show(SHOWS, item.kind, item.media):
            text = self._context.content(item.files[0])[:MAX_TEXT_BYTES].decode("utf-8", "replace")
            return show(item, text, own)
        return Log(
            item.time_ns, "item", "info", f"{item.kind} {item.name} of step {item.step} is stored at {path}", own
        )

    def _needs_file(self, item: Item) -> bool:
        fits = find_show(SHOWS, item.kind, item.media) and item.files[0].size <= MAX_TEXT_BYTES
        return not (fits and self._sends_logs)


def _attributes(item: Item) -> Attributes:
    own: Attributes = {
        "ranklog.kind": item.kind,
        "ranklog.name": item.name,
        "ranklog.step": item.step,
        "ranklog.rank": item.rank,
        "ranklog.media": item.media,
    }
    return own | {f"ranklog.{name}": fit for name, value in item.meta.items() if (fit := fitting(value)) is not None}


def _text_log(item: Item, text: str, own: Attributes) -> Log:
    return Log(item.time_ns, "text", "info", text, own)


def _alert_log(item: Item, text: str, own: Attributes) -> Log:
    return Log(item.time_ns, "alert", str(item.meta.get("level", "info")), text, own)


SHOWS: dict[tuple[str, str], Callable[[Item, str, Attributes], Log]] = {
    ("text", TEXT): _text_log,
    ("alert", TEXT): _alert_log,
}
"""The function that makes a log record of a text; the log records of other items have a path."""
