"""The port through which rank 0 runs the delivery of one run: a `Forwarder` is a process or a thread."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

ForwarderOutcome = Literal["delivered", "left", "died"]
"""How a forwarder ended: everything is delivered, something is left for `ranklog sync`, or it crashed before that."""


class ForwarderEnd(msgspec.Struct, frozen=True):
    """Result of `Forwarder.close`.

    Attributes:
        outcome: How it ended.
        efficiency: The efficiency line of the run; empty when nobody asked, or when it took too long.
    """

    outcome: ForwarderOutcome
    efficiency: str = ""


class Forwarder(Protocol):
    """Delivers one run to its backends, in a process or a thread of its own. No method raises."""

    def wake(self) -> None:
        """Tell it that the journal has grown; never blocks."""

    def is_gone(self) -> bool:
        """Whether it ended by itself, which it should not do while training runs."""

    def ask_efficiency(self) -> None:
        """Ask for the efficiency line, which `close` returns once everything is delivered."""

    def close(self, timeout_s: float) -> ForwarderEnd:
        """Let it deliver the rest, and wait for at most ``timeout_s``."""

    def forget(self) -> None:
        """In a forked child: close inherited descriptors, so that the forwarder still notices the parent's end."""
