"""Agrees that all ranks make a communicator of ranklog's own now, or none does.

Making one takes all ranks and blocks. Beside a ``Comm.Split`` or ``Comm.Dup`` of another thread of the process it even
deadlocks (Open MPI 5.0 and MPICH 5.0, by group and with sessions). So it is done only while the main thread of every
rank is known to be in here and to stay until all are answered the same: a rank may leave as long as it was not asked to
stay; rank 0 asks when all are here, and says "go" when all have answered, "off" when one has left.

In: links to this rank's neighbours. Out: whether to go, the same on every rank that waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from ranklog.world.mpi.messages import Links, Message, Steps

CHANNEL = 0xFFFFFFFF
ARRIVE_S = 3.0
"""So long a rank stays for others that are not here yet."""
ANSWER_S = 2.0
"""So long rank 0 waits for the answers of ranks that were here a moment ago."""

_ARRIVED, _STAY, _STAYING, _GO, _OFF = range(1, 6)


def agree_to_create(links: Links) -> Steps[bool]:
    """Whether all ranks are here and go on to make a communicator."""
    end_s = time.monotonic() + ARRIVE_S
    if not (yield from _all_say(links, links.children, _ARRIVED, end_s)):
        return False
    if links.parent is not None:
        links.send_short(links.parent, CHANNEL, Message(_ARRIVED, 0, b""))
        if not (yield from _all_say(links, [links.parent], _STAY, end_s)):
            return False
    _notify(links, _STAY)
    going = yield from _all_staying(links)
    _notify(links, _GO if going else _OFF)
    return going


def _all_staying(links: Links) -> Steps[bool]:
    """From here on no time limit but rank 0's: those who have answered wait for its word."""
    if links.parent is None:
        return (yield from _all_say(links, links.children, _STAYING, time.monotonic() + ANSWER_S))
    answers = set(links.children)
    answered = False
    while True:
        came = links.poll()
        answers = {child for child in answers if _next(links, child) != _STAYING}
        if not answers and not answered:
            links.send_short(links.parent, CHANNEL, Message(_STAYING, 0, b""))
            answered = True
        if (word := _next(links, links.parent)) is not None:
            return word == _GO
        yield came


def _all_say(links: Links, peers: Iterable[int], kind: int, end_s: float) -> Steps[bool]:
    silent = set(peers)
    while True:
        came = links.poll()
        silent = {peer for peer in silent if _next(links, peer) != kind}
        if not silent or time.monotonic() >= end_s:
            return not silent
        yield came


def _next(links: Links, peer: int) -> int | None:
    message = links.arrived(peer, CHANNEL)
    return None if message is None else message.kind


def _notify(links: Links, kind: int) -> None:
    for child in links.children:
        links.send_short(child, CHANNEL, Message(kind, 0, b""))
