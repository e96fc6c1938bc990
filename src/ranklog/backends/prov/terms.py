"""Names and values as PROV takes them, in JSON, Turtle and XML alike: `Terms`, which also holds the document.

In: names and values of ours. Out: identifiers in the user's namespace, attributes in ours, values that every format
gives back as they are. What a format cannot hold is spelled out, so that no value makes a document unreadable.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from ranklog.backends.shared.escape import escape
from ranklog.model.spec import Scalar, distinct_key

NAMESPACE = "urn:ranklog:prov#"
"""Of the attributes and types that are ours; an address on the web would promise a page there."""

Value = Scalar | datetime | Iterable[str | float | datetime]

_NO_NAME = re.compile(r"[^A-Za-z0-9_.\-]")
_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # XML has no way to write these
_LONGEST_INT = 2**63


def namespace_uri(given: str) -> str:
    """A user's namespace as an address that names can be appended to.

    Example:
        >>> namespace_uri("www.example.org"), namespace_uri("https://example.org/runs#")
        ('http://www.example.org/', 'https://example.org/runs#')
    """
    uri = given if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", given) else f"http://{given}"
    return uri if uri.endswith(("/", "#", ":")) else f"{uri}/"


def local_name(*parts: str) -> str:
    """Parts joined to a name that XML, Turtle and JSON can hold.

    Example:
        >>> local_name("run", "7", "metric", "val/loss")
        'run.7.metric.val_x002F_loss'
    """
    return ".".join(escape(part, _NO_NAME) for part in parts)


def moment(time_ns: int) -> datetime:
    """A time in UTC, to the microsecond."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, timezone.utc).replace(
        microsecond=time_ns // 1000 % 1_000_000
    )


class Terms:
    """The document of one run, with its two namespaces.

    Args:
        run_id: The run.
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
        """Identifier of something that belongs to the run; of the run itself without parts."""
        return self._user[local_name("run", self._run_id, *parts)]

    def agent_name(self, *parts: str) -> Any:
        """Identifier of an agent, which other runs may have as well."""
        return self._user[local_name(*parts)]

    def term(self, name: str) -> Any:
        """A type or attribute of ours."""
        return self._own[name]

    def said(self, label: str, type_: Any, **values: Value) -> list[tuple[Any, Any]]:
        """Attributes: a label, a type (one of ours where it is text), and others by name; None is left out.

        ``value`` and ``location`` are PROV's own, the rest are ours. Of several values each is an attribute.
        """
        from prov.model import PROV

        found = [(PROV["label"], _plain(label)), (PROV["type"], self.term(type_) if isinstance(type_, str) else type_)]
        for key, value in values.items():
            name = PROV[key] if key in ("value", "location") else self.term(_camel(key))
            if isinstance(value, (str, int, float, bool, datetime)):
                found.append((name, _plain(value)))
            elif value is not None:
                # Python calls 1, 1.0 and True equal; PROV has three types for them.
                found += [(name, _plain(each)) for each in {distinct_key(each): each for each in value}.values()]
        return found


def _plain(value: str | float | datetime) -> Any:
    if isinstance(value, str):
        return escape(value, _NO_TEXT) if _NO_TEXT.search(value) else value
    if isinstance(value, float) and math.isnan(value):
        return "NaN"  # as a number it would differ from itself, and the document from its copy
    if isinstance(value, int) and not -_LONGEST_INT <= value < _LONGEST_INT:
        return str(value)
    return value


def _camel(name: str) -> str:
    first, *more = name.split("_")
    return first + "".join(word.capitalize() for word in more)
