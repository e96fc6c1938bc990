"""What backends have told about the run that is open, read from their cursors. Waits, with a time limit."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from ranklog.model.errors import RanklogError
from ranklog.model.spec import JOURNAL

if TYPE_CHECKING:
    from ranklog.model.identity import Member
    from ranklog.pipeline.session import Session

ASK_EVERY_S = 0.02
LAST_LOOK_S = 0.5
"""Seconds for the last look, which begins at the deadline."""


def wait_delivered(session: Session, deadline: float) -> bool:
    """Wait until every backend has what is journaled now; whether that came before ``deadline`` (monotonic)."""
    from ranklog.journal.cursor import backends_of, cursors_of
    from ranklog.pipeline.waiting import Reply

    target = session.parts.ordinal
    if target is None:
        return True
    run_dir = session.sink.run_dir(0.0)
    asked = {spec.id for spec in session.config.specs if spec.backend != JOURNAL}
    if session.config.forward == "later":
        return not asked

    def ask() -> bool:
        backends: list[Member] = []
        while True:
            backends = backends or backends_of(run_dir)  # a disk that refuses may bring them later
            cursors = cursors_of(run_dir, backends)
            if all(identity in cursors and cursors[identity].next_ordinal >= target for identity in asked):
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(ASK_EVERY_S)

    answer: Reply[bool] = Reply()
    # In a thread, because a disk that hangs must not hold the caller beyond the deadline.
    threading.Thread(target=lambda: answer.give(ask()), name="ranklog-ask", daemon=True).start()
    return bool(answer.wait(deadline + LAST_LOOK_S, session.parts.progress))


def known_fact(session: Session, mask: int, fact: str, timeout_s: float) -> str:
    """What a backend told about the run, or ranklog's own where no backend has it.

    Raises:
        RanklogError: the backend did not answer in time, or delivery is later.
    """
    from ranklog.journal.cursor import backends_of, cursors_of

    deadline = time.monotonic() + timeout_s
    own = [spec for i, spec in enumerate(session.config.specs) if mask >> i & 1]
    # One backend answers, always the same: the first of the logger's own that has ids.
    asked = next((spec for spec in own if spec.backend in ("mlflow", "wandb")), None)
    if asked is None:
        return session.sink.directory.run_id(timeout_s) if fact == "run_id" else session.config.experiment
    if session.config.forward == "later":
        raise RanklogError(f'{fact} is known only after delivery, and this run has forward="later": use ranklog_run_id')
    run_dir = session.sink.run_dir(timeout_s)
    backends: list[Member] = []
    while True:
        backends = backends or backends_of(run_dir)
        cursor = cursors_of(run_dir, backends).get(asked.id)
        if cursor is not None and fact in cursor.known:
            return cursor.known[fact]
        if time.monotonic() >= deadline:
            trouble = (cursor and cursor.error) or "the forwarder has not opened it yet"
            raise RanklogError(f"{asked.backend} did not report {fact} within {timeout_s:g} s: {trouble}")
        time.sleep(ASK_EVERY_S)
