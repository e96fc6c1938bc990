"""Output of lines to a terminal or file.

Each line is one write, so lines do not mix with the output of the training. A terminal gets colours from `rich`, and
lines are cut to its width. A dumb terminal or a file (a scheduler's output) gets plain text without control characters.
``NO_COLOR``, ``TERM=dumb`` and ``FORCE_COLOR`` are respected. When the terminal is gone, lines are dropped. Blocks for
the terminal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.console import Console
from rich.text import Text

from ranklog.backends.console.lines import Meaning, Part

FILE_WIDTH = 1000
_INDENT = "    "
_STYLES: dict[Meaning, str] = {
    "": "",
    "step": "bold",
    "name": "cyan",
    "good": "bold green",
    "bad": "bold red",
    "faint": "dim",
}


class Painter:
    """Writes to one stream.

    Args:
        stream: The terminal or file.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._gone = False
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False) if _is_rich(stream) else None

    def line(self, time_ns: int, parts: Sequence[Part], more: Iterable[str] = ()) -> None:
        """Write a line that begins with the time of the call, and indented lines below it."""
        clock = time.strftime("%H:%M:%S", time.localtime(time_ns // 1_000_000_000))
        first = [Part(f"[{clock}] ", "faint"), *parts]
        self._write([first, *([Part(f"{_INDENT}{text}")] for text in more)])

    def _write(self, lines: Sequence[Sequence[Part]]) -> None:
        if self._gone:
            return
        try:
            self._stream.write("".join(self._painted(line) + "\n" for line in lines))
            self._stream.flush()
        except (OSError, ValueError):
            self._gone = True  # a terminal that was closed does not come back

    def _painted(self, line: Sequence[Part]) -> str:
        encoding = self._stream.encoding or "utf-8"
        spelled = [Part(part.text.encode(encoding, "backslashreplace").decode(encoding), part.meaning) for part in line]
        if self._console is None:
            text = "".join(part.text for part in spelled)
            return text if len(text) <= FILE_WIDTH else f"{text[: FILE_WIDTH - 3]}..."
        painted = Text.assemble(*((part.text, _STYLES[part.meaning]) for part in spelled))
        painted.truncate(max(self._console.width, 20), overflow="ellipsis")
        with self._console.capture() as captured:
            self._console.print(painted, end="", soft_wrap=True)
        return captured.get()


def _is_rich(stream: TextIO) -> bool:
    """Return whether the stream is a terminal with colours."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") in ("dumb", "unknown"):
        return False
    try:
        return bool(os.environ.get("FORCE_COLOR")) or stream.isatty()
    except (OSError, ValueError):
        return False
