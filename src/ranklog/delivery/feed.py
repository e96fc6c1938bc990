"""Delivery of one run to one backend: position in the journal, cursor, retries.

`Feed.step` delivers one batch and never raises. An error is written to the cursor, where `ranklog ls` finds it, and the
batch is retried after a pause. Guarantees: records go in order. The cursor moves only after the backend accepted them.
An `End` that no later attempt follows closes the backend with its status, and only then does the cursor pass it. No
record blocks the rest: poisonous records are set aside (`ranklog.delivery.poison`), and damage in the journal is noted
in the cursor. A cursor of another destination is ignored, so the whole run goes to the new one. Each feed is driven by
one thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from ranklog.abc import Backend, RunContext
from ranklog.backends.contents import RunContents
from ranklog.backends.shared.delivery_log import describe, details, note
from ranklog.delivery.batches import Batches
from ranklog.delivery.errors import explain_error, record_damage
from ranklog.delivery.lock import LockedError
from ranklog.delivery.poison import BatchDelivery
from ranklog.delivery.retry import Retry, asked_wait, is_throttled
from ranklog.delivery.step import Finish, Step
from ranklog.journal.cursor import Cursor, load_cursor, save_cursor
from ranklog.journal.layout import read_facts, segment_name
from ranklog.journal.reader import Damage
from ranklog.journal.targets import Target
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.identity import has_moved, keep_place, place_of
from ranklog.model.record import Status

CLOSE_TIMEOUT_S = 60.0
REOPEN_AFTER = 2
AWAIT_S = 1.0
"""Seconds between two looks for the end of a segment that the file system does not show yet."""
REDELIVER = "redeliver_from"


class Feed:
    """Delivers one run to one backend.

    Args:
        run_dir: The run directory.
        target: The backend.
        create: Creates a backend by name.
        console: Where the console backend prints.
        guard: Called before each batch. Raises `LockedError` when this process may not deliver. Otherwise returns a
            number that changes when another process may have delivered meanwhile.
        clock: Monotonic seconds.

    Attributes:
        target: The backend.
        cursor: Progress of the backend; read-only for others.
    """

    def __init__(
        self,
        run_dir: Path,
        target: Target,
        *,
        create: Callable[[str], Backend],
        console: TextIO,
        guard: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.target = target
        self._run_dir = run_dir
        self._create = create
        self._console = console
        self._guard = guard
        self._clock = clock
        self._retry = Retry()
        self._backend: Backend | None = None
        self._hopeless = False
        self._searching = False
        self._failed_at = -1
        self._epoch = 0
        self._load()

    @property
    def failures(self) -> int:
        """Failed tries in a row. Tries that the server asked to repeat later do not count."""
        return self._retry.failures

    @property
    def throttled(self) -> int:
        """Tries in a row that the server asked to repeat later."""
        return self._retry.throttled

    def step(self, finish: Finish | None = None) -> Step:
        """Deliver one batch if there is one. With `Finish`, close the backend when there is none."""
        if not self._retry.ready(self._clock()):
            return Step(failed=True, hopeless=self._hopeless, due_s=self._retry.due_s)
        try:
            epoch = self._guard()
            if epoch != self._epoch:
                self._restart(epoch)
            self._searching = False
            moved = self._deliver_batch(finish)
            if not moved and self._batches.awaits_segment is not None:
                return Step(due_s=self._clock() + AWAIT_S)
            done = not moved and finish is not None and self._finish(finish.status)
        except LockedError as error:
            # The cursor file belongs to the other process now.
            self._retry.failed(self._clock())
            self.cursor.error = describe(error)
            return Step(failed=True, due_s=self._retry.due_s)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a client library may raise anything
            return self._failed(error)
        if self._searching:  # no success yet: the pauses keep growing
            now = self._retry.ready(self._clock())
            return Step(moved=now, failed=not now, due_s=None if now else self._retry.due_s)
        # Records that the backend had accepted before the failure, and accepts again, are no success.
        if not moved or self.cursor.next_ordinal > self._failed_at:
            self._retry.succeeded()
            self._failed_at = -1
        self._hopeless = False
        return Step(moved=moved or (finish is not None and not done), done=done)

    def release(self) -> None:
        """Close the backend without a status, because the run continues later or elsewhere. Never raises."""
        backend, self._backend = self._backend, None
        if backend is None:
            return
        try:
            backend.close(status=None, timeout_s=CLOSE_TIMEOUT_S)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            note(self._run_dir, f"{self.target.label}: closing failed\n{details(error)}")

    def _restart(self, epoch: int) -> None:
        """Read the cursor again: another process may have delivered meanwhile."""
        self.release()
        self._load()
        self._epoch = epoch

    def _load(self) -> None:
        """Load the cursor; start a new one if it belongs to another destination."""
        target = self.target
        identity = target.own.spec.id if target.own else ""
        self.cursor = load_cursor(self._run_dir, target.index, target.label, identity)
        self._spec = keep_place(target.spec, self.cursor.place)
        self._place = place_of(self._spec, os.environ)
        if self.cursor.place and has_moved(self.cursor.place, self._place):
            note(self._run_dir, f"{target.label}: the destination is new, so the whole run goes there: {self._place}")
            self.cursor = Cursor(backend=target.label, id=identity)
        self._delivery = BatchDelivery(self._run_dir, target.label, self.cursor.stuck, self._clock)
        self._highest = self.cursor.next_ordinal
        self._seek(self.cursor.next_ordinal)

    def _seek(self, ordinal: int) -> None:
        """Continue at an ordinal. Reading starts at the head of its segment."""
        self.cursor.next_ordinal = ordinal
        closed = self.cursor.status is not None
        self._batches = Batches(
            self._run_dir, self.target, ordinal, self._is_set_aside, closed=closed, clock=self._clock
        )
        # Damage from here on is found again if it is still there.
        first = segment_name(self._batches.start)
        self.cursor.damage = {s: d for s, d in self.cursor.damage.items() if s < first}

    def _is_set_aside(self, ordinal: int) -> bool:
        """Whether a record was set aside. One that was only a suspect when a process died is tried again."""
        return ordinal < self._highest and str(ordinal) in self.cursor.refused

    def _deliver_batch(self, finish: Finish | None) -> bool:
        """Deliver a batch or the end of the run; returns whether there was one."""
        batches = self._batches
        batches.fill(extra=self._delivery.suspected)
        damaged = self._record_damage(batches.damage)
        if not batches.batch and batches.closing is None:
            if damaged or self.cursor.next_ordinal != batches.read_to:
                self._move_cursor()
            return False
        backend = self._opened()
        if backend is None:
            return True  # it asked to start from an earlier record
        pause_s = self._delivery.deliver(backend, batches, self.cursor, last=finish is not None)
        if pause_s is not None:
            # A new backend forgets what the failed call left in its memory.
            self.release()
            self._searching = True
            self._retry.pause(self._clock(), pause_s)
            self._move_cursor()
            return True
        if batches.closing is not None and not batches.batch:
            self._move_cursor()
            self._close(backend, batches.closing)
        self._move_cursor()
        return True

    def _move_cursor(self) -> None:
        """Move the cursor to the first record that waits.

        It passes an end only after the backend is closed. After a crash in between, the backend is closed again.
        """
        batches = self._batches
        read_to = batches.read_to - (batches.closing is not None)
        self.cursor.next_ordinal = batches.batch[0].ordinal if batches.batch else read_to
        self._highest = max(self._highest, self.cursor.next_ordinal)
        self._save()

    def _record_damage(self, damage: list[Damage]) -> bool:
        messages, changed = record_damage(damage, self.cursor)
        for message in messages:
            note(self._run_dir, f"{self.target.label}: {message}")
        return changed

    def _opened(self) -> Backend | None:
        """Return the open backend, or None when it asked to start from an earlier record."""
        if self._backend is not None:
            return self._backend
        backend = self._create(self._spec.backend)
        answer = dict(backend.open(context=self._context()))
        again = int(answer.pop(REDELIVER, self.cursor.next_ordinal))
        self._backend = backend
        self.cursor.known.update(answer)
        self.cursor.place = self._place
        self.cursor.status = None
        if not self._delivery.searching:
            self.cursor.error = None
        rewound = again < self.cursor.next_ordinal
        if rewound:
            self._seek(again)
        self._save()
        return None if rewound else backend

    def _context(self) -> RunContext:
        return RunContext(
            facts=read_facts(self._run_dir),
            spec=self._spec,
            run_dir=self._run_dir,
            contents=RunContents(self._run_dir),
            known=dict(self.cursor.known),
            attempt=self._batches.attempt.attempt if self._batches.attempt else 0,
            resumed_at=self.cursor.next_ordinal,
            console=self._console,
            refused=frozenset(map(int, self.cursor.refused)),
            extra=self.target.own is None,
        )

    def _finish(self, status: Status | None) -> bool:
        """Close a run without an end in the journal; returns False when there is more to deliver."""
        if self._batches.tail is not None:
            self._record_damage([self._batches.tail])
        if status is not None and self.cursor.status is None and self._batches.attempt is not None:
            backend = self._opened()
            if backend is None:
                return False
            self._close(backend, status)
        self._save()
        self.release()
        return True

    def _close(self, backend: Backend, status: Status) -> None:
        backend.close(status=status, timeout_s=CLOSE_TIMEOUT_S)
        self._backend = None
        self._batches.close()
        self.cursor.status = status

    def _failed(self, error: BaseException) -> Step:
        self._hopeless = self._backend is None and isinstance(error, (ImportError, InvalidArgumentError))
        if is_throttled(error):
            self._retry.slow_down(self._clock(), asked_wait(error))
        else:
            self._retry.failed(self._clock(), rarely=self._hopeless)
        self._delivery.clear_suspects(self.cursor)
        self._failed_at = max(self._failed_at, self.cursor.next_ordinal)
        self.cursor.failures += 1
        self.cursor.error = explain_error(error, self.target.spec.backend)
        note(self._run_dir, f"{self.target.label}: try {self._retry.failures} failed\n{details(error)}")
        if self._backend is not None and self._retry.failures >= REOPEN_AFTER:
            # Its client may be broken for good, for example after its helper process died. Start a new one.
            self.release()
            self._seek(self.cursor.next_ordinal)
        try:
            self._save()
        except OSError as refused:
            note(self._run_dir, f"{self.target.label}: the cursor cannot be saved: {refused}")
        return Step(failed=True, hopeless=self._hopeless, due_s=self._retry.due_s)

    def _save(self) -> None:
        save_cursor(self._run_dir, self.target.index, self.cursor)
