"""Builders of canonical records for the tests of backends: what `ranklog.capture` would have written."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from ranklog.delivery.backends.base import RunContext
from ranklog.journal.layout import store_bytes, write_facts
from ranklog.journal.writer import JournalWriter
from ranklog.model.place import Place
from ranklog.model.record import EVERY_BACKEND, Attempt, Coverage, Entry, Item, Metrics, Record, RunFacts
from ranklog.model.spec import BackendSpec, Scalar

T0_NS = 1_700_000_000_000_000_000


class Run:
    """A run directory with a real journal; `add` writes records and returns them as entries."""

    def __init__(self, run_dir: Path, spec: BackendSpec, run_id: str = "run-1") -> None:
        self.dir = run_dir
        self.spec = spec
        run_dir.mkdir(parents=True)
        self.facts = RunFacts(
            protocol=1,
            run_id=run_id,
            experiment="exp",
            created_ns=T0_NS,
            ranklog_version="0.1.0",
            command=("train.py", "--lr", "0.1"),
        )
        write_facts(run_dir, self.facts)
        self.attempt = Attempt(1, run_id, 0, Place(), "host", 1, T0_NS, (spec,))
        self._writer = JournalWriter(run_dir, self.attempt)
        self.entries = [Entry(0, 0, self.attempt)]

    def add(self, *records: Record) -> list[Entry]:
        start = self._writer.ordinal
        self._writer.append(records)
        new = [Entry(start + index, 0, record) for index, record in enumerate(records)]
        self.entries += new
        return new

    def context(self, *, known: dict[str, str] | None = None, resumed_at: int = 0, attempt: int = 0) -> RunContext:
        return RunContext(
            facts=self.facts,
            spec=self.spec,
            run_dir=self.dir,
            known=known or {},
            attempt=attempt,
            resumed_at=resumed_at,
            console=io.StringIO(),
        )

    def item(
        self,
        kind: str,
        name: str,
        media: str,
        files: Iterable[tuple[str, bytes]],
        *,
        step: int = 0,
        rank: int = 0,
        meta: dict[str, Scalar] | None = None,
    ) -> Item:
        stored = tuple(store_bytes(self.dir, path, data) for path, data in files)
        return Item(kind, name, step, T0_NS + step * 10**9, EVERY_BACKEND, rank, media, stored, meta or {})

    def text(self, name: str, text: str, **more: int) -> Item:
        path = name if Path(name).suffix else f"{name}.txt"
        return self.item("text", name, "text/plain; charset=utf-8", [(path, text.encode())], **more)

    def dict(self, name: str, value: object, **more: int) -> Item:
        return self._json("dict", name, "application/json", value, **more)

    def table(self, name: str, columns: Sequence[str], data: Sequence[Sequence[object]], **more: int) -> Item:
        value = {"columns": columns, "data": data}
        return self._json("table", name, "application/vnd.ranklog.table+json", value, **more)

    def histogram(self, name: str, edges: Sequence[float], counts: Sequence[float], **more: int) -> Item:
        value = {
            "edges": edges,
            "counts": counts,
            "min": edges[0],
            "max": edges[-1],
            "sum": 0.0,
            "sum_squares": 0.0,
            "count": sum(counts),
            "nonfinite": 0,
        }
        return self._json("histogram", name, "application/vnd.ranklog.histogram+json", value, **more)

    def _json(self, kind: str, name: str, media: str, value: object, **more: int) -> Item:
        path = name if name.endswith(".json") else f"{name}.json"
        return self.item(kind, name, media, [(path, msgspec.json.encode(value))], **more)

    def image(self, name: str, png: bytes, *, caption: str | None = None, **more: int) -> Item:
        meta: dict[str, Scalar] = {"caption": caption} if caption else {}
        path = name if name.endswith(".png") else f"{name}.png"
        return self.item("image", name, "image/png", [(path, png)], meta=meta, **more)

    def figure(self, name: str, png: bytes, **more: int) -> Item:
        path = name if name.endswith(".png") else f"{name}.png"
        return self.item("figure", name, "image/png", [(path, png)], **more)

    def plotly(self, name: str, figure: object, **more: int) -> Item:
        path = str(Path(name).with_suffix(".json"))
        data = json.dumps(figure).encode()
        return self.item("figure", name, "application/vnd.plotly.v1+json", [(path, data)], **more)

    def file(self, name: str, data: bytes, **more: int) -> Item:
        return self.item("artifact", name, "application/octet-stream", [(name, data)], **more)

    def folder(self, name: str, files: dict[str, bytes], kind: str = "artifact", **more: int) -> Item:
        return self.item(kind, name, "inode/directory", files.items(), **more)

    def torch(self, name: str, data: bytes, **more: int) -> Item:
        path = name if name.endswith(".pt") else f"{name}.pt"
        return self.item("torch", name, "application/vnd.pytorch", [(path, data)], **more)


def metrics(
    step: int,
    values: dict[str, float],
    *,
    coverage: Coverage | None = None,
    corrects: bool = False,
    later_ms: int = 0,
) -> Metrics:
    """Scalars of a step; without ``coverage`` they are one rank's own."""
    time_ns = T0_NS + step * 10**9 + later_ms * 10**6
    op = "mean" if coverage else None
    return Metrics(step, time_ns, EVERY_BACKEND, values, op=op, coverage=coverage, corrects=corrects)


def png(width: int = 3, height: int = 2, color: tuple[int, int, int] = (255, 0, 0)) -> bytes:
    """A PNG image of one colour, made by hand."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = (b"\x00" + bytes(color) * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
