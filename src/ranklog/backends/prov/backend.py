"""The provenance backend: a W3C PROV document of the run, and the files of its items.

The folder ``<savedir>/<run_id>/`` has ``provenance.json``, on request ``provenance.ttl`` and ``.xml``,
``provenance.dot`` and ``.svg``, and the files of items in ``artifacts/``. A document is written as a whole: after every
``save_after_n_logs`` logged records, on request (kind ``prov_documents``), and at the end.

The document follows from the journal alone. A second delivery changes nothing, and a run that was interrupted and
delivered later has the same document. The libraries ``prov`` and ``graphviz`` never run in the training process.

Writing a large document takes time. After one that took more than a second, the next one waits `REST` times that long,
except on request or at the end.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import msgspec

from ranklog.abc import Refused, RunContext
from ranklog.backends.prov.document import RunInfo, build_document
from ranklog.backends.prov.entities import ARTIFACTS
from ranklog.backends.prov.graph import NO_DOT, NoGraphvizError, draw_dot, draw_svg
from ranklog.backends.prov.items import FORMS, REQUESTS, WITHOUT_FILE
from ranklog.backends.prov.story import Story
from ranklog.backends.prov.superseded import SupersededValues
from ranklog.backends.shared.artifacts import ItemFiles
from ranklog.backends.shared.delivery_log import note
from ranklog.backends.shared.history import earlier_entries
from ranklog.backends.shared.run_facts import owner_of
from ranklog.journal.layout import make_private_dir, write_private
from ranklog.model.errors import InvalidArgumentError, MissingExtraError
from ranklog.model.record import End, Entry, Item, MetricInfo, Metrics, Params, Status
from ranklog.model.spec import Scalar

NAME = "provenance"
FORMATS: dict[str, tuple[str, dict[str, str | int]]] = {
    "json": ("json", {"indent": 1}),
    "turtle": ("rdf", {"rdf_format": "turtle"}),
    "xml": ("xml", {}),
}
SUFFIXES = {"json": ".json", "turtle": ".ttl", "xml": ".xml"}
_LIBRARIES = {"turtle": "rdflib", "xml": "lxml.etree"}
REST = 20
SLOW_S = 1.0


class ProvBackend:
    """Writes the provenance of the run."""

    FORMS: ClassVar[dict[str, str]] = FORMS

    _context: RunContext
    _directory: Path
    _superseded: SupersededValues
    _story: Story
    _files: ItemFiles

    def __init__(self) -> None:
        self._next = 0
        self._waiting = 0
        self._outdated = False
        self._not_before_s = 0.0
        self._reported_missing = False

    def open(self, *, context: RunContext) -> dict[str, str]:
        """Open the folder of the run and read the entries that were delivered before.

        Raises:
            MissingExtraError: a library is not installed.
        """
        self.__init__()  # type: ignore[misc]
        _check_libraries(self._formats(context))
        self._context = context
        self._directory = context.savedir / context.facts.run_id
        self._next = context.resumed_at
        self._superseded = SupersededValues()
        self._files = ItemFiles(context, self._directory / ARTIFACTS)
        for entry in earlier_entries(context):
            self._superseded.add(entry)
            if isinstance(entry.record, Item) and entry.record.kind not in WITHOUT_FILE:
                self._files.restore(entry.record)
        self._rebuild()
        known = {"run_id": context.facts.run_id, "directory": str(self._directory), "url": self._path(".json").as_uri()}
        if self._option("create_svg", True):
            known["svg"] = "drawn at the end" if shutil.which("dot") else f"not drawn: {NO_DOT}"
        return known

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        """Add entries, store their files, and write the document when it is due.

        Raises:
            Refused: the path of an item needs a folder where a file exists, or the other way round.
        """
        refused: dict[int, str] = {}
        requests: list[Item] = []
        for entry in entries:
            record = entry.record
            if isinstance(record, Item):
                if record.kind in REQUESTS:
                    requests.append(record)
                elif record.kind not in WITHOUT_FILE:
                    try:
                        self._files.store(record, entry.ordinal)
                    except Refused as error:
                        refused[entry.ordinal] = error.reason
        for entry in entries:
            self._add(entry)  # also refused entries, because they were logged
        if refused:
            raise Refused.together(refused)
        for item in requests:
            self._write(None, **self._graphs(item))
        wanted = self._option("save_after_n_logs", 100)
        if isinstance(wanted, int) and self._waiting >= wanted and time.monotonic() >= self._not_before_s:
            self._write(None, dot=bool(self._option("create_graph", True)), svg=False)

    def close(self, *, status: Status | None, timeout_s: float) -> None:
        """Write the document. With None, the run is still running in it."""
        svg = status is not None and bool(self._option("create_svg", True))
        self._write(status, dot=bool(self._option("create_graph", True)), svg=svg)

    def _add(self, entry: Entry) -> None:
        if entry.ordinal < self._next:
            return  # added by a try that failed after this
        self._next = entry.ordinal + 1
        self._outdated = self._superseded.add(entry) or self._outdated
        self._story.add(entry)
        self._waiting += isinstance(entry.record, (Metrics, MetricInfo, Params, Item))

    def _rebuild(self) -> None:
        """Build the story again, without the values that do not count any more."""
        self._story = Story(self._superseded, self._context.content)
        for entry in earlier_entries(self._context, below=self._next):
            self._story.add(entry)
        self._outdated = False

    def _write(self, status: Status | None, *, dot: bool, svg: bool) -> None:
        began_s = time.monotonic()
        if self._outdated:
            self._rebuild()
        ended = self._ended() if status is None else status
        document = build_document(self._story, self._run_info(ended))
        make_private_dir(self._directory)
        for name in self._formats(self._context):
            format_, options = FORMATS[name]
            text = document.serialize(format=format_, **options)
            write_private(self._path(SUFFIXES[name]), str(text).encode())
        if dot or svg:
            self._draw(draw_dot(document), svg=svg)
        self._waiting = 0
        took_s = time.monotonic() - began_s
        self._not_before_s = time.monotonic() + (REST * took_s if took_s > SLOW_S else 0.0)

    def _draw(self, dot: str, *, svg: bool) -> None:
        path = self._path(".dot")
        write_private(path, dot.encode())
        if not svg:
            return
        try:
            write_private(self._path(".svg"), draw_svg(dot))
        except NoGraphvizError as error:
            if self._reported_missing:
                return
            self._reported_missing = True
            text = f"no SVG of the provenance: {error}, then run: dot -Tsvg {path} -o {self._path('.svg')}"
            note(self._context.run_dir, text)
            with suppress(OSError, ValueError):  # the terminal is gone, which must not stop delivery
                self._context.console.write(f"ranklog: {text}\n")

    def _path(self, suffix: str) -> Path:
        return self._directory / f"{NAME}{suffix}"

    def _ended(self) -> Status | None:
        """Return how the last attempt ended, if no entry came after its end."""
        last = next(reversed(self._story.attempts.values()), None)
        return last.end.status if last is not None and isinstance(last.end, End) else None

    def _run_info(self, status: Status | None) -> RunInfo:
        facts = self._context.facts
        return RunInfo(
            facts=facts,
            owner=owner_of(self._context.run_dir),
            experiment=str(self._option("experiment_name", facts.experiment)),
            namespace=str(self._option("prov_user_namespace", "www.example.org")),
            status=status,
            records=self._story.records,
        )

    def _graphs(self, item: Item) -> dict[str, bool]:
        """Return the files that an item of kind ``prov_documents`` requests."""
        wanted: dict[str, bool] = {}
        with suppress(msgspec.MsgspecError):
            wanted = msgspec.json.decode(self._context.content(item.files[0]), type=dict[str, bool])
        return {"dot": wanted.get("create_graph", True), "svg": wanted.get("create_svg", True)}

    def _formats(self, context: RunContext) -> list[str]:
        given = str(context.spec.options.get("formats") or "")
        return list(dict.fromkeys(["json", *(name for part in given.split(",") if (name := part.strip()))]))

    def _option(self, name: str, default: Scalar) -> Scalar:
        given = self._context.spec.options.get(name)
        return default if given is None else given


def _check_libraries(formats: Sequence[str]) -> None:
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise InvalidArgumentError(
            f"formats={','.join(formats)!r} is not allowed: give one or more of {', '.join(FORMATS)}"
        )
    libraries = ["prov.model", "graphviz", *(_LIBRARIES[name] for name in formats if name in _LIBRARIES)]
    for library in libraries:
        try:
            import_module(library)
        except ImportError as error:
            raise MissingExtraError(f"provenance needs {library}: pip install 'ranklog[prov]'") from error
