"""Agree that all ranks create a private communicator now, or none does.

Creating one takes all ranks and blocks. It even deadlocks if another thread of the process calls ``Comm.Split`` or
``Comm.Dup`` at the same time. Open MPI 5.0 and MPICH 5.0 both do, by group and with sessions. It is therefore only
created while the main thread of every rank is here, and stays until all have the same answer. A rank may leave until it
is asked to stay. Rank 0 asks when all have arrived; it answers "go" when all have replied, or "off" when one has left.

In: connections to this rank's neighbours. Out: whether to go, equal on every rank that waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from ranklog.world.mpi.messages import Links, Message, Steps

CHANNEL = 0xFFFFFFFF
ARRIVE_S = 3.0
"""Seconds that a rank stays for others that have not arrived."""
ANSWER_S = 2.0
"""Seconds that rank 0 waits for the replies of ranks that had just arrived."""

_ARRIVED, _STAY, _STAYING, _GO, _OFF = range(1, 6)


def agree_to_create(links: Links) -> Steps[bool]:
    """Return whether all ranks have arrived and go on to create a communicator."""
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
    """Wait for rank 0's answer. Only rank 0 has a time limit here, because the others have promised to stay."""
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
