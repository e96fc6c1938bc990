"""Charts of the Custom Scalars page, chosen by the reduction of metrics. Pure.

A metric reduced by ``stats`` is a chart of the mean with a band from the smallest to the largest value of all ranks. A
metric reduced by ``per_rank`` is a chart with one line per rank.
"""

from __future__ import annotations

import re

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalar_metadata

from ranklog.model.record import Metrics

_RANK = re.compile(r"(.+)/rank_\d+")


class Charts:
    """The charts of one run."""

    def __init__(self) -> None:
        self._bands: dict[str, None] = {}
        self._ranks: dict[str, None] = {}

    def add(self, record: Metrics) -> bool:
        """Add the charts of a record and return whether there are new ones."""
        before = len(self._bands) + len(self._ranks)
        if record.op == "stats":
            names = record.values.keys()
            bases = [name.removesuffix("/mean") for name in names if name.endswith("/mean")]
            self._bands |= dict.fromkeys(base for base in bases if {f"{base}/min", f"{base}/max"} <= names)
        elif record.op in (None, "per_rank"):
            self._ranks |= {match[1]: None for name in record.values if (match := _RANK.fullmatch(name))}
        return len(self._bands) + len(self._ranks) > before

    def event(self, time_ns: int) -> bytes | None:
        """Return the layout as one event, or None when there are no charts."""
        categories = []
        if self._bands:
            content = [
                layout_pb2.Chart(title=base, margin=layout_pb2.MarginChartContent(series=[_band(base)]))
                for base in self._bands
            ]
            categories.append(layout_pb2.Category(title="over all ranks", chart=content))
        if self._ranks:
            content = [
                layout_pb2.Chart(
                    title=base,
                    multiline=layout_pb2.MultilineChartContent(tag=[rf"^{re.escape(base)}/rank_\d+$"]),
                )
                for base in self._ranks
            ]
            categories.append(layout_pb2.Category(title="each rank", chart=content))
        if not categories:
            return None
        layout = layout_pb2.Layout(version=0, category=categories)
        tensor = TensorProto(
            dtype=DT_STRING,
            tensor_shape=TensorShapeProto(),
            string_val=[layout.SerializeToString(deterministic=True)],
        )
        value = Summary.Value(
            tag=custom_scalar_metadata.CONFIG_SUMMARY_TAG,
            tensor=tensor,
            metadata=custom_scalar_metadata.create_summary_metadata(),
        )
        event = Event(wall_time=time_ns / 1e9, summary=Summary(value=[value]))
        return bytes(event.SerializeToString(deterministic=True))


def _band(base: str) -> layout_pb2.MarginChartContent.Series:
    return layout_pb2.MarginChartContent.Series(value=f"{base}/mean", lower=f"{base}/min", upper=f"{base}/max")
