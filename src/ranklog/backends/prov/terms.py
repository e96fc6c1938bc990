"""Names and values in the form that PROV accepts in JSON, Turtle and XML.

`Terms` holds the document and makes its identifiers, in the user's namespace, and its attributes, in ranklog's. Every
format returns the values unchanged. Values that a format cannot hold become text, so that no value makes a document
unreadable. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from ranklog.backends.shared.names import escape
from ranklog.model.spec import Scalar, distinct_key

NAMESPACE = "urn:ranklog:prov#"
"""Namespace of ranklog's attributes and types. A URN, because there is no web page at an address."""

Value = Scalar | datetime | Iterable[str | float | datetime]

_NO_NAME = re.compile(r"[^A-Za-z0-9_.\-]")
_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # XML cannot contain these
_LONGEST_INT = 2**63


def namespace_uri(given: str) -> str:
    """Return a user's namespace as an address to which names can be appended.

    Example:
        >>> namespace_uri("www.example.org"), namespace_uri("https://example.org/runs#")
        ('http://www.example.org/', 'https://example.org/runs#')
    """
    uri = given if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", given) else f"http://{given}"
    return uri if uri.endswith(("/", "#", ":")) else f"{uri}/"


def local_name(*parts: str) -> str:
    """Join parts to a name that XML, Turtle and JSON can hold.

    Example:
        >>> local_name("run", "7", "metric", "val/loss")
        'run.7.metric.val_x002F_loss'
    """
    return ".".join(escape(part, _NO_NAME) for part in parts)


def moment(time_ns: int) -> datetime:
    """Return a time in UTC with microseconds."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, timezone.utc).replace(
        microsecond=time_ns // 1000 % 1_000_000
    )


class Terms:
    """The document of one run, with its two namespaces.

    Args:
        run_id: Id of the run.
        namespace: The user's namespace.

    Attributes:
        document: A ``prov.model.ProvDocument``.
    """

    def __init__(self, run_id: str, namespace: str) -> None:
        from prov.model import ProvDocument

        self.document: Any = ProvDocument()
        self._user = self.document.add_namespace("user", namespace_uri(namespace))
        self._own = self.document.add_namespace("ranklog", NAMESPACE)
        self._run_id = run_id

    def name(self, *parts: str) -> Any:
        """Return the identifier of a part of the run, or of the run itself."""
        return self._user[local_name("run", self._run_id, *parts)]

    def agent_name(self, *parts: str) -> Any:
        """Return the identifier of an agent, which other runs can share."""
        return self._user[local_name(*parts)]

    def term(self, name: str) -> Any:
        """Return a type or attribute of ranklog."""
        return self._own[name]

    def attributes(self, label: str, type_: Any, **values: Value) -> list[tuple[Any, Any]]:
        """Return attributes: a label, a type and values by name, without those that are None.

        ``value`` and ``location`` are PROV's attributes; all others are ranklog's. A type given as text is ranklog's. A
        list becomes one attribute per value.
        """
        from prov.model import PROV

        found = [(PROV["label"], _plain(label)), (PROV["type"], self.term(type_) if isinstance(type_, str) else type_)]
        for key, value in values.items():
            name = PROV[key] if key in ("value", "location") else self.term(_camel(key))
            if isinstance(value, (str, int, float, bool, datetime)):
                found.append((name, _plain(value)))
            elif value is not None:
                # 1, 1.0 and True are equal in Python, but have three types in PROV.
                found += [(name, _plain(each)) for each in {distinct_key(each): each for each in value}.values()]
        return found


def _plain(value: str | float | datetime) -> Any:
    if isinstance(value, str):
        return escape(value, _NO_TEXT) if _NO_TEXT.search(value) else value
    if isinstance(value, float) and math.isnan(value):
        return "NaN"  # NaN differs from itself, so the document would differ from its copy
    if isinstance(value, int) and not -_LONGEST_INT <= value < _LONGEST_INT:
        return str(value)
    return value


def _camel(name: str) -> str:
    first, *more = name.split("_")
    return first + "".join(word.capitalize() for word in more)
