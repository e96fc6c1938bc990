"""Times, sizes and counts as people read them. Pure, except for `age`, which reads the clock."""

from __future__ import annotations

import time

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def date(time_ns: int) -> str:
    """Format a moment in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_ns / 1e9))


def age(time_ns: int) -> str:
    """Format the time since a moment, in one unit."""
    seconds = max(0.0, time.time() - time_ns / 1e9)
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def duration(seconds: float) -> str:
    """Format a length of time in one or two units.

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
    """Format a number of things, with the noun in singular or plural.

    Example:
        >>> count(1, "rank"), count(1200, "rank"), count(2, "try", "tries")
        ('1 rank', '1,200 ranks', '2 tries')
    """
    return f"{amount:,} {one if amount == 1 else many or one + 's'}"


def number(value: float) -> str:
    """Format a metric's value with at most six significant digits."""
    return f"{value:.6g}"


def size_text(size: int) -> str:
    """Format a number of bytes.

    Example:
        >>> size_text(512), size_text(5 * 1024 * 1024)
        ('512 B', '5.0 MiB')
    """
    amount = float(size)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"
