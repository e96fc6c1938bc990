"""The TensorBoard backend: one folder of event files per run, ``<savedir>/<run_id>/``.

Each entry becomes events (`events`) at the end of one event file. Records that are delivered twice show once, also
after a kill in the middle of a write. A lost or damaged file is rebuilt from the journal: a progress file holds how
far the event file is whole, and which entry comes next. An item that TensorBoard cannot show is stored below
``artifacts/``, and a text has its path. The text ``ranklog/coverage`` lists reduced values with partial coverage, and
``ranklog/events`` lists events.

The main file only grows, because a running TensorBoard never reads a file that replaces another. When an attempt
returns to an earlier step, the points that it supersedes (`ranklog.journal.superseded`) stay in the file, and marks
(`rewinds`) make every reader hide them. Metrics with points out of order within an attempt are written again in order
when the attempt ends (`order`).

TensorBoard uses the first hparams, graph and Custom Scalars layout that it reads, so these have a file of their own
(`head`). A running TensorBoard shows new entries of that file, and changed ones after a restart. Embeddings are files
for the projector (`projector`). Blocks for the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import msgspec

from ranklog.abc import Refused, RunContext
from ranklog.backends.shared.history import earlier_entries
from ranklog.backends.tensorboard.file import EventFile, frame
from ranklog.backends.tensorboard.forms import FORMS
from ranklog.backends.tensorboard.head import HeadFile
from ranklog.journal.layout import make_private_dir, write_private
from ranklog.model.errors import MissingExtraError
from ranklog.model.record import Entry, Params, Status

if TYPE_CHECKING:
    from ranklog.backends.tensorboard.render import Renderer

_BUFFER_BYTES = 4 * 1024 * 1024
# These names must not contain "tfevents", or TensorBoard would read the files.
_PROGRESS = ".ranklog.json"
_ARTIFACTS = "artifacts"


class Progress(msgspec.Struct, frozen=True):
    """How far the event file is whole.

    Attributes:
        created_ns: Creation time of the run.
        next_ordinal: First entry that is not in the file.
        size: Whole bytes of the file.
        in_order: First entry whose points out of order were not written again yet.
    """

    created_ns: int
    next_ordinal: int
    size: int
    in_order: int = 0


class TensorBoardBackend:
    """Writes event files."""

    FORMS: ClassVar[dict[str, str]] = FORMS

    _context: RunContext
    _renderer: Renderer
    _folder: Path
    _file: EventFile
    _head: HeadFile

    def __init__(self) -> None:
        self._next = 0
        self._last_ns = 0
        self._ahead = False
        self._size = 0
        self._in_order = 0

    def open(self, *, context: RunContext) -> dict[str, str]:
        """Open the run's event file, cut a torn end, and render what is missing."""
        try:
            from ranklog.backends.tensorboard import events
        except ImportError as error:
            raise MissingExtraError(
                "the TensorBoard backend needs TensorBoard: pip install 'ranklog[tensorboard]'"
            ) from error
        self._context = context
        self._folder = context.savedir / context.facts.run_id
        make_private_dir(self._folder)
        self._renderer = self._new_renderer()
        stem = f"events.out.tfevents.{context.facts.created_ns // 10**9:010d}.ranklog"
        self._head = HeadFile(self._folder, stem)
        self._file = EventFile(self._folder / f"{stem}.1")
        progress = self._load_progress()
        if self._file.keep(progress.size):
            self._next, self._in_order = progress.next_ordinal, progress.in_order
        if self._file.size == 0:
            self._file.append(frame(events.file_start(context.facts.created_ns)))
        try:
            self._take(earlier_entries(context))
        except Refused:
            pass  # The cursor has the reason from the first delivery.
        self._write_head(None)
        return {"run_id": context.facts.run_id, "folder": str(self._folder)}

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        """Store entries.

        Raises:
            Refused: some have a content that cannot be shown. The others are stored.
        """
        if self._ahead:
            self._file.size = self._size
            self._renderer = self._new_renderer()
            for entry in earlier_entries(self._context, below=self._next):
                self._restore(entry)
            self._ahead = False
        try:
            self._take(entry for entry in entries if entry.ordinal >= self._next)
        finally:
            if self._renderer.head_changed or any(isinstance(entry.record, Params) for entry in entries):
                self._write_head(None)

    def close(self, *, status: Status | None, timeout_s: float) -> None:
        """Write the status beside the hparams and close the file."""
        del timeout_s  # Nothing here waits for others.
        try:
            if status is not None and self._renderer.disorder.begins:
                self._put_in_order()
            self._write_head(status)
        finally:
            self._file.close()

    def _put_in_order(self) -> None:
        every = earlier_entries(self._context, below=self._next)
        events = b"".join(map(frame, self._renderer.in_order(every)))
        self._in_order = self._next
        self._write(events, self._next)

    def _restore(self, entry: Entry) -> None:
        self._renderer.restore(entry)
        if entry.ordinal < self._in_order:
            self._renderer.disorder.begins.clear()

    def _take(self, entries: Iterable[Entry]) -> None:
        refused: dict[int, str] = {}
        buffer = bytearray()
        upto = self._next
        for entry in entries:
            self._last_ns = max(self._last_ns, entry.record.time_ns)
            if entry.ordinal < upto:
                self._restore(entry)
                continue
            try:
                for event in self._renderer.render(entry):
                    buffer += frame(event)
            except Refused as error:
                refused |= dict.fromkeys(error.ordinals, error.reason)
            upto = entry.ordinal + 1
            if len(buffer) >= _BUFFER_BYTES:
                self._commit(buffer, upto)
                buffer = bytearray()
        self._commit(buffer, upto)
        if refused:
            raise Refused.together(refused)

    def _commit(self, buffer: bytearray, upto: int) -> None:
        if upto != self._next:
            self._write(bytes(buffer), upto)

    def _write(self, events: bytes, upto: int) -> None:
        """Write events, then save the progress. After a kill in between, the next open cuts the events."""
        self._ahead, self._size = True, self._file.size  # if this fails, the renderer is ahead of the file
        self._file.append(events)
        progress = Progress(self._context.facts.created_ns, upto, self._file.size, self._in_order)
        write_private(self._folder / _PROGRESS, msgspec.json.encode(progress))
        self._next = upto
        self._ahead = False

    def _new_renderer(self) -> Renderer:
        from ranklog.backends.tensorboard.render import Renderer

        return Renderer(self._context, self._folder / _ARTIFACTS)

    def _load_progress(self) -> Progress:
        created_ns = self._context.facts.created_ns
        try:
            content = (self._folder / _PROGRESS).read_bytes()
            progress = msgspec.json.decode(content, type=Progress)
        except (OSError, msgspec.MsgspecError):
            return Progress(created_ns, 0, 0)
        return progress if progress.created_ns == created_ns else Progress(created_ns, 0, 0)

    def _write_head(self, status: Status | None) -> None:
        """Write the head file: hparams, graph and layout."""
        from ranklog.backends.tensorboard import events
        from ranklog.backends.tensorboard.graph import graph_event

        renderer = self._renderer
        renderer.head_changed = False
        start_ns = self._context.facts.created_ns
        rendered: list[bytes] = []
        if renderer.params:
            rendered.append(events.session_start(renderer.params, start_ns))
            if status is not None:
                rendered.append(events.session_end(status, self._last_ns))
        if renderer.items.graphs:
            rendered.append(graph_event(renderer.items.graphs, start_ns))
        if (layout := renderer.charts.event(start_ns)) is not None:
            rendered.append(layout)
        if rendered:
            self._head.write([events.file_start(start_ns), *rendered])
