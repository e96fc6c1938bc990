"""The first thing that ranks tell each other: who they are, which run it is, which protocol they speak."""

from __future__ import annotations

import os
import socket

import msgspec

from ranklog.model.errors import WorldError
from ranklog.reduce.fused import Deadline

PROTOCOL = 1


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """What one rank tells.

    Attributes:
        protocol: Version of what the ranks say to each other.
        run_id: The run, where this rank knows it.
        meeting: Names this coming together of the ranks; only rank 0's counts.
        host: Where the rank runs.
        pid: Its process.
        rank: Its rank.
    """

    protocol: int
    run_id: str
    meeting: str
    host: str
    pid: int
    rank: int


_decoder = msgspec.msgpack.Decoder(Hello)


def greet(calls: Deadline, *, rank: int, run_id: str | None, meeting: str) -> Hello:
    """Tell the others who this is; returns what rank 0 told.

    Raises:
        WorldError: the ranks run different versions, have opened different loggers, or cannot talk.
    """
    own = Hello(PROTOCOL, run_id or "", meeting, socket.gethostname(), os.getpid(), rank)
    hellos = [_decoder.decode(data) for data in calls.all_gather(msgspec.msgpack.encode(own))]
    for hello in hellos:
        if hello.protocol != hellos[0].protocol:
            raise WorldError(
                f"ranks run different versions of ranklog: protocol {hellos[0].protocol} on rank 0 "
                f"({hellos[0].host}), {hello.protocol} on rank {hello.rank} ({hello.host}); install the same one"
            )
        if hello.run_id and hello.run_id != hellos[0].run_id:
            raise WorldError(
                f"ranks have opened different loggers: run {hellos[0].run_id!r} on rank 0, {hello.run_id!r} on rank"
                f" {hello.rank}; give the same run_id to all, and a logger that only some ranks open another experiment"
            )
    return hellos[0]
