"""Encoders of text, HTML, alerts, mappings and tables. Pure; imports no large package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranklog.abc import Content, Encoded
from ranklog.items.file_names import file_name
from ranklog.model import content
from ranklog.model.errors import InvalidItemError
from ranklog.model.spec import Scalar
from ranklog.model.text import storable
from ranklog.values.fields import fields_of
from ranklog.values.plain import to_plain
from ranklog.values.refusing import refusing, wrong_item
from ranklog.values.tables import columns_and_rows

_COMPACT = (",", ":")


def encode_text(item: Any, name: str, options: Mapping[str, Any]) -> Encoded:
    """A text; characters that UTF-8 cannot encode are escaped."""
    if not isinstance(item, str):
        raise wrong_item(item, name, "text")
    data = storable(item).encode()
    return Encoded(content.TEXT, (Content(file_name(name, ".txt"), data),))


def encode_html(item: Any, name: str, options: Mapping[str, Any]) -> Encoded:
    """HTML: its text, or the path of its file."""
    if isinstance(item, Path):
        if not item.is_file():
            raise InvalidItemError(f"html {name!r}: no file at {str(item)!r}")
        return Encoded(content.HTML, (Content(file_name(name, ".html"), item),))
    if not isinstance(item, str):
        raise wrong_item(item, name, "html")
    return Encoded(content.HTML, (Content(file_name(name, ".html"), storable(item).encode()),))


def encode_alert(item: Any, name: str, options: Mapping[str, Any]) -> Encoded:
    """An alert: its text, its level, and for how many seconds an equal one need not be sent again."""
    if not isinstance(item, str):
        raise wrong_item(item, name, "alert")
    body = Content(file_name(name, ".txt"), storable(item).encode())
    meta: dict[str, Scalar] = {"level": options["level"], "wait_duration": options["wait_duration"]}
    return Encoded(content.TEXT, (body,), meta)


def encode_prov_documents(item: Any, name: str, options: Mapping[str, Any]) -> Encoded:
    """A request for the provenance document; the backend makes the document itself."""
    wanted = {option: options[option] for option in ("create_graph", "create_svg")}
    return Encoded(content.JSON, (Content(file_name(name, ".json"), as_json(wanted, name, "prov_documents")),))


def encode_dict(item: Any, name: str, options: Mapping[str, Any]) -> Encoded:
    """A mapping, or a value with named fields, as JSON."""
    if (named := fields_of(item)) is None:
        raise wrong_item(item, name, "dict")
    return Encoded(content.JSON, (Content(file_name(name, ".json"), as_json(named, name, "dict")),))


def encode_table(item: Any, name: str, options: Mapping[str, Any]) -> Encoded:
    """A table of any supported type, as columns and rows."""
    with refusing(f"table {name!r}"):
        table = columns_and_rows(item)
    if table is None:
        raise wrong_item(item, name, "table")
    data = as_json({"columns": table.columns, "data": table.rows}, name, "table")
    return Encoded(content.TABLE, (Content(file_name(name, ".json"), data),), changed=table.changed)


def as_json(value: object, name: str, kind: str) -> bytes:
    """JSON that strict readers accept, by the rule of `to_plain`. NaN becomes null, infinities become text.

    Raises:
        InvalidItemError: JSON cannot express the value.
    """
    with refusing(f"{kind} {name!r}"):
        text = json.dumps(to_plain(value), separators=_COMPACT)
    if "NaN" in text or "Infinity" in text:
        # JSON has neither, and strict readers refuse a whole file that contains one.
        text = json.dumps(
            json.loads(text, parse_constant=lambda name: None if name == "NaN" else name), separators=_COMPACT
        )
    return text.encode()
