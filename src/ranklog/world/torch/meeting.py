"""Ranks meet over a torch store: rank 0 calls the roll, the others answer, and then all build the communicator.

In: a store that all ranks share. Out: the roll of the next generation, equal on all its members. No call waits longer
than about its time limit. Rank 0 withdraws a roll if a listed rank does not answer, so a key that an earlier round left
in the store, or a process that was stopped, delays the others but never joins by mistake.

Keys, all below ``ranklog/<channel>``: ``here/<rank>`` is the latest nonce of a rank, ``changes`` counts them,
``token`` names the latest roll and ``roll/<token>`` has it, ``answer/<token>/<rank>`` and ``answers/<token>`` are
the answers, ``go/<token>`` says that all have answered, and ``dropped/<nonce>`` that a rank did not.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from typing import Any

from ranklog.model.errors import WorldError
from ranklog.model.place import Place
from ranklog.world.shutdown import PROCESS_ENDING
from ranklog.world.torch.roll import Roll, decode_roll, draw_up

ANSWER_S = 5.0
"""Time that a listed rank of a small world has to answer, before rank 0 leaves it out of a later generation."""
ANSWER_PER_RANK_S = 1.5e-3
"""Additional time per rank of the world, because one store answers all requests: 11 s at 16,384 ranks (simulated)."""
_FIRST_POLL_S = 0.005
_LAST_POLL_S = 0.1
_NAMED_RANKS = 8


class Meeting:
    """Where the ranks of one channel meet, once per generation.

    Args:
        store: The part of a store that belongs to the channel.
        place: This rank.
        nonce: With which this rank comes first; the same for each try to meet.
        answered: Token of the roll that this rank answered in an earlier try.

    Attributes:
        nonce: With which this rank comes now, or comes next.
        answered: Token of the last roll that it answered with that nonce.
        generation: Number of the next generation.
    """

    def __init__(self, store: Any, place: Place, nonce: str, answered: str | None = None) -> None:
        self._store = store
        self._place = place
        self.nonce = nonce
        self._spent: set[str] = set()
        self._changes = -1
        self._present: dict[int, str] = {}
        self._seen: dict[str, Roll] = {}
        self.answered = answered
        self.generation = 0

    @property
    def store(self) -> Any:
        """The part of the store that belongs to the channel."""
        return self._store

    @property
    def place(self) -> Place:
        """This rank."""
        return self._place

    def meet(self, timeout_s: float, stop: threading.Event | None) -> Roll:
        """Return the roll of the next generation once all its members have answered. May be repeated after an error.

        The first generation needs all ranks. Rank 0 opens a later one when all have come, or at the time limit with
        those that have.

        Raises:
            WorldError: there was no such roll in time, or ``stop`` was set.
        """
        end_s = time.monotonic() + timeout_s
        self._announce()
        # Rank 0 calls the roll of a later generation when its time is over, so the answers need time after that.
        poll = _Poll(end_s + (answer_s(self._place.world_size) if self.generation else 0.0), stop)
        roll = self._call_roll(end_s, poll) if self._place.is_main else self._await_roll(poll)
        self._spent.update(roll.nonces)
        self.generation = roll.generation + 1
        self.nonce = new_nonce()
        self.answered = None
        return roll

    def others_wait(self) -> bool:
        """On rank 0: whether a rank has come that is in no generation yet."""
        self._read_present()
        size = self._place.world_size
        return any(0 < rank < size and nonce not in self._spent for rank, nonce in self._present.items())

    def node_names(self, roll: Roll) -> list[bytes]:
        """Return the name of each member's node."""
        return [bytes(name) for name in self._store.multi_get([f"node/{nonce}" for nonce in roll.nonces])]

    def _announce(self) -> None:
        """Say that this rank is here, unless the store has that already; a process of an earlier round may differ."""
        key = f"here/{self._place.rank}"
        if self._store.check([key]) and bytes(self._store.get(key)).decode() == self.nonce:
            return
        self._store.set(f"node/{self.nonce}", f"{socket.gethostname()}/{self._place.node_rank}")
        self._store.set(key, self.nonce)
        self._store.add("changes", 1)

    def _read_present(self) -> bool:
        """Read the latest nonces if one is new; returns whether one is."""
        changes = self._store.add("changes", 0)
        if changes == self._changes:
            return False
        # The count is read before the nonces, so a nonce that comes meanwhile is noticed the next time.
        self._changes = changes
        size = self._place.world_size
        keys = {rank: f"here/{rank}" for rank in range(size)}
        if not self._store.check(list(keys.values())):
            keys = {rank: key for rank, key in keys.items() if self._store.check([key])}
        values = self._store.multi_get(list(keys.values()))
        self._present = {rank: bytes(value).decode() for rank, value in zip(keys, values, strict=True)}
        return True

    def _call_roll(self, end_s: float, poll: _Poll) -> Roll:
        """On rank 0: publish rolls until all ranks of one have answered."""
        first = self.generation == 0
        roll: Roll | None = None
        dropped = False
        answer_end_s = 0.0
        while True:
            changed = self._read_present()
            late = time.monotonic() >= end_s
            if roll is not None and not changed and not first and time.monotonic() >= answer_end_s:
                self._drop(roll)
                roll, dropped = None, True
            if roll is None or changed:
                drawn = draw_up(
                    self.generation,
                    self._present,
                    world_size=self._place.world_size,
                    spent=self._spent,
                    all_needed=first or not (late or dropped),
                )
                if drawn is not None and drawn != roll:
                    answer_end_s = time.monotonic() + answer_s(self._place.world_size)
                    self._store.set(f"roll/{drawn.token}", drawn.encode())
                    self._store.set("token", drawn.token)
                    roll = drawn
            if roll is not None and (first or len(roll.ranks) > 1) and self._all_answered(roll):
                self._store.set(f"go/{roll.token}", "1")
                return roll
            if not poll.wait():
                raise self._nobody(roll)

    def _all_answered(self, roll: Roll) -> bool:
        return bool(self._store.add(f"answers/{roll.token}", 0) >= len(roll.ranks) - 1)

    def _drop(self, roll: Roll) -> None:
        """Leave out the ranks that did not answer, until they come again: they ended, or were stopped."""
        for nonce in self._unanswered(roll).values():
            self._store.set(f"dropped/{nonce}", "1")
            self._spent.add(nonce)

    def _unanswered(self, roll: Roll) -> dict[int, str]:
        """Return the listed ranks that have not answered, with their nonces."""
        others = zip(roll.ranks[1:], roll.nonces[1:], strict=True)
        return {rank: nonce for rank, nonce in others if not self._store.check([f"answer/{roll.token}/{rank}"])}

    def _await_roll(self, poll: _Poll) -> Roll:
        """On other ranks: answer each roll that lists this rank until one is complete."""
        while True:
            roll = self._latest_roll()
            if roll is not None and roll.lists(self._place.rank, self.nonce):
                self._answer(roll.token)
                if self._store.check([f"go/{roll.token}"]):
                    return roll
            if self._store.check([f"dropped/{self.nonce}"]) or self._missed_the_start(roll):
                self.nonce = new_nonce()
                self.answered = None
                self._announce()
            if not poll.wait():
                raise self._nobody(roll)

    def _missed_the_start(self, roll: Roll | None) -> bool:
        """Whether a roll that this rank answered has begun and ended without it, as it was stopped meanwhile."""
        answered = self.answered
        if answered is None or roll is None or roll.token == answered:
            return False
        return bool(self._store.check([f"go/{answered}"]))

    def _answer(self, token: str) -> None:
        key = f"answer/{token}/{self._place.rank}"
        if not self._store.check([key]):
            self._store.set(key, "1")
            self._store.add(f"answers/{token}", 1)
        self.answered = token

    def _latest_roll(self) -> Roll | None:
        if not self._store.check(["token"]):
            return None
        token = bytes(self._store.get("token")).decode()
        if token not in self._seen:
            self._seen = {token: decode_roll(bytes(self._store.get(f"roll/{token}")))}
        return self._seen[token]

    def _nobody(self, roll: Roll | None) -> WorldError:
        size = self._place.world_size
        if self.generation:
            return WorldError(f"{self._place}: no other rank came to continue the reduction")
        if roll is not None and self._place.is_main:
            missing = list(self._unanswered(roll))
        elif self._place.is_main:
            missing = [rank for rank in range(size) if rank not in self._present]
        else:
            # Each takes one request to the store, so it does not check all ranks of a large job.
            missing = [rank for rank in range(min(size, 64)) if not self._store.check([f"here/{rank}"])]
        if not missing:
            return WorldError(f"not all of {size} ranks joined in time")
        named = ", ".join(map(str, missing[:_NAMED_RANKS]))
        return WorldError(f"{len(missing)} of {size} ranks did not join: rank {named}")


def answer_s(world_size: int) -> float:
    """Return the time that a listed rank has to answer."""
    return ANSWER_S + world_size * ANSWER_PER_RANK_S


def new_nonce() -> str:
    """Draw a number with which a rank comes to a meeting."""
    return secrets.token_hex(8)


class _Poll:
    """Waits between requests to the store, longer each time, until a limit or a stop."""

    def __init__(self, end_s: float, stop: threading.Event | None) -> None:
        self._end_s = end_s
        self._stop = stop
        self._pause_s = _FIRST_POLL_S

    def wait(self) -> bool:
        """Wait for a moment; False if there is no time left."""
        left_s = self._end_s - time.monotonic()
        if left_s <= 0 or PROCESS_ENDING.is_set() or (self._stop is not None and self._stop.is_set()):
            return False
        pause_s = min(self._pause_s, left_s)
        self._pause_s = min(self._pause_s * 1.5, _LAST_POLL_S)
        if self._stop is None:
            time.sleep(pause_s)
        else:
            self._stop.wait(pause_s)
        return True
