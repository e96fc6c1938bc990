"""Graphs of modules as TensorBoard's graph of a run. Pure.

A run has one graph in TensorBoard. Several graphs are therefore put side by side in it, each in its own scope. The
shapes of results are attributes of the nodes, which TensorBoard shows on the edges.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto.attr_value_pb2 import AttrValue
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.node_def_pb2 import NodeDef
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.versions_pb2 import VersionDef

from ranklog.model.content import Graph, GraphNode

_REFUSED = re.compile(r"[^A-Za-z0-9_./-]")


def graph_event(graphs: Mapping[str, Graph], time_ns: int) -> bytes:
    """Return the graph of a run as one event; ``graphs`` are by name."""
    nodes = [
        _node(node, f"{_plain(name)}/" if len(graphs) > 1 else "")
        for name, graph in graphs.items()
        for node in graph.nodes
    ]
    definition = GraphDef(node=nodes, versions=VersionDef(producer=22))
    event = Event(wall_time=time_ns / 1e9, graph_def=definition.SerializeToString(deterministic=True))
    return bytes(event.SerializeToString(deterministic=True))


def _node(node: GraphNode, scope: str) -> Any:
    attributes = {}
    if node.shape is not None:
        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in node.shape])
        attributes["_output_shapes"] = AttrValue(list=AttrValue.ListValue(shape=[shape]))
    if node.dtype is not None:
        attributes["dtype"] = AttrValue(s=node.dtype.encode())
    return NodeDef(
        name=scope + _plain(node.name),
        op=node.op,
        input=[scope + _plain(source) for source in node.inputs],
        attr=attributes,
    )


def _plain(name: str) -> str:
    return _REFUSED.sub("_", name)
