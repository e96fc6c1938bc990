"""Argument and result of one step of a feed."""

from __future__ import annotations

import msgspec

from ranklog.model.record import Status


class Finish(msgspec.Struct, frozen=True):
    """The journal will not grow any more. ``status`` closes a run without an `End`; None leaves it open."""

    status: Status | None = None


class Step(msgspec.Struct, frozen=True):
    """Result of one step.

    Attributes:
        moved: Whether something was delivered, so that another step makes sense at once.
        done: Whether nothing is left to do (only with `Finish`).
        failed: Whether this step failed, or an earlier one did and its pause is not over.
        hopeless: Whether a retry cannot help, because the backend or its package is not installed.
        due_s: Monotonic time of the next try, if one is planned.
    """

    moved: bool = False
    done: bool = False
    failed: bool = False
    hopeless: bool = False
    due_s: float | None = None
