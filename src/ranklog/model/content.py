"""Canonical encodings of items: their media types, and the structure of their JSON.

Training writes them, backends and views read them. Some items consist of several files: a list of items, an embedding,
a saved model. Their media type is `FOLDER`, and their kind determines the files:

- a list of images, figures, audio, videos or HTML: files ``000.png``, ``001.png``, …; the caption of the n-th is in the
  meta ``caption.<n>``;
- an embedding: ``vectors.npy`` (float32, N by D), ``metadata.tsv`` (with a header line if it has several columns),
  ``sprite.png`` (with the size of one picture in the meta ``sprite_width`` and ``sprite_height``);
- a model: the files of the backend's own format, or ``state_dict.pt`` and ``architecture.txt``.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

FOLDER = "inode/directory"
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
JSON = "application/json"
PNG = "image/png"
GIF = "image/gif"
WAV = "audio/wav"
PLOTLY = "application/vnd.plotly.v1+json"
TORCH = "application/vnd.pytorch"
TABLE = "application/vnd.ranklog.table+json"
HISTOGRAM = "application/vnd.ranklog.histogram+json"
DATASET = "application/vnd.ranklog.dataset+json"
GRAPH = "application/vnd.ranklog.graph+json"
PR_CURVE = "application/vnd.ranklog.pr_curve+json"
REFERENCE = "application/vnd.ranklog.reference+json"


class Table(msgspec.Struct, frozen=True):
    """Content of a `TABLE`: column names, and rows of JSON values."""

    columns: list[str]
    data: list[list[Any]]


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """Content of a `HISTOGRAM`: ``len(edges) == len(counts) + 1``, edges never decrease, and every number is finite.

    The sums are over the finite values; a sum beyond float64 is None. Edges may lie outside ``min`` and ``max`` if
    these are too close together for the number of bins.
    """

    edges: list[float]
    counts: list[float]
    min: float
    max: float
    sum: float | None
    sum_squares: float | None
    count: float
    nonfinite: int = 0


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """Content of a `DATASET`: what identifies the data, but never the data itself.

    Attributes:
        name: Name for people; by default the identifier of the call.
        digest: Short hex digest; equal data has an equal digest.
        digest_of: What the digest covers: the whole content, a sample of rows, the listing of names, sizes and times of
            files, only the shape, or ``"given"`` if the user gave the digest.
        source: Address or absolute path; empty for data in memory.
        source_type: ``"local"``, ``"uri"``, ``"dataframe"``, ``"array"``, ``"torch"`` or ``"huggingface"``.
        columns: Column names and their types; None without columns.
        rows: Number of rows or examples, if known.
        files: Number of files, for paths.
        size_bytes: Size of the files, for paths.
    """

    name: str
    digest: str
    digest_of: Literal["content", "sample", "listing", "shape", "given"]
    source: str = ""
    source_type: str = "local"
    columns: dict[str, str] | None = None
    rows: int | None = None
    files: int | None = None
    size_bytes: int | None = None


class GraphNode(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of a `Graph`.

    Attributes:
        name: Unique name; slashes separate the enclosing modules, for example ``features/0/conv2d``.
        op: Type of the operation, for example ``conv2d``, ``input``, ``parameter`` or ``output``.
        inputs: Names of the nodes whose results it takes.
        shape: Shape of its result, if that is one tensor.
        dtype: Element type of its result, for example ``float32``.
    """

    name: str
    op: str
    inputs: list[str] = []
    shape: list[int] | None = None
    dtype: str | None = None


class Graph(msgspec.Struct, frozen=True):
    """Content of a `GRAPH`: operations in the order of execution."""

    nodes: list[GraphNode]


class PrCurve(msgspec.Struct, frozen=True, kw_only=True):
    """Content of a `PR_CURVE`: one value per threshold. Thresholds grow from 0 to 1; counts are weighted."""

    thresholds: list[float]
    true_positives: list[float]
    false_positives: list[float]
    true_negatives: list[float]
    false_negatives: list[float]
    precision: list[float]
    recall: list[float]


class ReferencedFile(msgspec.Struct, frozen=True):
    """One file of a `Reference`: relative path, size in bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """Content of a `REFERENCE`: files that stay where they are.

    Attributes:
        uri: ``file://`` address of the file or folder.
        host: Host on which it was logged.
        is_folder: Whether it is a folder.
        files: Its files, with their digests at the time of logging.
    """

    uri: str
    host: str
    is_folder: bool
    files: list[ReferencedFile]
