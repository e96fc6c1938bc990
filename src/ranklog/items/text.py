"""Encodes what is text by nature: texts, pages, alerts, mappings and tables. Pure; imports no large package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranklog.abc import Content, Encoded
from ranklog.items.result import file_name
from ranklog.model import content
from ranklog.model.errors import InvalidArgumentError, InvalidItemError
from ranklog.model.text import storable
from ranklog.values.fields import fields_of
from ranklog.values.numbers import number_option
from ranklog.values.plain import to_plain
from ranklog.values.refusing import refusing, wrong_item
from ranklog.values.tables import columns_and_rows

LEVELS = ("info", "warning", "error")
_COMPACT = (",", ":")


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
    seconds = wait.total_seconds() if hasattr(wait, "total_seconds") else wait
    wait_s = number_option(seconds, "wait_duration", "seconds, or a timedelta", low=0.0)
    body = Content(file_name(name, ".txt"), storable(item).encode())
    return Encoded(content.TEXT, (body,), {"level": level, "wait_duration": wait_s})


def encode_prov_documents(name: str, options: Mapping[str, Any]) -> Encoded:
    """The request for documents, which is all that this side knows of them."""
    wanted = {option: bool(options.get(option, True)) for option in ("create_graph", "create_svg")}
    return Encoded(content.JSON, (Content(file_name(name, ".json"), as_json(wanted, name, "prov_documents")),))


def encode_dict(item: object, name: str) -> Encoded:
    """A mapping, or a value with named fields, as JSON."""
    if (named := fields_of(item)) is None:
        raise wrong_item(item, name, "dict")
    return Encoded(content.JSON, (Content(file_name(name, ".json"), as_json(named, name, "dict")),))


def encode_table(item: object, name: str) -> Encoded:
    """A table in one of its shapes as columns and rows."""
    with refusing(f"table {name!r}"):
        table = columns_and_rows(item)
    if table is None:
        raise wrong_item(item, name, "table")
    data = as_json({"columns": table.columns, "data": table.rows}, name, "table")
    return Encoded(content.TABLE, (Content(file_name(name, ".json"), data),), changed=table.changed)


def as_json(value: object, name: str, kind: str) -> bytes:
    """JSON that strict readers take, by the rule of `to_plain`; NaN becomes null, infinities become texts.

    Raises:
        InvalidItemError: JSON cannot express the value.
    """
    with refusing(f"{kind} {name!r}"):
        text = json.dumps(to_plain(value), separators=_COMPACT)
    if "NaN" in text or "Infinity" in text:
        # JSON has neither, and strict readers refuse a whole file for one of them.
        text = json.dumps(
            json.loads(text, parse_constant=lambda name: None if name == "NaN" else name), separators=_COMPACT
        )
    return text.encode()
