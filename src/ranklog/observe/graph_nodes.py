"""Collects the nodes of a graph from the calls of one forward.

In: calls with their arguments and results, in order. Out: nodes, named by scope and function, with the names of the
nodes that made their inputs. Tensors are recognised by identity.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import msgspec

from ranklog.model.content import GraphNode

MAX_NODES = 20_000
_STRANGER = "\0"


class Tracer:
    """Collects the nodes of one forward."""

    def __init__(self) -> None:
        self.scopes: list[str] = []
        self._inputs: list[GraphNode] = []
        self._nodes: list[GraphNode] = []
        self._names: dict[str, int] = {}
        self._made: dict[int, tuple[weakref.ref[Any], str]] = {}
        self._parameters: dict[int, tuple[Any, str]] = {}
        self._strangers: dict[int, tuple[Any, str]] = {}
        self._known: dict[str, str] = {}

    def note_parameter(self, name: str, parameter: Any) -> None:
        """Register a parameter; it becomes a node when a call first takes it."""
        self._parameters[id(parameter)] = (parameter, name)

    def add(self, op: str, name: str, takes: Any, gives: Any) -> None:
        """Add a node; ``takes`` and ``gives`` are tensors, or lists and mappings of tensors."""
        if len(self._nodes) >= MAX_NODES:
            return
        inputs = list(dict.fromkeys(self._source(tensor) for tensor in tensors_in(takes)))
        results = list(tensors_in(gives))
        node = self._node(op, name, inputs, results)
        self._nodes.append(node)
        for tensor in results:
            self._made[id(tensor)] = (weakref.ref(tensor), node.name)

    def take(self, value: Any) -> None:
        """Add inputs of the forward; keyword arguments are added at its end, when the hooks see them."""
        for tensor in tensors_in(value):
            count = len(self._inputs)
            node = self._node("input", "input" if count == 0 else f"input_{count}", [], [tensor])
            self._inputs.append(node)
            self._made[id(tensor)] = (weakref.ref(tensor), node.name)
            if (stranger := self._strangers.get(id(tensor))) is not None:
                self._known[stranger[1]] = node.name

    def graph(self) -> list[GraphNode]:
        """All nodes, inputs first."""
        return [*self._inputs, *map(self._resolved, self._nodes)]

    def _resolved(self, node: GraphNode) -> GraphNode:
        if not any(name.startswith(_STRANGER) for name in node.inputs):
            return node
        named = [self._known.get(name, name) for name in node.inputs]
        return msgspec.structs.replace(node, inputs=[name for name in named if not name.startswith(_STRANGER)])

    def _node(self, op: str, name: str, inputs: list[str], results: list[Any]) -> GraphNode:
        shown = results[0] if len(results) == 1 else None
        return GraphNode(
            name=self._unique(name),
            op=op,
            inputs=inputs,
            shape=None if shown is None else [int(size) for size in shown.shape],
            dtype=None if shown is None else str(shown.dtype).removeprefix("torch."),
        )

    def call(self, function: str, takes: Any, gives: Any) -> None:
        """Add the call of a function, in the current scope."""
        scope = self.scopes[-1] if self.scopes else ""
        self.add(function, f"{scope}/{function}" if scope else function, takes, gives)

    def _source(self, tensor: Any) -> str:
        made = self._made.get(id(tensor))
        if made is not None and made[0]() is tensor:
            return made[1]
        parameter = self._parameters.pop(id(tensor), None)
        if parameter is None or parameter[0] is not tensor:
            # A keyword argument, or a tensor that the graph does not show. Referenced, so that its id is not reused.
            return self._strangers.setdefault(id(tensor), (tensor, f"{_STRANGER}{id(tensor)}"))[1]
        self.add("parameter", parameter[1], (), tensor)
        return self._nodes[-1].name

    def _unique(self, name: str) -> str:
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return f"{name}_{count}" if count else name


def tensors_in(value: Any) -> Iterator[Any]:
    """All tensors in nested lists and mappings."""
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from tensors_in(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from tensors_in(each)
