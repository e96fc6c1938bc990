"""Builders of canonical records for the tests of backends: as a training process would have written them."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import wave
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ranklog.abc import RunContext
from ranklog.backends.contents import RunContents
from ranklog.journal.layout import write_facts
from ranklog.journal.store import store_bytes
from ranklog.journal.writer import JournalWriter
from ranklog.model import content
from ranklog.model.place import Place
from ranklog.model.record import EVERY_BACKEND, Attempt, Coverage, Entry, Item, Metrics, Params, Record, RunFacts
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
            command=("python", "-u", "jobs/train.py", "--lr", "0.1"),
            script="jobs/train.py",
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
            contents=RunContents(self.dir),
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

    def html(self, name: str, page: str, **more: int) -> Item:
        return self.item("html", name, content.HTML, [(f"{name}.html", page.encode())], **more)

    def audio(self, name: str, samples: Sequence[int], *, rate: int = 8000, caption: str = "", **more: int) -> Item:
        meta: dict[str, Scalar] = {"sample_rate": rate, **({"caption": caption} if caption else {})}
        return self.item("audio", name, content.WAV, [(f"{name}.wav", wav(samples, rate))], meta=meta, **more)

    def video(self, name: str, *, frames: int = 3, caption: str = "", **more: int) -> Item:
        meta: dict[str, Scalar] = {"fps": 4, **({"caption": caption} if caption else {})}
        return self.item("video", name, content.GIF, [(f"{name}.gif", gif(frames))], meta=meta, **more)

    def images(self, name: str, pictures: Sequence[bytes], *, captions: Sequence[str] = (), **more: int) -> Item:
        meta: dict[str, Scalar] = {f"caption.{index}": text for index, text in enumerate(captions)}
        files = [(f"{index:03d}.png", data) for index, data in enumerate(pictures)]
        return self.item("image", name, content.FOLDER, files, meta=meta, **more)

    def dataset(self, name: str, *, context: str = "training", **more: int) -> Item:
        value = content.Dataset(
            name="digits",
            digest="0123456789abcdef",
            digest_of="content",
            source="/data/digits.csv",
            columns={"x": "float64", "label": "int64"},
            rows=1797,
        )
        return self.structured("dataset", name, content.DATASET, value, meta={"context": context}, **more)

    def graph(self, name: str, **more: int) -> Item:
        nodes = [
            content.GraphNode(name="input", op="input", shape=[2, 4], dtype="float32"),
            content.GraphNode(name="net/0/weight", op="parameter", shape=[3, 4], dtype="float32"),
            content.GraphNode(
                name="net/0/linear", op="linear", inputs=["input", "net/0/weight"], shape=[2, 3], dtype="float32"
            ),
            content.GraphNode(name="net/1/relu", op="relu", inputs=["net/0/linear"], shape=[2, 3], dtype="float32"),
            content.GraphNode(name="output", op="output", inputs=["net/1/relu"]),
        ]
        return self.structured("graph", name, content.GRAPH, content.Graph(nodes), **more)

    def pr_curve(self, name: str, **more: int) -> Item:
        value = content.PrCurve(
            thresholds=[0.0, 0.5, 1.0],
            true_positives=[3.0, 2.0, 0.0],
            false_positives=[2.0, 1.0, 0.0],
            true_negatives=[0.0, 1.0, 2.0],
            false_negatives=[0.0, 1.0, 3.0],
            precision=[0.6, 2 / 3, 0.0],
            recall=[1.0, 2 / 3, 0.0],
        )
        return self.structured("pr_curve", name, content.PR_CURVE, value, **more)

    def embedding(self, name: str, **more: int) -> Item:
        vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
        out = io.BytesIO()
        np.save(out, vectors)
        files = [
            ("vectors.npy", out.getvalue()),
            ("metadata.tsv", b"label\tscore\na\t1\nb\t2\nc\t3\n"),
            ("sprite.png", png(4, 4)),
        ]
        meta: dict[str, Scalar] = {"sprite_width": 2, "sprite_height": 2}
        return self.item("embedding", name, content.FOLDER, files, meta=meta, **more)

    def alert(self, title: str, text: str, *, level: str = "warning", **more: int) -> Item:
        return self.item("alert", title, content.TEXT, [(f"{title}.txt", text.encode())], meta={"level": level}, **more)

    def prov_documents(self, name: str, **more: int) -> Item:
        return self._json("prov_documents", name, content.JSON, {"create_graph": False, "create_svg": False}, **more)

    def reference(self, name: str, folder: Path, kind: str = "model", **more: int) -> Item:
        """Files that stay where they are: what a sharded checkpoint becomes."""
        files = [
            content.ReferencedFile(path.relative_to(folder).as_posix(), path.stat().st_size, _sha256(path))
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
        value = content.Reference(uri=folder.as_uri(), host="host", is_folder=True, files=files)
        return self.structured(kind, name, content.REFERENCE, value, **more)

    def structured(self, kind: str, name: str, media: str, value: object, **more: Any) -> Item:
        return self.item(kind, name, media, [(f"{name}.json", msgspec.json.encode(value))], **more)

    def each_kind(self) -> list[Record]:
        """One record of every kind that reaches backends, named ``each/<kind>``, each with a content of its own."""
        return [
            metrics(1, {"each/metric": 0.5}),
            Params(T0_NS, EVERY_BACKEND, {"each/param": 0.25}),
            self.text("each/text", "a text of its own", step=1),
            self.dict("each/dict", {"depth": 3}, step=1),
            self.table("each/table", ["a", "b"], [[1, "x"], [2, "y"]], step=1),
            self.histogram("each/histogram", [0.0, 1.0, 3.0], [4, 6], step=1),
            self.image("each/image", png(3, 2), caption="a picture", step=1),
            self.figure("each/figure", png(5, 2), step=1),
            self.audio("each/audio", [0, 1000, -1000, 0], caption="a sound", step=1),
            self.video("each/video", caption="a film", step=1),
            self.html("each/html", "<b>a page of its own</b>", step=1),
            self.file("each/artifact", b"bytes of its own", step=1),
            self.dataset("each/dataset", step=1),
            self.torch("each/torch", b"PK-tensors", step=1),
            self.folder("each/model", {"state_dict.pt": b"PK-state"}, kind="model", step=1),
            self.folder("each/best_model", {"state_dict.pt": b"PK-best"}, kind="best_model", step=1),
            self.graph("each/graph", step=1),
            self.embedding("each/embedding", step=1),
            self.pr_curve("each/pr_curve", step=1),
            self.alert("each/alert", "what happened", step=1),
            self.prov_documents("each/prov_documents", step=1),
        ]

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


def wav(samples: Sequence[int], rate: int) -> bytes:
    """One channel of 16-bit samples."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.asarray(samples, dtype="<i2").tobytes())
    return out.getvalue()


def gif(frames: int) -> bytes:
    """Frames of 4 by 4 pixels, each of another grey."""
    from PIL import Image

    pictures = [Image.new("L", (4, 4), 40 * (index + 1)) for index in range(frames)]
    out = io.BytesIO()
    pictures[0].save(out, format="GIF", save_all=True, append_images=pictures[1:], duration=250, loop=0)
    return out.getvalue()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
