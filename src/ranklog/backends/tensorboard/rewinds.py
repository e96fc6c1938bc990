"""How an event file says that an attempt goes back to an earlier step, so that every reader hides the same points.

TensorBoard's default data server hides, tag by tag, all earlier points at the step of a new one and above. Its readers
in Python hide nothing in a file of version 2 until a `SessionLog.START`, which hides every tag. In a file of version 1
they hide tag by tag, where an event has a lower step than the event before. So events that go back are of version 1,
and each follows an empty event of the next step. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

_MAX_STEP = 2**63 - 1


def going_back(events: Iterable[bytes], *, step: int, time_ns: int) -> Iterator[bytes]:
    """The events of one step, marked so that they replace what their tags have at that step and above."""
    yield _version(1, time_ns)
    for event in events:
        later = Event(wall_time=time_ns / 1e9, step=min(step + 1, _MAX_STEP), summary=Summary())
        yield bytes(later.SerializeToString())
        yield event
    yield _version(2, time_ns)


def _version(number: int, time_ns: int) -> bytes:
    return bytes(Event(wall_time=time_ns / 1e9, file_version=f"brain.Event:{number}").SerializeToString())
