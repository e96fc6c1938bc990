"""One backend's share of delivery: its place in the journal, its cursor, its backoff.

`Feed.step` moves as far as it can and never raises: trouble is written into the cursor, kept for `ranklog
ls`, and tried again when the backoff says so. Guarantees: entries go in order; the cursor moves after the backend
accepted; an `End` that no later attempt follows closes the backend with its status, and the cursor passes it after
that. No record holds up the rest: what cannot be delivered is set aside (`ranklog.delivery.handing`), and what damage
in the journal hides is told in the cursor. A cursor that belongs to another place counts as none: the whole run goes
to the new one. Steps of one feed are made by one thread.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

import msgspec

from ranklog.abc import Backend, RunContext
from ranklog.backends.contents import RunContents
from ranklog.backends.shared.delivery_log import describe, details, note
from ranklog.delivery.handing import Handing
from ranklog.delivery.lock import LockedError
from ranklog.delivery.retry import Retry, asked_wait, is_throttled
from ranklog.delivery.supply import Supply
from ranklog.journal.cursor import Cursor, load_cursor, save_cursor
from ranklog.journal.layout import read_facts, segment_name
from ranklog.journal.reader import Damage
from ranklog.journal.targets import Target
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.identity import has_moved, place_of, settled
from ranklog.model.record import Status

CLOSE_TIMEOUT_S = 60.0
REOPEN_AFTER = 2
REDELIVER = "redeliver_from"
_NO_ACCESS = re.compile(r"\b(401|403|[Uu]nauthorized|UNAUTHENTICATED|PERMISSION_DENIED)\b")


class Finish(msgspec.Struct, frozen=True):
    """The journal will not grow any more; ``status`` closes a run that has no `End`, None leaves it open."""

    status: Status | None = None


class Step(msgspec.Struct, frozen=True):
    """What one step came to.

    Attributes:
        moved: Whether something was done, so that another step at once makes sense.
        done: Nothing is left to do (only with `Finish`).
        failed: Whether this step ended in trouble, or an earlier one whose wait is not over.
        hopeless: Waiting will not cure it: the backend or its package is not installed.
        due_s: Monotonic time of the next try, when one is due.
    """

    moved: bool = False
    done: bool = False
    failed: bool = False
    hopeless: bool = False
    due_s: float | None = None


class Feed:
    """Delivers one run to one backend.

    Args:
        run_dir: The run directory.
        target: The backend.
        create: Makes a backend from its name.
        console: Where the console backend prints.
        guard: Called before each batch; raises `LockedError` when this process may not deliver, else returns a
            number that changes when another process may have delivered meanwhile.
        clock: Monotonic seconds.

    Attributes:
        target: The backend.
        cursor: How far it is; read-only for others.
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
        self._probing = False
        self._failed_at = -1
        self._epoch = 0
        self._load()

    @property
    def failures(self) -> int:
        """Failed tries in a row; those that a server asked to repeat later do not count."""
        return self._retry.failures

    @property
    def throttled(self) -> int:
        """Tries in a row that a server asked to repeat later."""
        return self._retry.throttled

    def step(self, finish: Finish | None = None) -> Step:
        """Deliver one batch if there is one; with `Finish`, close the backend when there is none."""
        if not self._retry.ready(self._clock()):
            return Step(failed=True, hopeless=self._hopeless, due_s=self._retry.due_s)
        try:
            epoch = self._guard()
            if epoch != self._epoch:
                self._restart(epoch)
            self._probing = False
            moved = self._deliver_batch(finish)
            done = not moved and finish is not None and self._finish(finish.status)
        except LockedError as error:
            # The cursor file is the other process's now: nothing may be written.
            self._retry.failed(self._clock())
            self.cursor.error = describe(error)
            return Step(failed=True, due_s=self._retry.due_s)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a client library may do anything; training must not notice
            return self._failed(error)
        if self._probing:  # which ends no trouble: a backoff goes on growing
            now = self._retry.ready(self._clock())
            return Step(moved=now, failed=not now, due_s=None if now else self._retry.due_s)
        if not moved or self.cursor.next_ordinal > self._failed_at:  # else it only took again what it had taken before
            self._retry.succeeded()
            self._failed_at = -1
        self._hopeless = False
        return Step(moved=moved or (finish is not None and not done), done=done)

    def release(self) -> None:
        """Let the backend go without an end: the run goes on later or elsewhere. Never raises."""
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
        """Start from what the disk says: another process may have delivered meanwhile."""
        self.release()
        self._load()
        self._epoch = epoch

    def _load(self) -> None:
        """Take the cursor from the disk, and a fresh one where it belongs to another place."""
        target = self.target
        identity = target.own.spec.id if target.own else ""
        self.cursor = load_cursor(self._run_dir, target.index, target.label, identity)
        self._spec = settled(target.spec, self.cursor.place)
        self._place = place_of(self._spec, os.environ)
        if self.cursor.place and has_moved(self.cursor.place, self._place):
            note(self._run_dir, f"{target.label}: another place than before, {self._place}: the whole run goes there")
            self.cursor = Cursor(backend=target.label, id=identity)
        self._handing = Handing(self._run_dir, target.label, self.cursor.stuck, self._clock)
        self._high = self.cursor.next_ordinal
        self._seek(self.cursor.next_ordinal)

    def _seek(self, ordinal: int) -> None:
        """Read on from an ordinal; the segment that holds it is read from its head."""
        self.cursor.next_ordinal = ordinal
        closed = self.cursor.status is not None
        self._supply = Supply(self._run_dir, self.target, ordinal, self._is_set_aside, closed=closed)
        # From here on it is read again, and told again if it is still there.
        first = segment_name(self._supply.start)
        self.cursor.damage = {s: d for s, d in self.cursor.damage.items() if s < first}

    def _is_set_aside(self, ordinal: int) -> bool:
        """Whether an entry was set aside; one that was only suspected when a process died is tried again."""
        return ordinal < self._high and str(ordinal) in self.cursor.refused

    def _deliver_batch(self, finish: Finish | None) -> bool:
        """Deliver a batch, or the end of the run; whether there was one."""
        supply = self._supply
        supply.fill(beside=self._handing.suspected)
        damaged = self._note_damage(supply.damage)
        if not supply.batch and supply.closing is None:
            if damaged or self.cursor.next_ordinal != supply.read_to:
                self._pass()
            return False
        backend = self._opened()
        if backend is None:
            return True  # it asked to start from an earlier entry
        pause_s = self._handing.give(backend, supply, self.cursor, last=finish is not None)
        if pause_s is not None:
            # What the failed call left behind in the backend must not count twice.
            self.release()
            self._probing = True
            self._retry.pause(self._clock(), pause_s)
            self._pass()
            return True
        if supply.closing is not None and not supply.batch:
            self._pass()
            self._close(backend, supply.closing)
        self._pass()
        return True

    def _pass(self) -> None:
        """Move the cursor to the first entry that waits.

        It passes an end after the backend is closed: a crash in between closes it again.
        """
        supply = self._supply
        read_to = supply.read_to - (supply.closing is not None)
        self.cursor.next_ordinal = supply.batch[0].ordinal if supply.batch else read_to
        self._high = max(self._high, self.cursor.next_ordinal)
        self._save()

    def _note_damage(self, damage: Sequence[Damage]) -> bool:
        """Remember what cannot be read; whether that changed. A torn end holds nothing that was acknowledged."""
        new = False
        for each in damage:
            place = segment_name(each.segment)
            if each.torn:  # or its records came in the next segment
                new = self.cursor.damage.pop(place, None) is not None or new
            elif place not in self.cursor.damage:
                self.cursor.damage[place] = reason = f"from byte {each.offset}: {each.reason}"
                note(self._run_dir, f"{self.target.label}: {place} cannot be read {reason}")
                new = True
        return new

    def _opened(self) -> Backend | None:
        """The open backend; None when it asked to start from an earlier entry."""
        if self._backend is not None:
            return self._backend
        backend = self._create(self._spec.backend)
        answer = dict(backend.open(context=self._context()))
        again = int(answer.pop(REDELIVER, self.cursor.next_ordinal))
        self._backend = backend
        self.cursor.known.update(answer)
        self.cursor.place = self._place
        self.cursor.status = None
        if not self._handing.searching:
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
            attempt=self._supply.attempt.attempt if self._supply.attempt else 0,
            resumed_at=self.cursor.next_ordinal,
            console=self._console,
            refused=frozenset(map(int, self.cursor.refused)),
            extra=self.target.own is None,
        )

    def _finish(self, status: Status | None) -> bool:
        """Close a run that has no end in the journal; False when there is more to deliver."""
        if self._supply.tail is not None:
            self._note_damage([self._supply.tail])
        if status is not None and self.cursor.status is None and self._supply.attempt is not None:
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
        self._supply.close()
        self.cursor.status = status

    def _failed(self, error: BaseException) -> Step:
        self._hopeless = self._backend is None and isinstance(error, (ImportError, InvalidArgumentError))
        if is_throttled(error):
            self._retry.slow_down(self._clock(), asked_wait(error))
        else:
            self._retry.failed(self._clock(), rarely=self._hopeless)
        self._handing.suspect_nobody(self.cursor)
        self._failed_at = max(self._failed_at, self.cursor.next_ordinal)
        self.cursor.failures += 1
        self.cursor.error = self._explain(error)
        note(self._run_dir, f"{self.target.label}: try {self._retry.failures} failed\n{details(error)}")
        if self._backend is not None and self._retry.failures >= REOPEN_AFTER:
            # Its client may have died for good, as a helper process of one can; a new one starts from the cursor.
            self.release()
            self._seek(self.cursor.next_ordinal)
        try:
            self._save()
        except OSError as refused:
            note(self._run_dir, f"{self.target.label}: the cursor cannot be saved: {refused}")
        return Step(failed=True, hopeless=self._hopeless, due_s=self._retry.due_s)

    def _explain(self, error: BaseException) -> str:
        name = self.target.spec.backend
        if isinstance(error, ImportError) and "pip install" not in str(error):
            return f"backend {name} lacks a package ({describe(error)}): pip install 'ranklog[{name}]'"
        if _NO_ACCESS.search(str(error)):
            return f"{describe(error)}. Renew the token or key of {name}, then run `ranklog sync`"
        return describe(error)

    def _save(self) -> None:
        save_cursor(self._run_dir, self.target.index, self.cursor)
