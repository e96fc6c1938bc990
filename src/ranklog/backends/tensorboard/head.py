"""The head file: an event file with the hparams, the graph and the layout, which TensorBoard reads once.

A change writes the whole file again under a new, higher name, because a running TensorBoard keeps a replaced file open
and never reads the new one. All its names sort before that of the main file. Writing the same events again changes
nothing. Blocks for the disk.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ranklog.backends.tensorboard.file import frame
from ranklog.journal.layout import write_private

# This name must not contain "tfevents", or TensorBoard would read the file.
_TEMPORARY = ".ranklog.head"


class HeadFile:
    """The head file of one run.

    Args:
        folder: Folder of the run.
        stem: Beginning of the names of the run's event files.
    """

    def __init__(self, folder: Path, stem: str) -> None:
        self._folder = folder
        self._stem = stem

    def write(self, events: Iterable[bytes]) -> None:
        """Replace the events of the file."""
        content = b"".join(map(frame, events))
        earlier = sorted(self._folder.glob(f"{self._stem}.0.*"))
        if not earlier or earlier[-1].read_bytes() != content:
            number = earlier[-1].name.rpartition("-")[2] if earlier else ""
            following = int(number) + 1 if number.isdecimal() else 1
            temporary = self._folder / _TEMPORARY
            write_private(temporary, content)
            temporary.replace(self._folder / f"{self._stem}.0.head-{following:06d}")
        else:
            earlier.pop()
        for path in earlier:
            path.unlink()
