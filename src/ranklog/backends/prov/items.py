"""Items as provenance tells them: what each is, where it lies and what its content says, without the content.

In: items of the journal. Out: `ItemStory`, one a version, grouped by kind, name and rank. Memory is bounded: of a name
the newest `VERSIONS` are kept. Once there are `TOTAL`, a new version of a name takes the place of its oldest one, and
new names are left out, and counted. Reads small contents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePosixPath

import msgspec

from ranklog.backends.shared.artifacts import artifact_path, step_path
from ranklog.model.content import DATASET, FOLDER, REFERENCE, Dataset, Reference
from ranklog.model.record import File, Item
from ranklog.model.spec import Scalar

VERSIONS = 100
TOTAL = 10_000
FILES_LISTED = 20
TEXT_BYTES = 4096
WITHOUT_FILE = ("dataset", "alert", "prov_documents")
"""Kinds of which the document says everything, so that no file is kept."""


class ItemStory(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an item.

    Attributes:
        item: The item without the contents of its files.
        path: Where its file or folder lies below the folder of artifacts when its name has one step.
        step_path: Where it lies when its name has several.
        size: Bytes of all its files, also of those that it only refers to.
        sha256: Digest of its file; of several, also where they stay elsewhere, that of the lines ``<sha256>  <path>``
            by path, which is what ``sha256sum`` prints.
        text: What a short text or alert says.
        dataset: What a dataset is.
        reference: Where files lie that stay where they are.
    """

    item: Item
    path: PurePosixPath
    step_path: PurePosixPath
    size: int
    sha256: str
    text: str | None = None
    dataset: Dataset | None = None
    reference: Reference | None = None

    @property
    def context(self) -> str | None:
        """The part of the work that it was said to belong to."""
        said: Scalar = self.item.meta.get("context")
        return said if isinstance(said, str) and said else None


class ItemGroup:
    """The versions of an item that are kept, by step, and how many there were.

    Attributes:
        versions: By step; a later item of the same step takes the place of the earlier one.
        count: How many items there were.
    """

    def __init__(self) -> None:
        self.versions: dict[int, ItemStory] = {}
        self.count = 0
        self._several = False

    def take(self, story: ItemStory, most: int) -> int:
        """Add a version and keep ``most`` of them; returns by how many there are more."""
        before = len(self.versions)
        self.count += 1
        self._several = self._several or bool(self.versions.keys() - {story.item.step})
        self.versions.pop(story.item.step, None)
        self.versions[story.item.step] = story
        while len(self.versions) > most:
            del self.versions[next(iter(self.versions))]
        return len(self.versions) - before

    def place(self, story: ItemStory) -> PurePosixPath | None:
        """Where a version's files lie below the folder of artifacts; None where it has none."""
        if story.item.kind in WITHOUT_FILE:
            return None
        return story.step_path if self._several else story.path


GroupKey = tuple[str, str, int]


class Items:
    """All items of a run.

    Attributes:
        groups: By kind, name and rank.
        left_out: How many items had a new name when there was no room for one.
    """

    def __init__(self) -> None:
        self.groups: dict[GroupKey, ItemGroup] = {}
        self.left_out = 0
        self._total = 0

    def take(self, item: Item, content: Callable[[File], bytes]) -> None:
        """Add an item; its content is read where it says more than its size."""
        key = (item.kind, item.name, item.rank)
        group = self.groups.get(key, ItemGroup())
        full = self._total >= TOTAL
        if full and not group.count:
            self.left_out += 1
            return
        self.groups[key] = group
        self._total += group.take(_story(item, content), len(group.versions) if full else VERSIONS)


def _story(item: Item, content: Callable[[File], bytes]) -> ItemStory:
    path = artifact_path(item)
    bare = msgspec.structs.replace(item, files=tuple(File(file.path, file.size, file.sha256) for file in item.files))
    text: str | None = None
    dataset: Dataset | None = None
    reference: Reference | None = None
    # A content that has gone, or is none, takes nothing else with it.
    with suppress(OSError, ValueError, IndexError):
        if item.media == DATASET:
            dataset = msgspec.json.decode(content(item.files[0]), type=Dataset)
        elif item.media == REFERENCE:
            reference = msgspec.json.decode(content(item.files[0]), type=Reference)
        elif item.kind in ("text", "alert") and item.files[0].size <= TEXT_BYTES:
            text = content(item.files[0]).decode(errors="replace")
    return ItemStory(
        item=bare,
        path=path,
        step_path=step_path(item, path),
        size=sum(file.size for file in (item.files if reference is None else reference.files)),
        sha256=_digest(bare, reference),
        text=text,
        dataset=dataset,
        reference=reference,
    )


def _digest(item: Item, reference: Reference | None) -> str:
    if item.media != FOLDER and reference is None and len(item.files) == 1:
        return item.files[0].sha256
    found = [(file.path, file.sha256) for file in (item.files if reference is None else reference.files)]
    lines = "".join(f"{sha256}  {path}\n" for path, sha256 in sorted(found))
    return hashlib.sha256(lines.encode()).hexdigest()
