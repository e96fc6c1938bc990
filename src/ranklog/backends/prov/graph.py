"""A PROV document as a graph that fits on one page: DOT text, and SVG if Graphviz is installed.

Shapes and colours follow the PROV recommendation: yellow ovals are entities, blue boxes are activities, orange houses
are agents. A collection lists its members, a context shows the number of its epochs, and all versions of an item are
one node. The first `NODES` other nodes are drawn, the rest is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from ranklog.model.errors import RanklogError

NODES = 150
LISTED = 12
LABEL_CHARS = 60
NO_DOT = "the program dot of Graphviz is not on PATH; install it (apt-get install graphviz)"

_ENTITY = {"shape": "ellipse", "style": "filled", "fillcolor": "#FFFC87"}
_ACTIVITY = {"shape": "box", "style": "filled", "fillcolor": "#9FB1FC"}
_AGENT = {"shape": "house", "style": "filled", "fillcolor": "#FED37F"}


class NoGraphvizError(RanklogError):
    """The program ``dot`` is missing or failed. The message says what helps."""


def draw_dot(document: Any) -> str:
    """Draw the graph of a document as DOT."""
    import graphviz

    drawing = _Drawing(document)
    graph = graphviz.Digraph("provenance", graph_attr={"rankdir": "RL", "ranksep": "1"}, node_attr={"fontsize": "11"})
    for name, label, style in drawing.nodes():
        graph.node(name, graphviz.escape(label), **style)
    for tail, head, label in drawing.edges():
        graph.edge(tail, head, label, fontsize="9")
    return str(graph.source)


def draw_svg(dot: str) -> bytes:
    """Draw the graph as SVG.

    Raises:
        NoGraphvizError: the program ``dot`` is missing or failed.
    """
    import graphviz

    try:
        return bytes(graphviz.Source(dot).pipe("svg", quiet=True))
    except graphviz.ExecutableNotFound as error:
        raise NoGraphvizError(NO_DOT) from error
    except (graphviz.CalledProcessError, OSError) as error:
        raise NoGraphvizError(f"the program dot of Graphviz failed ({error})") from error


class _Drawing:
    """The nodes and edges for the records of a document."""

    def __init__(self, document: Any) -> None:
        from prov.model import ProvActivity, ProvAgent, ProvElement, ProvMembership

        records = document.get_records()
        self._relations = [record for record in records if not record.is_element()]
        self._listed: dict[str, list[str]] = {}
        self._labels: dict[str, str] = {}
        self._styles: dict[str, dict[str, str]] = {}
        self._stands_for: dict[str, str] = {}
        labels = {str(each.identifier): _label(each) for each in document.get_records(ProvElement)}
        for membership in document.get_records(ProvMembership):
            collection, member = _ends(membership)
            self._stands_for[member] = collection
            self._listed.setdefault(collection, []).append(labels[member])
        groups: dict[tuple[str, ...], str] = {}
        contexts: dict[str, str] = {}
        for record in document.get_records(ProvElement):
            name = str(record.identifier)
            context = _one(record, "context")
            kind = _type(record)
            if kind == "Context":
                contexts[context] = name
            if kind == "Epoch":
                self._stands_for[name] = contexts[context]
            if name in self._stands_for:
                continue
            group = (_one(record, "kind"), _one(record, "name"), _one(record, "rank"))
            if all(group) and groups.setdefault(group, name) != name:
                self._stands_for[name] = groups[group]
                continue
            if len(self._labels) >= NODES:
                self._stands_for[name] = _MORE
                continue
            self._labels[name] = _one(record, "name") if all(group) else labels[name]
            agent, activity = isinstance(record, ProvAgent), isinstance(record, ProvActivity)
            self._styles[name] = _AGENT if agent else _ACTIVITY if activity else _ENTITY

    def nodes(self) -> Iterable[tuple[str, str, dict[str, str]]]:
        """Yield name, label and style of each node."""
        folded = Counter(self._stands_for.values())
        for name, label in self._labels.items():
            members = self._listed.get(name, [])
            lines = [label, *members[:LISTED]]
            if len(members) > LISTED:
                lines.append(f"… {len(members) - LISTED} more")
            elif folded[name] and not members:
                is_context = self._styles[name] is _ACTIVITY
                lines.append(f"{folded[name]} epochs" if is_context else f"{folded[name] + 1} versions")
            yield _node(name), "\n".join(lines), self._styles[name]
        if folded[_MORE]:
            yield _node(_MORE), f"… {folded[_MORE]} more", {"shape": "plaintext"}

    def edges(self) -> Iterable[tuple[str, str, str]]:
        """Yield each edge once, as tail, head and label."""
        found: dict[tuple[str, str, str], None] = {}
        for relation in self._relations:
            label = str(relation.get_type()).rpartition(":")[2]
            ends = _ends(relation)
            for head in ends[1:]:
                tail, head = self._drawn(ends[0]), self._drawn(head)  # noqa: PLW2901 - the nodes drawn for the records
                if tail != head:
                    found[_node(tail), _node(head), _VERBS.get(label, label)] = None
        return found

    def _drawn(self, name: str) -> str:
        return self._stands_for.get(name, name)


_MORE = "more"
_VERBS = {
    "Usage": "used",
    "Generation": "wasGeneratedBy",
    "Start": "wasStartedBy",
    "Communication": "wasInformedBy",
    "Association": "wasAssociatedWith",
    "Delegation": "actedOnBehalfOf",
    "Attribution": "wasAttributedTo",
}


def _node(name: str) -> str:
    return name.replace(":", "/")  # a colon would mean a port of the node


def _ends(relation: Any) -> list[str]:
    """Return the names that a relation connects, its subject first."""
    from prov.identifier import QualifiedName

    return [str(value) for _, value in relation.formal_attributes if isinstance(value, QualifiedName)]


def _label(record: Any) -> str:
    label = str(record.label)
    return label if len(label) <= LABEL_CHARS else f"{label[:LABEL_CHARS]}…"


def _type(record: Any) -> str:
    return next((type_.localpart for type_ in record.get_asserted_types()), "")


def _one(record: Any, attribute: str) -> str:
    """Return one of ranklog's attributes as text, or nothing."""
    return next((str(value) for name, value in record.extra_attributes if name.localpart == attribute), "")
