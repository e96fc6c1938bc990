"""The roll of one generation: which ranks form a communicator, each with the number that it drew for this meeting.

Pure. A torch store keeps every key of earlier rounds, and nothing that a worker of an elastic job sees numbers the
rounds: the restart count differs between agents. Each rank therefore draws a random number, its nonce, when it comes to
a meeting. Rank 0 lists the ranks and their nonces in a roll, and the hash of the roll names the communicator. A rank
that is listed with an older nonce is not meant, and waits for the next roll.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

import msgspec


class Roll(msgspec.Struct, frozen=True, array_like=True):
    """The members of one generation.

    Attributes:
        generation: 0 for the first communicator of these processes, then one more each time.
        ranks: Global ranks of the members, ascending; rank 0 is always the first.
        nonces: The nonce of each member.
    """

    generation: int
    ranks: tuple[int, ...]
    nonces: tuple[str, ...]

    @property
    def token(self) -> str:
        """Name that no other roll has: a hash of the roll."""
        return hashlib.sha256(self.encode()).hexdigest()[:24]

    def encode(self) -> bytes:
        """Return the bytes that `decode_roll` reads."""
        return msgspec.msgpack.encode(self)

    def lists(self, rank: int, nonce: str) -> bool:
        """Whether a rank is meant that came with this nonce."""
        return (rank, nonce) in zip(self.ranks, self.nonces, strict=True)


_decoder = msgspec.msgpack.Decoder(Roll)


def decode_roll(data: bytes) -> Roll:
    """Read an encoded roll.

    Raises:
        msgspec.MsgspecError: the bytes are no roll.
    """
    return _decoder.decode(data)


def draw_up(
    generation: int, present: Mapping[int, str], *, world_size: int, spent: Collection[str], all_needed: bool
) -> Roll | None:
    """Return the roll of the ranks that came, or None if it is too early.

    Args:
        generation: Number of the generation.
        present: The latest nonce of each rank that ever came.
        world_size: Number of ranks; other ranks belong to a round that had more.
        spent: Nonces of earlier generations: their ranks have not come again.
        all_needed: Whether to wait for all ranks.

    Example:
        >>> draw_up(1, {0: "a", 1: "b", 2: "c"}, world_size=3, spent={"b"}, all_needed=False).ranks
        (0, 2)
        >>> draw_up(1, {0: "a", 2: "c"}, world_size=3, spent=(), all_needed=True)
    """
    came = {rank: nonce for rank, nonce in sorted(present.items()) if rank < world_size and nonce not in spent}
    if 0 not in came or (all_needed and len(came) < world_size):
        return None
    return Roll(generation, tuple(came), tuple(came.values()))
