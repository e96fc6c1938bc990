"""Run rounds: every rank's reducer thread takes part, and rank 0 receives the records.

In: a `Buffer` and a `World`. Out: records, on rank 0. In each round the ranks first agree on a small header. If all
ranks hold the same rows, they take the fused path; otherwise the gathered path. Then ready-made records travel to rank
0 (see `ranklog.reduce.exchange`).

The first error ends a generation of ranks. If the world can regroup, the rounds are `broken` until `join` takes this
rank into the next generation. Until then rank 0 may `continue_alone`, and other ranks keep their values by `cut_off`.
In other worlds the rounds have `failed` for good, and each rank continues alone (`ranklog.reduce.spill`).

`step` never raises. It waits for the other ranks for at most about its time limit; then the calls of the round may take
as long again. Only the reducer thread calls `step`, `join`, `continue_alone` and `cut_off`; any thread the rest.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import numpy as np

from ranklog.abc import RegroupingWorld, SpillStore, World
from ranklog.model.errors import WorldError
from ranklog.model.record import Record
from ranklog.reduce.agree import Memory
from ranklog.reduce.buffer import Buffer
from ranklog.reduce.exchange import Exchange, open_desk
from ranklog.reduce.fused import Deadline
from ranklog.reduce.generation import generation_event
from ranklog.reduce.handshake import Handshake, shake_hands, terms_of
from ranklog.reduce.header import NO_ROUND, Agreed, Header, agree_header
from ranklog.reduce.output import Outgoing, RoundOutput
from ranklog.reduce.spill.breakdown import Breakdown
from ranklog.reduce.spill.buffer import SpillBuffer
from ranklog.world.single import SingleWorld

LEAVING = "a rank waits to join"


class Rounds:
    """The rounds of one process.

    Args:
        world: Communicator that no other thread uses.
        buffer: Rows of this rank.
        run_id: The run's id. It may be None on ranks other than 0; rank 0 sends it to them.
        store: Writes values that can no longer be sent; without it they are lost.

    Attributes:
        world: Communicator of the current generation.
        run_id: The run's id, known on every rank after the first round.
        cost_s: Duration of the last round, counted from the moment when all ranks had joined.
        number: Rounds that all ranks have begun, equal on all ranks.
        wanted: Last round for which this rank wants to know whether rank 0's disk has it; set before `step`.
        agreed: Header of the last round.
        finished: Whether all ranks are closing and nothing is pending anywhere; set in the same round on all.
        broken: Why this generation ended, until the rank joins the next one; None while the generation works.
        failed: Why this rank continues without the others; None while it does not.
    """

    def __init__(
        self, world: World, buffer: Buffer, *, run_id: str | None = None, store: SpillStore | None = None
    ) -> None:
        rank, size = world.place.rank, world.place.world_size
        self.world = self._calls = world  # the calls may also be those of this rank alone
        self._desk = open_desk(rank, size, buffer)
        self._exchange = Exchange(self._desk, range(size), Memory.fresh(size))
        self._spill = SpillBuffer(rank, size, store)
        self._alone = self._breakdown(self._desk.outgoing, self._desk.output)
        self._rendezvous = secrets.token_hex(4) if rank == 0 else ""
        self._generation = world.generation if isinstance(world, RegroupingWorld) else 0
        self._connected = self._behind = False
        self._carrying = False
        self._closing = False
        self._confirmed = self._refused = 0
        self.number = 0
        self.wanted = 0
        self.agreed: Agreed = NO_ROUND
        self.run_id = run_id
        self.cost_s = 0.0
        self.finished = False
        self.broken: str | None = None
        self.failed: str | None = None

    def _breakdown(self, outgoing: Outgoing, output: RoundOutput) -> Breakdown:
        desk = self._desk
        return Breakdown(self.world.place, desk.buffer, outgoing, output, self._spill, desk.merger, desk.receivers)

    @property
    def lost(self) -> int:
        """Values and records of this rank that will never be written."""
        return self._desk.output.lost + self._spill.lost

    @property
    def rendezvous(self) -> str | None:
        """Name of the spill files that were begun; None if there are none."""
        return self._spill.rendezvous

    @property
    def missing(self) -> list[int]:
        """Ranks that take no part in the rounds."""
        members = {self._desk.rank} if self.failed else set(self._exchange.members)
        return sorted(set(range(self._desk.size)) - members)

    @property
    def trouble(self) -> str | None:
        """Why the ranks do not communicate now; None while they do, or form a new generation for one that returns."""
        return self.failed or (None if self.broken == LEAVING else self.broken)

    @property
    def records_pending(self) -> bool:
        """Whether posted records wait to be sent, or the round that carries them is not over."""
        return self._carrying or self._desk.outgoing.queue.bytes_waiting > 0

    def post(self, records: Sequence[Record]) -> None:
        """Queue ready-made records for rank 0; one that cannot be encoded takes no other with it."""
        self._desk.outgoing.post(records)

    def request_close(self) -> None:
        """Close all rows. Nothing may be added or posted on this rank afterwards."""
        self._desk.buffer.close_all()
        self._closing = True

    def confirm(self, number: int, *, kept: bool) -> None:
        """On rank 0, note that the disk has (or refused) the records up to a round; the next round tells all ranks."""
        self._confirmed = max(self._confirmed, number if kept else 0)
        self._refused = max(self._refused, 0 if kept else number)

    def step(self, timeout_s: float) -> list[Record]:
        """Run one round; return the records that rank 0 is to write, nothing on other ranks.

        The time limit is also the age at which a row no longer waits for a rank.
        """
        # Ranks start at different times, so the longest limit so far counts until something was reduced.
        exchange = self._exchange
        exchange.patience_s = timeout_s if exchange.reduced_once else max(exchange.patience_s, timeout_s)
        try:
            if self._desk.size == 1 or self.failed or self.finished:
                self._step_alone()
            elif not self.broken:
                try:
                    self._round(timeout_s)
                except Exception as error:  # the reducer thread must survive any error
                    self._fail(error)
        except Exception as error:
            self._desk.output.lose(0, error)
        taken = self._desk.output.take()
        self._carrying = False
        return taken

    def _step_alone(self) -> None:
        closing = self._closing  # read first, so that everything logged before it is included
        self._carrying = True
        self._alone.step()
        if closing and self._desk.size == 1:
            self.finished = True

    def _fail(self, error: Exception) -> None:
        reason = (str(error) if isinstance(error, WorldError) else "") or repr(error)
        if isinstance(self.world, RegroupingWorld):
            self._leave(reason)
        else:
            self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        self.failed = reason
        self._carrying = True
        doubt = self._desk.ledger.last_round(self._desk.buffer)
        self._alone.begin(reason, rendezvous=self._rendezvous if self._connected else "", doubt=doubt)
        self._desk.ledger.settled()

    def _leave(self, reason: str) -> None:
        """This generation ends; the world can form another."""
        desk = self._desk
        self.broken = reason
        if desk.rank == 0:
            desk.ledger.leave(self._exchange.members, [receiver.received for receiver in desk.receivers])
            self._alone.keep(reason, rendezvous=self._rendezvous, doubt=desk.ledger.last_round(desk.buffer))

    def join(self, world: RegroupingWorld, timeout_s: float) -> None:
        """Take part in a new generation, after `broken`; raises `WorldError` if its members cannot be reached."""
        reason, self.broken = self.broken, "the ranks of a new generation did not meet"
        self.world = self._calls = world
        with self._alone.held.returning():
            self._connect(Deadline(world, timeout_s))
        self._begin(world.generation, reason or "")

    def continue_alone(self) -> None:
        """On rank 0, after `broken`: run rounds without the others until one of them waits to join."""
        self._calls = SingleWorld(self.world.place)
        self._exchange = Exchange(self._desk, (0,), self._exchange.memory, self._exchange.patience_s)
        self._begin(self._generation, self.broken or "")

    def cut_off(self) -> bool:
        """On another rank, after `broken`: keep values in the spill file until `join`; returns whether that works."""
        if not self.failed and self.broken and self._connected:
            doubt = self._desk.ledger.last_round(self._desk.buffer)
            if self._alone.cut_off(self.broken, rendezvous=self._rendezvous, doubt=doubt):
                self._desk.ledger.settled()
                self.failed = self.broken
        return self.failed is not None

    def give_up(self) -> None:
        """After `broken`: continue without the others for good; what cannot be kept is lost."""
        if self.broken and not self.failed:
            self._give_up(self.broken)

    def abandon(self, reason: str) -> list[Record]:
        """For another thread, while `step` hangs: stop waiting; return the records that rank 0 is to write instead."""
        self.request_close()
        desk = self._desk
        output = RoundOutput(desk.rank)
        alone = self._breakdown(Outgoing(desk.rank, desk.buffer, output), output)
        if desk.size == 1:
            alone.step()
        else:
            doubt = desk.ledger.last_round(desk.buffer)
            alone.begin(reason, rendezvous=self._rendezvous if self._connected else "", doubt=doubt)
        self.end()
        # The records that the hanging round had made before: their rows have left the buffer.
        return [*desk.output.records, *output.take()]

    def end(self) -> None:
        """Close the spill file, if there is one. Nothing may be added afterwards."""
        self._spill.end()

    def _round(self, timeout_s: float) -> None:
        desk = self._desk
        if not self._connected:
            self._connect(Deadline(self._calls, timeout_s))
        closing = self._closing  # read first, so that everything logged before it is counted below
        self._carrying = True
        desk.outgoing.collect()
        self._carrying = bool(desk.output.records)
        if self._behind:
            self._alone.set_aside(desk.forgotten(self._exchange.memory), rendezvous=self._rendezvous)
        own = Header(
            rows=desk.buffer.closed_count,
            closing=closing,
            bytes_waiting=desk.outgoing.queue.bytes_waiting if desk.rank else 0,
            age_s=desk.buffer.closed_age_s(),
            wanted=self.wanted,
            confirmed=self._confirmed if desk.rank == 0 else np.inf,
            refused=self._refused if desk.rank == 0 else np.inf,
            leaves=desk.rank == 0 and self._rank_waits(),
        )
        agreed = self.agreed = agree_header(own, Deadline(self._calls, timeout_s))
        self.number += 1
        desk.ledger.begin_round(self._generation, self.number)
        desk.outgoing.queue.confirm()
        # A new time limit: the wait for the last rank must not leave the rest of the round without time.
        calls = Deadline(self._calls, timeout_s)
        together_s = time.monotonic()
        if agreed.leave:
            self._leave(LEAVING)
        elif agreed.all_closing and not agreed.most_rows and not agreed.bytes_waiting:
            self.finished = True
        else:
            self._exchange.run(agreed, calls, closing=closing)
            if agreed.bytes_waiting:
                self._carrying = True
                self._exchange.transfer(calls)
            if desk.rank == 0 and self._spill.rendezvous is not None:
                self._spill.partial(desk.merger.partial_rows())
            self.cost_s = time.monotonic() - together_s

    def _rank_waits(self) -> bool:
        world = self.world
        return bool(self.missing) and isinstance(world, RegroupingWorld) and world.rank_waits_to_join()

    def _connect(self, calls: Deadline) -> None:
        """Exchange handshakes with all members, and settle what the last generation left in doubt."""
        desk, world = self._desk, self.world
        members = world.members if isinstance(world, RegroupingWorld) else range(desk.size)
        memory = self._exchange.memory
        number, serial = self.number + 1, self._alone.held.next_serial
        own = desk.ledger.terms(members, number, memory) if desk.rank == 0 else None
        me = Handshake.of(desk.rank, run_id=self.run_id, rendezvous=self._rendezvous, serial=serial, terms=own)
        received = shake_hands(calls, me)
        first, terms = received[0], terms_of(received)
        self.run_id = first.run_id or self.run_id
        self._rendezvous = first.rendezvous
        self._connected = True
        if desk.rank == 0:
            desk.resume({each.rank: each.serial for each in received[1:]})
        else:
            self._alone.held.put_back(desk.ledger)
            memory = desk.settle(terms)
            self._behind = self._behind or desk.missed_rounds(terms)
        self.number = terms.number
        self._exchange = Exchange(desk, members, memory, self._exchange.patience_s)

    def _begin(self, generation: int, reason: str) -> None:
        self._generation = generation
        self.agreed = NO_ROUND
        self.broken = self.failed = None
        if self._desk.rank == 0:
            self._desk.output.records.append(generation_event(generation, self.missing, self._desk.size, reason))
