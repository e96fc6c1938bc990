"""How the command line speaks: tables on standard output, complaints on standard error, times and sizes for people."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ranklog.view.summary import RunStatus

_COLOURS: dict[RunStatus, str] = {
    "FINISHED": "green",
    "FAILED": "red",
    "KILLED": "red",
    "RUNNING": "cyan",
    "UNKNOWN": "yellow",
}
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def runs_directory() -> Path:
    """Where run ids are looked for: RANKLOG_DIR, else ``mllogs``."""
    return Path(os.environ.get("RANKLOG_DIR") or "mllogs")


def out() -> Console:
    """Standard output for people; text from runs is never taken for markup."""
    return Console(markup=False, highlight=False, soft_wrap=False)


def complain(error: BaseException | str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"ranklog: {' '.join(str(error).split())}\n")


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table; the columns named in ``right`` hold numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        is_number = column in right
        # A number that is broken over two lines reads as another number.
        made.add_column(column, justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    return made


def status_text(status: RunStatus) -> Text:
    """A run's status in its colour."""
    return Text(status, style=_COLOURS[status])


def date(time_ns: int) -> str:
    """A moment in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_ns / 1e9))


def age(time_ns: int) -> str:
    """How long ago a moment is, roughly."""
    seconds = max(0.0, time.time() - time_ns / 1e9)
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def duration(seconds: float) -> str:
    """A length of time in one or two units.

    Example:
        >>> duration(0.04), duration(42.3), duration(95), duration(3 * 3600 + 120), duration(200_000)
        ('0.04 s', '42 s', '1 min 35 s', '3 h 2 min', '2 d 7 h')
    """
    if seconds < 10:
        return f"{seconds:.2g} s" if seconds >= 0.01 else "0 s"
    left = round(seconds)
    parts = []
    for size, unit in _UNITS:
        amount, left = divmod(left, size)
        parts.append((amount, unit))
    first = next(i for i, (amount, _) in enumerate(parts) if amount)
    return " ".join(f"{amount} {unit}" for amount, unit in parts[first : first + 2] if amount)


def count(amount: int, one: str, many: str | None = None) -> str:
    """An amount of things: ``1 rank``, ``2 ranks``."""
    return f"{amount:,} {one if amount == 1 else many or one + 's'}"


def number(value: float) -> str:
    """A metric's value in at most six significant digits."""
    return f"{value:.6g}"


def size_text(size: int) -> str:
    """A number of bytes."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def clean(text: str) -> str:
    """Text from a run without control characters, which could steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
