"""The event file of what TensorBoard takes from where it reads it first: hparams, graph, layout.

It is written anew as a whole when something changes, each time under a higher name, since a running TensorBoard keeps
a file open that was replaced and never reads the new one. All its names stand before that of the main file. Writing
the same again changes nothing. Blocks for the disk.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ranklog.backends.tensorboard.file import frame
from ranklog.journal.layout import write_private

# Its name must not hold "tfevents": TensorBoard would read it.
_BESIDE = ".ranklog.head"


class HeadFile:
    """Writes the file.

    Args:
        folder: Folder of the run.
        stem: Name of its event files without what follows the last dot.
    """

    def __init__(self, folder: Path, stem: str) -> None:
        self._folder = folder
        self._stem = stem

    def write(self, events: Iterable[bytes]) -> None:
        """Make these the events of the file."""
        content = b"".join(map(frame, events))
        earlier = sorted(self._folder.glob(f"{self._stem}.0.*"))
        if not earlier or earlier[-1].read_bytes() != content:
            number = earlier[-1].name.rpartition("-")[2] if earlier else ""
            following = int(number) + 1 if number.isdecimal() else 1
            beside = self._folder / _BESIDE
            write_private(beside, content)
            beside.replace(self._folder / f"{self._stem}.0.head-{following:06d}")
        else:
            earlier.pop()
        for path in earlier:
            path.unlink()
