"""The TensorBoard backend: one folder of event files for a run, ``<savedir>/<run_id>/``.

Takes entries of the journal, renders each to events (`tensorboard_events`) at the end of one event file.
Guarantees: what is delivered again shows once, also after a kill in the middle of a write, and a lost or damaged
file is rendered anew from the journal. For that a small file beside it holds how far it is whole and which entry
comes next. What TensorBoard has no view for lies under ``artifacts/``, with a text that names it. Reduced values
below full coverage are listed in the text ``ranklog/coverage``, events in ``ranklog/events``.

Where an attempt goes back to an earlier step, what it supersedes (`ranklog.journal.rewind`) is there until the
attempt ends; then the file is written anew without it, as a whole. TensorBoard's default loader shows the newest
points at once; one that is already running with another loader shows the rest after a restart.

TensorBoard takes the hparams, the graph and the layout of the Custom Scalars page that it reads first, so they have
a file of their own that is written anew as a whole; a TensorBoard that is already running shows changed ones after
a restart. Embeddings are files for the projector (`tensorboard_projector`). Blocks for the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import msgspec

from ranklog.delivery.backends.base import Refused, RunContext
from ranklog.delivery.backends.history import earlier_entries
from ranklog.delivery.backends.tensorboard_file import EventFile, frame
from ranklog.journal.layout import make_private_dir, write_private
from ranklog.journal.rewind import Rewinds
from ranklog.model.errors import MissingExtraError
from ranklog.model.record import Attempt, Entry, Metrics, Params, Status
from ranklog.model.spec import Scalar

if TYPE_CHECKING:
    from ranklog.delivery.backends.tensorboard_render import Renderer

_BUFFER_BYTES = 4 * 1024 * 1024
# Their names must not hold "tfevents": TensorBoard would read them.
_PROGRESS = ".ranklog.json"
_BESIDE = ".ranklog.anew"
_ARTIFACTS = "artifacts"


class Progress(msgspec.Struct, frozen=True):
    """How far the event file is.

    Attributes:
        created_ns: Creation of the run it belongs to.
        next_ordinal: First entry that is not in the file.
        size: Bytes of the file that are whole.
        rewound: Whether it has points that a later attempt superseded.
    """

    created_ns: int
    next_ordinal: int
    size: int
    rewound: bool = False


class TensorBoardBackend:
    """Writes event files; see the module for what is where."""

    FORMS: ClassVar[dict[str, str]] = {
        "metric": "scalar",
        "param": "hparam",
        "text": "text",
        "dict": "text",
        "table": "text",
        "histogram": "histogram",
        "image": "image",
        "figure": "image; plotly: file",
        "audio": "audio",
        "video": "animated image",
        "dataset": "text",
        "graph": "graph",
        "embedding": "projector",
        "pr_curve": "PR curve",
        "alert": "text",
    }

    _context: RunContext
    _renderer: Renderer
    _folder: Path
    _file: EventFile

    def __init__(self) -> None:
        self._next = 0
        self._params: dict[str, Scalar] = {}
        self._last_ns = 0
        self._attempt = 0
        self._rewinds = Rewinds()
        self._rewound = False

    def open(self, *, context: RunContext) -> dict[str, str]:
        """Open the run's event file, cut what a kill left behind, and render what is missing."""
        try:
            from ranklog.delivery.backends import tensorboard_events as events
            from ranklog.delivery.backends.tensorboard_render import Renderer
        except ImportError as error:
            raise MissingExtraError(
                "the TensorBoard backend needs TensorBoard: pip install 'ranklog[tensorboard]'"
            ) from error
        self._context = context
        self._folder = context.savedir / context.facts.run_id
        make_private_dir(self._folder)
        self._renderer = Renderer(context, self._folder / _ARTIFACTS)
        self._file = EventFile(self._folder / self._file_name("1"))
        progress = self._load_progress()
        self._next = progress.next_ordinal if self._file.keep(progress.size) else 0
        self._rewound = progress.rewound
        if self._file.size == 0:
            self._file.append(frame(events.file_start(context.facts.created_ns)))
        try:
            self._take(earlier_entries(context))
        except Refused:
            pass  # The pump has it on record from the first time.
        self._write_head(None)
        return {"run_id": context.facts.run_id, "folder": str(self._folder)}

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        """Store entries.

        Raises:
            Refused: some have a content that cannot be shown; the others are stored.
        """
        try:
            self._take(entries)
        finally:
            if self._renderer.head_changed or any(isinstance(entry.record, Params) for entry in entries):
                self._write_head(None)

    def close(self, *, status: Status | None, timeout_s: float) -> None:
        """Note the status beside the hparams and close the file."""
        del timeout_s  # Nothing here waits for others.
        try:
            if self._rewound and status is not None:
                self._write_anew()
            self._write_head(status)
        finally:
            self._file.close()

    def _write_anew(self) -> None:
        """Write the event file without superseded points, beside it, then put it in its place."""
        from ranklog.delivery.backends import tensorboard_events as events
        from ranklog.delivery.backends.tensorboard_render import Renderer

        path = self._folder / self._file_name("1")
        beside = self._folder / _BESIDE
        beside.unlink(missing_ok=True)
        renderer = Renderer(self._context, self._folder / _ARTIFACTS)
        file = EventFile(beside)
        try:
            buffer = bytearray(frame(events.file_start(self._context.facts.created_ns)))
            attempt = 0
            upto = msgspec.structs.replace(self._context, resumed_at=self._next)
            for entry in earlier_entries(upto):
                if isinstance(entry.record, Attempt):
                    attempt = entry.record.attempt
                left = self._without_superseded(entry, attempt)
                try:
                    for event in renderer.render(left) if left is not None else ():
                        buffer += frame(event)
                except Refused:
                    continue  # on record from the first time
                if len(buffer) >= _BUFFER_BYTES:
                    file.append(bytes(buffer))
                    buffer = bytearray()
            file.append(bytes(buffer))
        finally:
            file.close()
        beside.replace(path)
        self._file.close()
        self._file = EventFile(path)
        self._rewound = False
        self._save_progress(self._next)

    def _without_superseded(self, entry: Entry, attempt: int) -> Entry | None:
        """The entry with what still counts of its values; None where nothing does."""
        record = entry.record
        if not isinstance(record, Metrics):
            return entry
        left = {
            name: value
            for name, value in record.values.items()
            if not self._rewinds.is_superseded(name, step=record.step, attempt=attempt)
        }
        return msgspec.structs.replace(entry, record=msgspec.structs.replace(record, values=left)) if left else None

    def _take(self, entries: Iterable[Entry]) -> None:
        refused: dict[int, str] = {}
        buffer = bytearray()
        upto = self._next
        for entry in entries:
            if isinstance(entry.record, Params):
                self._params |= entry.record.values
            elif isinstance(entry.record, Attempt):
                self._attempt = entry.record.attempt
            elif isinstance(entry.record, Metrics):
                record = entry.record
                back = self._rewinds.note(record.values, step=record.step, attempt=self._attempt)
                self._rewound = self._rewound or (bool(back) and entry.ordinal >= upto)
            self._last_ns = max(self._last_ns, entry.record.time_ns)
            if entry.ordinal < upto:
                self._renderer.learn(entry)
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
        """Write events, then note how far the file is: what a kill leaves in between is cut at the next open."""
        if upto == self._next:
            return
        self._file.append(bytes(buffer))
        self._save_progress(upto)

    def _save_progress(self, upto: int) -> None:
        progress = Progress(self._context.facts.created_ns, upto, self._file.size, self._rewound)
        write_private(self._folder / _PROGRESS, msgspec.json.encode(progress))
        self._next = upto

    def _load_progress(self) -> Progress:
        created_ns = self._context.facts.created_ns
        try:
            content = (self._folder / _PROGRESS).read_bytes()
            progress = msgspec.json.decode(content, type=Progress)
        except (OSError, msgspec.MsgspecError):
            return Progress(created_ns, 0, 0)
        return progress if progress.created_ns == created_ns else Progress(created_ns, 0, 0)

    def _write_head(self, status: Status | None) -> None:
        """Write the file of what TensorBoard reads once: hparams, graph, layout."""
        from ranklog.delivery.backends import tensorboard_events as events
        from ranklog.delivery.backends.tensorboard_graph import graph_event

        self._renderer.head_changed = False
        start_ns = self._context.facts.created_ns
        rendered: list[bytes] = []
        if self._params:
            tags = self._renderer.scalar_tags
            rendered += events.hparams(self._params, tags, status, start_ns, self._last_ns)
        if self._renderer.graphs:
            rendered.append(graph_event(self._renderer.graphs, start_ns))
        if (layout := self._renderer.charts.event(start_ns)) is not None:
            rendered.append(layout)
        if rendered:
            rendered.insert(0, events.file_start(start_ns))
            write_private(self._folder / self._file_name("0.hparams"), b"".join(map(frame, rendered)))

    def _file_name(self, suffix: str) -> str:
        return f"events.out.tfevents.{self._context.facts.created_ns // 10**9:010d}.ranklog.{suffix}"
