"""The first exchange between ranks: who they are, which run they log, and which protocol version they use."""

from __future__ import annotations

import os
import socket

import msgspec

from ranklog.model.errors import WorldError
from ranklog.reduce.fused import Deadline

PROTOCOL = 2


class Handshake(msgspec.Struct, frozen=True, array_like=True):
    """What one rank sends.

    Attributes:
        protocol: Version of the messages between ranks.
        run_id: The run, if this rank knows it.
        rendezvous: Random name of this connection between the ranks; only rank 0's counts.
        host: Host on which the rank runs.
        pid: Process id of the rank.
        rank: Its rank.
    """

    protocol: int
    run_id: str
    rendezvous: str
    host: str
    pid: int
    rank: int


_decoder = msgspec.msgpack.Decoder(Handshake)


def shake_hands(calls: Deadline, *, rank: int, run_id: str | None, rendezvous: str) -> Handshake:
    """Exchange handshakes with all ranks; return that of rank 0.

    Raises:
        WorldError: the ranks run different versions, have opened different loggers, or cannot communicate.
    """
    own = Handshake(PROTOCOL, run_id or "", rendezvous, socket.gethostname(), os.getpid(), rank)
    received = [_decoder.decode(data) for data in calls.all_gather(msgspec.msgpack.encode(own))]
    first = received[0]
    for each in received:
        if each.protocol != first.protocol:
            raise WorldError(
                f"ranks run different versions of ranklog: protocol {first.protocol} on rank 0 ({first.host}),"
                f" {each.protocol} on rank {each.rank} ({each.host}); install the same version on all ranks"
            )
        if each.run_id and each.run_id != first.run_id:
            raise WorldError(
                f"ranks have opened different loggers: run {first.run_id!r} on rank 0, {each.run_id!r} on rank"
                f" {each.rank}; give all ranks the same run_id. If only some ranks open a logger, give it another"
                " experiment"
            )
    return first
