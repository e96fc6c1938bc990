"""The first exchange of a generation of ranks.

It tells who they are, which run they log, which protocol version they use, and on what the generation begins.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

import msgspec

from ranklog.model.errors import WorldError
from ranklog.reduce.fused import Deadline
from ranklog.reduce.generation import Terms

PROTOCOL = 3


class Handshake(msgspec.Struct, frozen=True, array_like=True):
    """Message of one rank.

    Attributes:
        protocol: Version of the messages between ranks.
        run_id: The run, if this rank knows it.
        rendezvous: Random name of this connection between the ranks; only rank 0's counts.
        host: Host on which the rank runs.
        pid: Process id of the rank.
        rank: Its rank.
        serial: Number of the next ready-made record that it has for rank 0.
        terms: On what the generation begins; only rank 0's count.
    """

    protocol: int
    run_id: str
    rendezvous: str
    host: str
    pid: int
    rank: int
    serial: int = 0
    terms: Terms | None = None

    @classmethod
    def of(cls, rank: int, *, run_id: str | None, rendezvous: str, serial: int, terms: Terms | None) -> Handshake:
        """Return the handshake of this process."""
        return cls(PROTOCOL, run_id or "", rendezvous, socket.gethostname(), os.getpid(), rank, serial, terms)


_decoder = msgspec.msgpack.Decoder(Handshake)


def shake_hands(calls: Deadline, own: Handshake) -> list[Handshake]:
    """Exchange handshakes with all members of the generation; returns theirs, rank 0's first.

    Raises:
        WorldError: the ranks run different versions, have opened different loggers, or cannot communicate.
    """
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
    return received


def terms_of(received: Sequence[Handshake]) -> Terms:
    """Return rank 0's terms.

    Raises:
        WorldError: rank 0 sent none.
    """
    terms = received[0].terms
    if terms is None:
        raise WorldError("rank 0 did not send on what the generation of ranks begins")
    return terms
