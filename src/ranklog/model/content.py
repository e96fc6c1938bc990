"""Canonical encodings of items: media types, and what the JSON of each says.

Written by capture, read by backends and views. Where an item is several files (a list of items, an embedding, a
saved model) its media type is `FOLDER` and its kind tells what they are:

- a list of images, figures, audios, videos or pages: files ``000.png``, ``001.png``, …; caption of the n-th in the
  meta ``caption.<n>``;
- an embedding: ``vectors.npy`` (float32, N by D), ``metadata.tsv`` (with a header line where it has several columns),
  ``sprite.png`` (with the size of one picture in the meta ``sprite_width`` and ``sprite_height``);
- a model: what the backend's own format has, or ``state_dict.pt`` and ``architecture.txt``.
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
    """Content of a `TABLE`: names of columns, and rows of JSON values."""

    columns: list[str]
    data: list[list[Any]]


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """Content of a `HISTOGRAM`: ``len(edges) == len(counts) + 1``, edges never decrease, and every number is finite.

    The sums are over the finite values; a sum beyond float64 is None. Edges may lie outside of ``min`` and ``max``
    where these are too close to each other for the number of bins.
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
    """Content of a `DATASET`: what identifies data, never the data.

    Attributes:
        name: What people call it; the identifier of the call by default.
        digest: Short hex digest; equal data gives an equal one.
        digest_of: What it is computed from: the whole content, a sample of rows, the listing of names, sizes and
            times of files, the shape alone, or it was given by the user.
        source: Address or absolute path; empty for data in memory.
        source_type: ``"local"``, ``"uri"``, ``"dataframe"``, ``"array"``, ``"torch"`` or ``"huggingface"``.
        columns: Names of columns to their types, where it has columns.
        rows: Number of rows or examples, where known.
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
        name: Unique; slashes are the scopes of the modules around it, for example ``features/0/conv2d``.
        op: What it does, for example ``conv2d``, ``input``, ``parameter`` or ``output``.
        inputs: Names of the nodes whose results it takes.
        shape: Shape of its result, where it is one tensor.
        dtype: Type of its result's elements, for example ``float32``.
    """

    name: str
    op: str
    inputs: list[str] = []
    shape: list[int] | None = None
    dtype: str | None = None


class Graph(msgspec.Struct, frozen=True):
    """Content of a `GRAPH`: operations in the order in which they ran."""

    nodes: list[GraphNode]


class PrCurve(msgspec.Struct, frozen=True, kw_only=True):
    """Content of a `PR_CURVE`: one value for each threshold, which grow from 0 to 1; counts are weighted."""

    thresholds: list[float]
    true_positives: list[float]
    false_positives: list[float]
    true_negatives: list[float]
    false_negatives: list[float]
    precision: list[float]
    recall: list[float]


class ReferencedFile(msgspec.Struct, frozen=True):
    """One file of a `Reference`: path below it, size in bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """Content of a `REFERENCE`: files that stay where they are.

    Attributes:
        uri: ``file://`` address of the file or folder.
        host: Host from which it was seen.
        is_folder: Whether it is a folder.
        files: Its files with their digests when it was logged.
    """

    uri: str
    host: str
    is_folder: bool
    files: list[ReferencedFile]
