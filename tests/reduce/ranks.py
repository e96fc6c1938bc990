"""Runs the rounds of several ranks in one process, one thread each, and collects what rank 0 would write."""

import threading
import time
from collections.abc import Callable, Sequence

from ranklog.model.record import Event, Metrics, Record
from ranklog.reduce.buffer import Buffer
from ranklog.reduce.round import Rounds
from ranklog.reduce.spill.format import SpillItem, unpack
from ranklog.world.fake import FakeWorld

Script = Callable[[int, Buffer, Rounds], None]
LIMIT_S = 20.0


class Kept:
    """Stands for a rank's spill file."""

    def __init__(self) -> None:
        self.items: list[SpillItem] = []
        self.ended = False

    def write(self, rendezvous: str, packet: bytes) -> None:
        assert rendezvous
        self.items += unpack(packet)

    def sync(self) -> bool:
        return True

    def end(self) -> None:
        self.ended = True


class Outcome:
    """What came out of a job."""

    def __init__(self, size: int) -> None:
        self.records: list[Record] = []
        self.rounds: list[Rounds] = []
        self.errors: list[BaseException] = []
        self.size = size

    def metrics(self, name: str) -> list[Metrics]:
        return [r for r in self.records if isinstance(r, Metrics) and name in r.values]

    def series(self, name: str) -> dict[int, float]:
        return {m.step: m.values[name] for m in self.metrics(name)}

    def coverage(self, name: str) -> dict[int, tuple[int, int]]:
        """Step to (answered, contributed)."""
        return {m.step: (m.coverage.answered, m.coverage.contributed) for m in self.metrics(name) if m.coverage}

    def events(self, code: str) -> list[Event]:
        return [r for r in self.records if isinstance(r, Event) and r.code == code]


def log(buffer: Buffer, step: int, op: str = "mean", weight: float = 1.0, to: int = -1, **values: float) -> None:
    buffer.add(values, step=step, op=op, to=to, time_ns=1_000 + step, weight=weight)


def run_ranks(script: Script, size: int, *, timeout_s: float = 5.0, close: bool = True) -> Outcome:
    """Run ``script`` on every rank's thread, then close and finish the rounds together."""
    outcome = Outcome(size)
    worlds = FakeWorld(size).ranks()
    buffers = [Buffer(rank) for rank in range(size)]
    outcome.rounds = [Rounds(worlds[r], buffers[r], run_id="run-a" if r == 0 else None) for r in range(size)]

    def one(rank: int) -> None:
        rounds = outcome.rounds[rank]
        try:
            script(rank, buffers[rank], rounds)
            if close:
                rounds.request_close()
            end_s = time.monotonic() + LIMIT_S
            while not (rounds.finished or rounds.failed) and time.monotonic() < end_s:
                outcome_records = rounds.step(timeout_s)
                assert rank == 0 or not outcome_records
                outcome.records.extend(outcome_records)
        except BaseException as error:
            outcome.errors.append(error)

    threads = [threading.Thread(target=one, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert not any(thread.is_alive() for thread in threads), "a rank hangs"
    if outcome.errors:
        raise outcome.errors[0]
    return outcome


def step_all(rounds: Sequence[Rounds], count: int = 1, timeout_s: float = 5.0) -> list[Record]:
    """Have all ranks do some rounds at the same time; returns rank 0's records."""
    records: list[Record] = []
    errors: list[BaseException] = []

    def one(rank: int) -> None:
        try:
            for _ in range(count):
                out = rounds[rank].step(timeout_s)
                if rank == 0:
                    records.extend(out)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(rank,), daemon=True) for rank in range(len(rounds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in threads), "a rank hangs"
    return records


def job(size: int) -> tuple[list[Buffer], list[Rounds]]:
    """Buffers and rounds of all ranks, to be driven by `step_all`."""
    worlds = FakeWorld(size).ranks()
    buffers = [Buffer(rank) for rank in range(size)]
    return buffers, [Rounds(worlds[r], buffers[r], run_id="run-a" if r == 0 else None) for r in range(size)]
