"""Turns items of every kind into their canonical bytes, in the training thread: what is logged is a snapshot.

In: an item, its identifier and kind. Out: an `Encoded`: media type and contents, each bytes or a path of a file
that the caller copies before it returns. Media and torch items are encoded by the modules beside this one.
"""

from __future__ import annotations

import json
import mimetypes
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from ranklog.model.errors import InvalidArgumentError, InvalidItemError
from ranklog.model.kinds import KINDS
from ranklog.model.spec import Scalar
from ranklog.model.text import storable

FOLDER = "inode/directory"


class Content(msgspec.Struct, frozen=True):
    """One file of an encoded item: its relative path, and its bytes or the file to copy them from."""

    path: str
    source: bytes | Path


class Encoded(msgspec.Struct, frozen=True):
    """An item in canonical form."""

    media: str
    contents: tuple[Content, ...]


def encode(item: object, name: str, kind: str, options: Mapping[str, Scalar]) -> Encoded:
    """Encode an item of any kind but ``metric``, ``param``, ``model`` and ``best_model``.

    Raises:
        InvalidItemError: when the kind cannot store such an item.
        InvalidArgumentError: when the identifier cannot name a file.
    """
    match kind:
        case "text":
            return _text(item, name)
        case "dict":
            return _dict(item, name)
        case "table":
            return _table(item, name)
        case "histogram":
            return _histogram(item, name, options.get("bins", 64))
        case "artifact":
            return _artifact(item, name)
        case "image":
            from ranklog.capture.encode_media import encode_image

            return Encoded("image/png", (Content(file_name(name, ".png"), encode_image(item, name)),))
        case "figure":
            from ranklog.capture.encode_media import encode_figure

            media, suffix, data = encode_figure(item, name)
            return Encoded(media, (Content(file_name(name, suffix), data),))
        case _:
            from ranklog.capture.encode_torch import encode_tensors

            return Encoded("application/vnd.pytorch", (Content(file_name(name, ".pt"), encode_tensors(item, name)),))


def wrong_item(item: object, name: str, kind: str, why: str = "") -> InvalidItemError:
    """The error for an item that its kind cannot store."""
    what = f"{type(item).__module__}.{type(item).__qualname__}".removeprefix("builtins.")
    return InvalidItemError(f"{kind} {name!r} is a {what}{why}: give {KINDS[kind].accepts}")


def file_name(name: str, suffix: str = "") -> str:
    """A safe relative path for an identifier; the suffix is added where the identifier has none like it.

    Example:
        >>> file_name("val/report", ".txt"), file_name("notes.md", ".txt"), file_name("v1.2", ".png")
        ('val/report.txt', 'notes.md', 'v1.2.png')
    """
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part != "/"]
    if not parts or ".." in parts:
        raise InvalidArgumentError(f"identifier={name!r} cannot name a file: leave out '..' and a bare '/'")
    path = str(PurePosixPath(*parts))
    present = PurePosixPath(path).suffix
    if not suffix or present == suffix or (suffix == ".txt" and present[1:].isalpha()):
        return path
    return path + suffix


def _text(item: object, name: str) -> Encoded:
    if not isinstance(item, str):
        raise wrong_item(item, name, "text")
    data = storable(item).encode()
    return Encoded("text/plain; charset=utf-8", (Content(file_name(name, ".txt"), data),))


def _json(value: object, name: str, kind: str) -> bytes:
    try:
        text = json.dumps(value, default=_plain, ensure_ascii=True)
        if "NaN" in text or "Infinity" in text:
            # JSON has neither, and strict readers refuse a whole file for one of them.
            plain = json.loads(text, parse_constant=lambda name: None if name == "NaN" else name)
            text = json.dumps(plain, ensure_ascii=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidItemError(f"{kind} {name!r} cannot be written as JSON: {error}") from error
    return text.encode()


def _plain(value: object) -> object:
    """What JSON lacks but people log: numpy scalars and arrays, tensors, paths, sets."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(f"a {type(value).__qualname__} is not JSON")


def _dict(item: object, name: str) -> Encoded:
    if not isinstance(item, Mapping):
        raise wrong_item(item, name, "dict")
    return Encoded("application/json", (Content(file_name(name, ".json"), _json(dict(item), name, "dict")),))


def _table(item: object, name: str) -> Encoded:
    columns, rows = _columns_and_rows(item, name)
    bad = next((row for row in rows if len(row) != len(columns)), None)
    if bad is not None:
        raise InvalidItemError(f"table {name!r} has {len(columns)} columns and a row of {len(bad)} cells")
    data = _json({"columns": columns, "data": rows}, name, "table")
    return Encoded("application/vnd.ranklog.table+json", (Content(file_name(name, ".json"), data),))


def _columns_and_rows(item: Any, name: str) -> tuple[list[str], list[list[object]]]:
    if hasattr(item, "columns") and hasattr(item, "itertuples"):
        return [str(c) for c in item.columns], [list(row) for row in item.itertuples(index=False)]
    if isinstance(item, Mapping):
        columns = {str(key): list(column) for key, column in item.items()}
        if len({len(column) for column in columns.values()}) > 1:
            raise InvalidItemError(f"table {name!r} has columns of different lengths")
        return list(columns), [list(row) for row in zip(*columns.values(), strict=True)]
    if isinstance(item, tuple) and len(item) == 2:
        return [str(c) for c in item[0]], [list(row) for row in item[1]]
    if isinstance(item, list) and item and all(isinstance(row, Mapping) for row in item):
        names = list(dict.fromkeys(str(key) for row in item for key in row))
        return names, [[row.get(column) for column in names] for row in item]
    raise wrong_item(item, name, "table")


def _histogram(item: Any, name: str, bins: Scalar) -> Encoded:
    import numpy as np

    torch = sys.modules.get("torch")
    if torch is not None and isinstance(item, torch.Tensor):
        item = item.detach().to("cpu", torch.float64).numpy()
    if isinstance(item, tuple) and len(item) == 2 and len(item[1]) == len(item[0]) + 1:
        counts, edges = (np.asarray(part, dtype=np.float64) for part in item)
        centres = (edges[:-1] + edges[1:]) / 2
        body = {
            "min": float(edges[0]),
            "max": float(edges[-1]),
            "sum": float(counts @ centres),
            "sum_squares": float(counts @ centres**2),
            "count": float(counts.sum()),
            "nonfinite": 0,
        }
    else:
        try:
            values = np.asarray(item, dtype=np.float64).ravel()
        except (TypeError, ValueError) as error:
            raise wrong_item(item, name, "histogram") from error
        if not isinstance(bins, int) or not 1 <= bins <= 10_000:
            raise InvalidArgumentError(f"bins={bins!r} is not allowed: give an int from 1 to 10000")
        finite = values[np.isfinite(values)]
        counts, edges = np.histogram(finite, bins=bins)
        body = {
            "min": float(finite.min()) if finite.size else float(edges[0]),
            "max": float(finite.max()) if finite.size else float(edges[-1]),
            "sum": float(finite.sum()),
            "sum_squares": float((finite**2).sum()),
            "count": float(finite.size),
            "nonfinite": int(values.size - finite.size),
        }
    body = {"edges": edges.tolist(), "counts": counts.tolist(), **body}
    data = _json(body, name, "histogram")
    return Encoded("application/vnd.ranklog.histogram+json", (Content(file_name(name, ".json"), data),))


def _artifact(item: object, name: str) -> Encoded:
    path = file_name(name)
    media = mimetypes.guess_type(path)[0] or "application/octet-stream"
    if isinstance(item, (bytes, bytearray, memoryview)):
        return Encoded(media, (Content(path, bytes(item)),))
    if not isinstance(item, (str, Path)):
        raise wrong_item(item, name, "artifact")
    source = Path(item)
    if source.is_file():
        return Encoded(media, (Content(path, source),))
    if source.is_dir():
        return Encoded(FOLDER, folder_contents(source))
    raise InvalidItemError(f"artifact {name!r}: no file or folder at {str(source)!r}")


def folder_contents(folder: Path) -> tuple[Content, ...]:
    """Every regular file below a folder, by its relative path."""
    files: Sequence[Path] = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(Content(storable(path.relative_to(folder).as_posix()), path) for path in files)
