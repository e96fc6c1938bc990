"""Items as files: one rule for their paths, and a folder that stores them.

A path never leaves its folder. It equals the identifier wherever that is a safe file name, and differs for different
identifiers. When a name is logged at several steps, the plain path holds the latest content and
``steps/<step>/<path>`` holds the content of each step.

`artifact_path`, `safe_path`, `step_path` and `ArtifactPaths` are pure. `ItemFiles` writes: storing an item again gives
the same files, directories are 0700, files are 0600, and nothing is written outside its folder. It blocks for the disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import msgspec

from ranklog.abc import Refused, RunContext
from ranklog.backends.shared.names import escape, escape_char
from ranklog.journal.layout import make_private_dir
from ranklog.model.content import FOLDER
from ranklog.model.record import Item
from ranklog.model.text import shorten_name

_UNSAFE = re.compile(r'[\x00-\x1f\x7f\ud800-\udfff\\:*?"<>|#%]')


def artifact_path(item: Item, folder: str = "") -> PurePosixPath:
    """Return the path of an item's file or folder, below ``folder``.

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
    """Return a name as a relative path. Slashes make folders; parts that could leave the folder are escaped."""
    parts = [_safe_part(part) for part in name.split("/") if part not in ("", ".")]
    return PurePosixPath(*(parts or ["unnamed"]))


def _safe_part(part: str) -> str:
    if part == "..":
        return escape_char(".") * 2
    safe = escape(part, _UNSAFE)
    return shorten_name(safe, part)


def step_path(item: Item, path: PurePosixPath) -> PurePosixPath:
    """Return the path of one step's content, for names that have several steps."""
    return PurePosixPath("steps", str(item.step)) / path


class ArtifactPaths:
    """The paths of all items of a run. Contents of different steps never overwrite each other.

    Call `paths_of` to get the paths of an item, as often as needed, and `add` once the item is stored.

    Args:
        earlier: Items that were stored before, in order.
    """

    def __init__(self, earlier: Iterable[Item] = ()) -> None:
        self._only: dict[PurePosixPath, Item | None] = {}
        for item in earlier:
            self.add(item)

    def paths_of(self, item: Item) -> list[tuple[PurePosixPath, Item]]:
        """Return the paths to write, each with the item whose content belongs there. The plain path comes first."""
        path = artifact_path(item)
        before = self._only.get(path, item)
        paths = [(path, item)]
        if before is None or before.step != item.step:
            paths.append((step_path(item, path), item))
        if before is not None and before.step != item.step:
            paths.append((step_path(before, path), before))
        return paths

    def add(self, item: Item) -> None:
        """Add an item that was stored."""
        path = artifact_path(item)
        before = self._only.get(path, item)
        self._only[path] = item if before is not None and before.step == item.step else None


class ItemFiles:
    """A folder with the files of one run's items, for backends that have no better place for them.

    Args:
        context: Reads the contents.
        folder: Destination of the files; created with the first one.
    """

    def __init__(self, context: RunContext, folder: Path) -> None:
        self._context = context
        self._folder = folder
        self._paths = ArtifactPaths()

    def restore(self, item: Item) -> None:
        """Add an item that an earlier process stored."""
        self._paths.add(item)

    def store(self, item: Item, ordinal: int) -> list[tuple[PurePosixPath, Item]]:
        """Store an item; returns its paths below the folder, each with the item that lies there, the plain one first.

        Raises:
            Refused: the path needs a folder where a file exists, or the other way round.
        """
        paths = self._paths.paths_of(item)
        make_private_dir(self._folder)
        try:
            for path, each in paths:
                if each.media == FOLDER:
                    make_private_dir(self._folder / path)
                    self._context.materialise(each.files, self._folder / path)
                else:
                    file = msgspec.structs.replace(each.files[0], path=str(path))
                    self._context.materialise([file], self._folder)
        except (FileExistsError, NotADirectoryError, IsADirectoryError, ValueError) as error:
            raise Refused(f"{item.kind} {item.name!r} cannot be saved: {error}", [ordinal]) from error
        self._paths.add(item)
        return paths
