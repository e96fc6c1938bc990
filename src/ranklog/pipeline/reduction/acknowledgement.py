"""Tells threads that flush when the values of this rank are reduced and kept.

The reducer thread publishes, in single attributes, how far it came; other threads wait at a `Gate`, so that a waiting
thread of the program holds no lock. On rank 0 the drain thread keeps the records, so that being reduced is enough here.
On other ranks they are kept once rank 0 has confirmed their round or, after a break, once the spill file is on disk.
"""

from __future__ import annotations

from collections.abc import Callable

from ranklog.pipeline.reduction.merge import SpillSink
from ranklog.pipeline.waiting import Gate
from ranklog.reduce.round import Rounds
from ranklog.world.progress import Progress


class Acknowledgement:
    """How far the rounds of one process came.

    Args:
        is_main: Whether this is rank 0.
        spill: This rank's spill file.
        progress: Moves communication on, for strategies that need the training thread.

    Attributes:
        rounds: The rounds, once there are any.
        given: Rows and batches of records that the drain thread has added.
        done: Whether the reducer thread has ended.
        changed: Wakes the threads that wait.
    """

    def __init__(self, is_main: bool, spill: SpillSink, progress: Progress | None) -> None:
        self._is_main = is_main
        self._spill = spill
        self._progress = progress
        self._flushing: dict[object, None] = {}
        self._begun = self._ended = 0  # steps
        self._reduced = (0, 0)  # how many were reduced, and the round in which that was seen
        self.rounds: Rounds | None = None
        self.given = 0
        self.done = False
        self.changed = Gate()

    def wait(self, deadline_s: float, *, wake: Callable[[], None], settled: Callable[[], bool], helping: bool) -> bool:
        """Wait until what was given so far is reduced and kept; returns whether that came in time.

        Args:
            deadline_s: Monotonic time.
            wake: Has the reducer thread begin another step.
            settled: Whether nothing waits to be reduced; asked when the thread has ended.
            helping: Whether the caller may move communication on: only the training thread may.
        """
        token = object()
        self._flushing[token] = None
        given, step = self.given, self._begun + 1  # which has seen that this flush waits

        def decided() -> bool:
            if self.done or self._reduced[0] < given:
                return self.done
            return self._is_kept(step) is not None and not (helping and self._must_answer())

        try:
            if not decided():
                wake()
                self.changed.wait_for(decided, deadline_s, self._progress if helping else None)
            reduced = self._reduced[0] >= given or (self.done and settled())
            return reduced and self._is_kept(step) is True
        finally:
            self._flushing.pop(token, None)

    def begin_step(self, rounds: Rounds) -> int:
        """Before a step of the rounds: ask rank 0, if a flush waits; returns how much was given until now."""
        self._begun += 1
        given, (reduced, number) = self.given, self._reduced
        asks = bool(self._flushing) and not self._is_main
        rounds.wanted = (number if reduced == given else rounds.number + 1) if asks else 0
        return given

    def end_step(self, rounds: Rounds, given: int, *, settled: bool, closing: bool) -> None:
        """After a step: publish how far it came."""
        if not self._spill.synced and (self._flushing or closing):
            self._spill.sync()
        if settled and given > self._reduced[0]:
            self._reduced = (given, rounds.number)
        self._ended = self._begun
        self.changed.changed()

    def rejoined(self) -> None:
        """This rank is in a new generation: what was in doubt may have to be reduced again."""
        self._reduced = (0, 0)

    def end(self) -> None:
        """The reducer thread has ended."""
        self.done = True
        self.changed.changed()

    def _is_kept(self, step: int) -> bool | None:
        """Whether what is reduced is kept, None while that is not known.

        Args:
            step: After a break, the first step that counts.
        """
        rounds = self.rounds
        given, number = self._reduced
        if rounds is not None and rounds.failed:
            return self._spill.synced if self._ended >= step or self.done else None
        if self._is_main or not given:
            return True
        if rounds is None:
            return None
        if rounds.agreed.confirmed >= number:
            return self._spill.synced
        return False if rounds.agreed.refused >= number or self.done else None

    def _must_answer(self) -> bool:
        """Whether another rank waits for rank 0's word, which this training thread has to move on."""
        rounds = self.rounds
        return self._progress is not None and rounds is not None and rounds.agreed.unanswered and not rounds.failed
