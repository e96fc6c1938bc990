"""One backend's share of delivery: its place in the journal, its cursor, its backoff.

`Feed.step` moves as far as it can and never raises: trouble is written into the cursor, kept for `ranklog
ls`, and tried again when the backoff says so. Guarantees: entries go in order, at most `BATCH_ENTRIES` at a
time; the cursor moves after the backend accepted; an `End` that no later attempt follows closes the backend
with its status, and the cursor passes it after that. An entry whose content stays missing is set aside, and
what damage in the journal hides is told in the cursor: neither holds up the rest. Steps of one feed are made by
one thread.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import msgspec

from ranklog.delivery.backends.base import Backend, Refused, RunContext
from ranklog.delivery.contents import lacking_contents
from ranklog.delivery.lock import LockedError
from ranklog.delivery.note import describe, details, note
from ranklog.delivery.retry import Retry, asked_wait, is_throttled
from ranklog.delivery.targets import Target, is_for
from ranklog.journal.cursor import adopt_cursor, save_cursor
from ranklog.journal.layout import read_facts, segment_name
from ranklog.journal.reader import Damage, JournalReader, Position, head_before, read_heads
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.record import Attempt, End, Entry, Status

BATCH_ENTRIES = 2000
CLOSE_TIMEOUT_S = 60.0
REOPEN_AFTER = 2
LACKING_TRIES = 3
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
        self._epoch = 0
        self._lacking_tries = 0
        self.cursor = adopt_cursor(run_dir, target.index, target.label)
        self._seek(self.cursor.next_ordinal)

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
            moved = self._deliver_batch()
            done = not moved and finish is not None and self._finish(finish.status)
        except LockedError as error:
            # The cursor file is the other process's now: nothing may be written.
            self._retry.failed(self._clock())
            self.cursor.error = describe(error)
            return Step(failed=True, due_s=self._retry.due_s)
        except (Exception, SystemExit) as error:  # a client library may do anything; training must not notice
            return self._failed(error)
        self._retry.succeeded()
        self._hopeless = False
        return Step(moved=moved or (finish is not None and not done), done=done)

    def release(self) -> None:
        """Let the backend go without an end: the run goes on later or elsewhere. Never raises."""
        backend, self._backend = self._backend, None
        if backend is None:
            return
        try:
            backend.close(status=None, timeout_s=CLOSE_TIMEOUT_S)
        except (Exception, SystemExit) as error:
            note(self._run_dir, f"{self.target.label}: closing failed\n{details(error)}")

    def _restart(self, epoch: int) -> None:
        """Start from what the disk says: another process may have delivered meanwhile."""
        self.release()
        self.cursor = adopt_cursor(self._run_dir, self.target.index, self.target.label)
        self._seek(self.cursor.next_ordinal)
        self._epoch = epoch

    def _seek(self, ordinal: int) -> None:
        """Read on from an ordinal; the segment that holds it is read from its head."""
        self.cursor.next_ordinal = ordinal
        heads = read_heads(self._run_dir)
        head = head_before(heads, ordinal)
        start = head.segment if head else 0
        # From here on it is read again, and told again if it is still there.
        self.cursor.damage = {s: d for s, d in self.cursor.damage.items() if s < segment_name(start)}
        self._reader = JournalReader(self._run_dir, Position(start, 0))
        self._entries: Iterator[Entry] = iter(())
        earlier = [each.attempt for each in heads if each.segment < start]
        self._attempt: Attempt | None = earlier[-1] if earlier else None
        self._mask = self.target.mask(self._attempt) if self._attempt else 0
        self._batch: list[Entry] = []
        self._read_to = ordinal
        self._closing: Status | None = None

    def _deliver_batch(self) -> bool:
        """Deliver a batch, or the end of the run; whether there was one."""
        self._fill()
        damaged = self._note_damage(self._reader.damage)
        if not self._batch and self._closing is None:
            if damaged or self.cursor.next_ordinal != self._read_to:
                self.cursor.next_ordinal = self._read_to
                self._save()
            return False
        backend = self._opened()
        if backend is None:
            return True  # it asked to start from an earlier entry
        self._set_aside_lacking()
        while self._batch:
            try:
                backend.deliver(entries=tuple(self._batch))
                break
            except Refused as refused:
                self._set_aside(refused)
        self._batch = []
        self.cursor.error = None
        if self._closing is not None:
            # The cursor passes the end after the backend is closed: a crash in between closes it again.
            self.cursor.next_ordinal = self._read_to - 1
            self._save()
            self._close(backend, self._closing)
        self.cursor.next_ordinal = self._read_to
        self._save()
        return True

    def _set_aside(self, refused: Refused) -> None:
        left = [entry for entry in self._batch if entry.ordinal not in refused.ordinals]
        if len(left) == len(self._batch):
            raise RuntimeError(f"the backend refused entries it was not given: {refused.reason}") from refused
        reason = describe(refused).partition(": ")[2] or "no reason given"
        for ordinal in refused.ordinals:
            self.cursor.refused[str(ordinal)] = reason
        self._batch = left

    def _set_aside_lacking(self) -> None:
        """Set aside entries whose content is not there at the third try in a row: a shared disk may need the others.

        Raises:
            FileNotFoundError: it is an earlier try.
        """
        found = lacking_contents(self._run_dir, self._batch)
        new = [ordinal for ordinal, reason in found.items() if self.cursor.refused.get(str(ordinal)) != reason]
        self._lacking_tries = self._lacking_tries + 1 if new else 0
        if 0 < self._lacking_tries < LACKING_TRIES:
            raise FileNotFoundError(f"record {new[0]} cannot be delivered: {found[new[0]]}")
        self._lacking_tries = 0
        for ordinal, reason in found.items():
            self._set_aside(Refused(reason, [ordinal]))
            note(self._run_dir, f"{self.target.label}: record {ordinal} is set aside: {reason}")

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

    def _fill(self) -> None:
        """Read until the batch is full, the journal ends, or the run does."""
        while len(self._batch) < BATCH_ENTRIES and self._closing is None:
            entry = next(self._entries, None)
            if entry is None:
                self._entries = self._reader.poll()
                entry = next(self._entries, None)
                if entry is None:
                    return
            self._take(entry)

    def _take(self, entry: Entry) -> None:
        record = entry.record
        known = record == self._attempt  # every segment repeats its attempt
        if isinstance(record, Attempt):
            self._attempt = record
            self._mask = self.target.mask(record)
        if entry.ordinal < self._read_to:
            return
        self._read_to = entry.ordinal + 1
        if known or not is_for(entry, self._mask):
            return
        self._batch.append(entry)
        if isinstance(record, End) and not self._has_later_attempt():
            self._closing = record.status

    def _has_later_attempt(self) -> bool:
        """Whether the run went on for this backend after the attempt that is being read."""
        heads = read_heads(self._run_dir)
        mine = max((i for i, head in enumerate(heads) if head.attempt == self._attempt), default=-1)
        return any(self.target.mask(head.attempt) for head in heads[mine + 1 :])

    def _opened(self) -> Backend | None:
        """The open backend; None when it asked to start from an earlier entry."""
        if self._backend is not None:
            return self._backend
        backend = self._create(self.target.spec.backend)
        answer = dict(backend.open(context=self._context()))
        again = int(answer.pop(REDELIVER, self.cursor.next_ordinal))
        self._backend = backend
        self.cursor.known.update(answer)
        self.cursor.status = None
        self.cursor.error = None
        rewound = again < self.cursor.next_ordinal
        if rewound:
            self._seek(again)
        self._save()
        return None if rewound else backend

    def _context(self) -> RunContext:
        return RunContext(
            facts=read_facts(self._run_dir),
            spec=self.target.spec,
            run_dir=self._run_dir,
            known=dict(self.cursor.known),
            attempt=self._attempt.attempt if self._attempt else 0,
            resumed_at=self.cursor.next_ordinal,
            console=self._console,
        )

    def _finish(self, status: Status | None) -> bool:
        """Close a run that has no end in the journal; False when there is more to deliver."""
        if self._reader.tail is not None:
            self._note_damage([self._reader.tail])
        if status is not None and self.cursor.status is None and self._attempt is not None:
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
        self._closing = None
        self.cursor.status = status

    def _failed(self, error: BaseException) -> Step:
        self._hopeless = self._backend is None and isinstance(error, (ImportError, InvalidArgumentError))
        if is_throttled(error):
            self._retry.slow_down(self._clock(), asked_wait(error))
        else:
            self._retry.failed(self._clock(), rarely=self._hopeless)
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
