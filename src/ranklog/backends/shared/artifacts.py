"""Where an item lies when a backend keeps it as files: one rule for every backend.

Takes items, gives relative POSIX paths; pure. A path never leaves the folder it is joined to, is the
identifier itself wherever that is a safe file name, and differs for identifiers that differ. A name that is
logged at several steps keeps its latest content at the plain path and each step's at ``steps/<step>/<path>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from ranklog.backends.shared.escape import escape, escape_char
from ranklog.model.content import FOLDER
from ranklog.model.record import Item
from ranklog.model.text import shorten_name

_UNSAFE = re.compile(r'[\x00-\x1f\x7f\ud800-\udfff\\:*?"<>|#%]')


def artifact_path(item: Item, folder: str = "") -> PurePosixPath:
    """Path of an item's file, or of its folder, below ``folder``.

    Example:
        >>> from ranklog.model.record import File
        >>> def item(path): return Item("artifact", path, 0, 0, -1, 0, "text/csv", (File(path, 0, ""),))
        >>> str(artifact_path(item("plots/out.csv")))
        'plots/out.csv'
        >>> str(artifact_path(item("/../z")))
        '_x002E__x002E_/z'
    """
    is_file = item.media != FOLDER and len(item.files) == 1
    return PurePosixPath(folder) / safe_path(item.files[0].path if is_file else item.name)


def safe_path(name: str) -> PurePosixPath:
    """A name as relative path: slashes make folders, what could leave the folder is escaped."""
    parts = [_safe_part(part) for part in name.split("/") if part not in ("", ".")]
    return PurePosixPath(*(parts or ["unnamed"]))


def _safe_part(part: str) -> str:
    if part == "..":
        return escape_char(".") * 2
    safe = escape(part, _UNSAFE)
    return shorten_name(safe, part)


class ArtifactPaths:
    """Tells where the files of each item go, and keeps steps from overwriting each other.

    ``places`` may be asked again for the same item (a retry); ``keep`` says that it was stored.

    Args:
        earlier: Items stored before, in order.
    """

    def __init__(self, earlier: Iterable[Item] = ()) -> None:
        self._only: dict[PurePosixPath, Item | None] = {}
        for item in earlier:
            self.keep(item)

    def places(self, item: Item) -> list[tuple[PurePosixPath, Item]]:
        """Paths to write, each with the item whose content goes there; the plain path is the first."""
        path = artifact_path(item)
        before = self._only.get(path, item)
        places = [(path, item)]
        if before is None or before.step != item.step:
            places.append((step_path(item, path), item))
        if before is not None and before.step != item.step:
            places.append((step_path(before, path), before))
        return places

    def keep(self, item: Item) -> None:
        """Note that an item was stored."""
        path = artifact_path(item)
        before = self._only.get(path, item)
        self._only[path] = item if before is not None and before.step == item.step else None


def step_path(item: Item, path: PurePosixPath) -> PurePosixPath:
    """Where the item of one step is kept, once its plain path has had several."""
    return PurePosixPath("steps", str(item.step)) / path
