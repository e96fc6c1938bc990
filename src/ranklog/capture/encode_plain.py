"""Encodes what is text by nature: texts, pages, alerts, mappings and tables. Pure; imports no large package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranklog.capture.encoded import Content, Encoded, file_name, wrong_item
from ranklog.model import content
from ranklog.model.errors import InvalidArgumentError, InvalidItemError
from ranklog.model.text import storable

LEVELS = ("info", "warning", "error")


def encode_text(item: object, name: str) -> Encoded:
    """A text; what no encoding can spell is escaped."""
    if not isinstance(item, str):
        raise wrong_item(item, name, "text")
    data = storable(item).encode()
    return Encoded(content.TEXT, (Content(file_name(name, ".txt"), data),))


def encode_html(item: object, name: str) -> Encoded:
    """A page: its text, or the path of its file."""
    if isinstance(item, Path):
        if not item.is_file():
            raise InvalidItemError(f"html {name!r}: no file at {str(item)!r}")
        return Encoded(content.HTML, (Content(file_name(name, ".html"), item),))
    if not isinstance(item, str):
        raise wrong_item(item, name, "html")
    return Encoded(content.HTML, (Content(file_name(name, ".html"), storable(item).encode()),))


def encode_alert(item: object, name: str, options: Mapping[str, Any]) -> Encoded:
    """An alert: what happened, how bad it is, and for how many seconds it need not be told again.

    ``level`` is one of `LEVELS`, also in W&B's spelling (``wandb.AlertLevel``, ``"WARN"``).
    """
    if not isinstance(item, str):
        raise wrong_item(item, name, "alert")
    given = options.get("level", "info")
    level = str(getattr(given, "value", given)).lower()
    level = "warning" if level == "warn" else level
    if level not in LEVELS:
        raise InvalidArgumentError(f"level={given!r} is not allowed: give one of {', '.join(LEVELS)}")
    wait = options.get("wait_duration", 0)
    wait_s = wait.total_seconds() if hasattr(wait, "total_seconds") else wait
    if isinstance(wait_s, bool) or not isinstance(wait_s, (int, float)) or not 0 <= wait_s < float("inf"):
        raise InvalidArgumentError(f"wait_duration={wait!r} is not allowed: give seconds, or a timedelta")
    body = Content(file_name(name, ".txt"), storable(item).encode())
    return Encoded(content.TEXT, (body,), {"level": level, "wait_duration": wait_s})


def encode_prov_documents(name: str, options: Mapping[str, Any]) -> Encoded:
    """The request for documents, which is all that this side knows of them."""
    wanted = {option: bool(options.get(option, True)) for option in ("create_graph", "create_svg")}
    return Encoded(content.JSON, (Content(file_name(name, ".json"), as_json(wanted, name, "prov_documents")),))


def encode_dict(item: object, name: str) -> Encoded:
    """A mapping as JSON."""
    if not isinstance(item, Mapping):
        raise wrong_item(item, name, "dict")
    return Encoded(content.JSON, (Content(file_name(name, ".json"), as_json(dict(item), name, "dict")),))


def encode_table(item: object, name: str) -> Encoded:
    """A table in one of its shapes as columns and rows."""
    columns, rows = _columns_and_rows(item, name)
    bad = next((row for row in rows if len(row) != len(columns)), None)
    if bad is not None:
        raise InvalidItemError(f"table {name!r} has {len(columns)} columns and a row of {len(bad)} cells")
    data = as_json({"columns": columns, "data": rows}, name, "table")
    return Encoded(content.TABLE, (Content(file_name(name, ".json"), data),))


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


def as_json(value: object, name: str, kind: str) -> bytes:
    """JSON that strict readers take; NaN becomes null, infinities become texts.

    Raises:
        InvalidItemError: JSON cannot express the value.
    """
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
