"""Marks in an event file where an attempt returns to an earlier step, so that every reader hides the same points. Pure.

TensorBoard's default data server hides, per tag, all earlier points at the step of a new point and above. Its Python
readers hide nothing in a file of version 2 until a `SessionLog.START`, which hides every tag. In a file of version 1
they hide points per tag when an event has a lower step than the event before. Events that go back are therefore of
version 1, and each follows an empty event of the next step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

_MAX_STEP = 2**63 - 1


def going_back(events: Iterable[bytes], *, step: int, time_ns: int) -> Iterator[bytes]:
    """Mark the events of one step, so that they replace the points of their tags at that step and above."""
    yield _version(1, time_ns)
    for event in events:
        later = Event(wall_time=time_ns / 1e9, step=min(step + 1, _MAX_STEP), summary=Summary())
        yield bytes(later.SerializeToString())
        yield event
    yield _version(2, time_ns)


def _version(number: int, time_ns: int) -> bytes:
    return bytes(Event(wall_time=time_ns / 1e9, file_version=f"brain.Event:{number}").SerializeToString())
