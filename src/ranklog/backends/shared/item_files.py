"""Keeps items as files in one folder, for backends that have no better place for them.

Takes items in their canonical encoding; where a file lies says `ranklog.backends.shared.artifacts`. Guarantees: storing
an item again gives the same files; folders are 0700, files 0600; nothing is written outside the folder. Blocks for
the disk.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import msgspec

from ranklog.abc import Refused, RunContext
from ranklog.backends.shared.artifacts import ArtifactPaths
from ranklog.journal.layout import make_private_dir
from ranklog.model.content import FOLDER
from ranklog.model.record import Item


class ItemFiles:
    """The folder of one run's items.

    Args:
        context: Gives the contents.
        folder: Where files go; made when the first one comes.
    """

    def __init__(self, context: RunContext, folder: Path) -> None:
        self._context = context
        self._folder = folder
        self._shelf = ArtifactPaths()

    def learn(self, item: Item) -> None:
        """Note an item that was stored before this was made."""
        self._shelf.keep(item)

    def keep(self, item: Item, ordinal: int) -> list[tuple[PurePosixPath, Item]]:
        """Store an item; returns the paths below the folder with what lies there, the item's own place first.

        Raises:
            Refused: a file stands where the item needs a folder, or the other way round.
        """
        places = self._shelf.places(item)
        make_private_dir(self._folder)
        try:
            for path, each in places:
                if each.media == FOLDER:
                    make_private_dir(self._folder / path)
                    self._context.materialise(each.files, self._folder / path)
                else:
                    file = msgspec.structs.replace(each.files[0], path=str(path))
                    self._context.materialise([file], self._folder)
        except (FileExistsError, NotADirectoryError, IsADirectoryError, ValueError) as error:
            raise Refused(f"{item.kind} {item.name!r} cannot be saved: {error}", [ordinal]) from error
        self._shelf.keep(item)
        return places
