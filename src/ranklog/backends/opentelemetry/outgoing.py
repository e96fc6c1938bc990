"""Entries on their way to a receiver, and their division into requests. Pure, except for the calls that send."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from ranklog.abc import Refused
from ranklog.backends.opentelemetry.logs import Log
from ranklog.model.record import Metrics

MAX_WEIGHT = 5000
"""Most points per request, of about 200 bytes each. A log record counts as many as its text is long."""


class Outgoing(msgspec.Struct, frozen=True):
    """One entry: metrics or a log record.

    Attributes:
        ordinal: Ordinal of the entry.
        attempt: Number of its attempt.
        record: Its metrics or log record.
        uid: Unique id of a log record.
    """

    ordinal: int
    attempt: int
    record: Metrics | Log
    uid: str = ""

    @property
    def weight(self) -> int:
        """Share of a request."""
        if isinstance(self.record, Metrics):
            return len(self.record.values) + 1
        return 1 + len(str(self.record.body)) // 200


Send = Callable[[Sequence[Outgoing]], None]


def in_requests(outgoing: Sequence[Outgoing]) -> Iterator[Sequence[Outgoing]]:
    """Cut entries into parts of bounded weight, in order. A heavier entry is alone in its part."""
    part: list[Outgoing] = []
    weight = 0
    for each in outgoing:
        if part and weight + each.weight > MAX_WEIGHT:
            yield part
            part, weight = [], 0
        part.append(each)
        weight += each.weight
    if part:
        yield part


def send_all(send: Send, outgoing: Sequence[Outgoing], accepted: set[int], refused: dict[int, str]) -> None:
    """Send entries together. When they are refused, find the bad ones by halving.

    Args:
        send: Sends entries in one request.
        outgoing: The entries.
        accepted: Receives the ordinals of accepted entries.
        refused: Receives the reasons of refused ones, by ordinal.
    """
    try:
        send(outgoing)
        accepted.update(each.ordinal for each in outgoing)
    except Refused as error:
        if len(outgoing) == 1:
            refused[outgoing[0].ordinal] = error.reason
            return
        middle = len(outgoing) // 2
        send_all(send, outgoing[:middle], accepted, refused)
        send_all(send, outgoing[middle:], accepted, refused)
