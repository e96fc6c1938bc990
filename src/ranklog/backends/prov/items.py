"""Items in the provenance: their facts, the path of their files, and the meaning of small contents.

Each version of an item is an `ItemStory`; versions are grouped by kind, name and rank. Memory is bounded: each name
keeps its newest `VERSIONS`. Once there are `TOTAL` versions, a new one replaces the oldest one of its name, and items
with a new name are counted and left out. Reads small contents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePosixPath

import msgspec

from ranklog.backends.shared.artifacts import artifact_path, step_path
from ranklog.backends.shared.kinds import find_show
from ranklog.model.content import DATASET, FOLDER, REFERENCE, TEXT, Dataset, Reference
from ranklog.model.record import File, Item
from ranklog.model.spec import Scalar

FORMS = {
    "metric": "entity, generated",
    "param": "entity, used",
    "dataset": "entity, used",
    "alert": "entity, generated",
    "prov_documents": "document",
    **dict.fromkeys(
        (
            *("text", "dict", "table", "histogram", "image", "figure", "audio", "video", "html", "artifact"),
            *("torch", "model", "best_model", "graph", "embedding", "pr_curve"),
        ),
        "entity, file",
    ),
}
REQUESTS = ("prov_documents",)
"""Kinds that request the document and are no entities."""
USED = ("dataset",)
"""Kinds that the run used; it generated the others."""
VERSIONS = 100
TOTAL = 10_000
FILES_LISTED = 20
TEXT_BYTES = 4096
WITHOUT_FILE = ("dataset", "alert", "prov_documents")
"""Kinds without files, because the document has their whole content."""


class ItemStory(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an item.

    Attributes:
        item: The item without the contents of its files.
        path: Path of its file or folder below the folder of artifacts, if its name has one step.
        step_path: The path if its name has several steps.
        size: Bytes of all its files, including files that it refers to.
        sha256: Digest of its file. For several files, the digest of the lines ``<sha256>  <path>``, sorted by path, as
            ``sha256sum`` prints them.
        text: A short text or alert.
        dataset: The facts of a dataset.
        reference: The address of files that stay where they are.
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
        """The context that was logged with it, if any."""
        given: Scalar = self.item.meta.get("context")
        return given if isinstance(given, str) and given else None


class ItemGroup:
    """The kept versions of an item, and the number of all versions.

    Attributes:
        versions: Versions by step. A later item of the same step replaces the earlier one.
        count: Number of items.
    """

    def __init__(self) -> None:
        self.versions: dict[int, ItemStory] = {}
        self.count = 0
        self._several = False

    def add(self, story: ItemStory, most: int) -> int:
        """Add a version and keep ``most`` of them; returns the change of their number."""
        before = len(self.versions)
        self.count += 1
        self._several = self._several or bool(self.versions.keys() - {story.item.step})
        self.versions.pop(story.item.step, None)
        self.versions[story.item.step] = story
        while len(self.versions) > most:
            del self.versions[next(iter(self.versions))]
        return len(self.versions) - before

    def path_of(self, story: ItemStory) -> PurePosixPath | None:
        """Return the path of a version's files below the folder of artifacts, or None if it has no files."""
        if story.item.kind in WITHOUT_FILE:
            return None
        return story.step_path if self._several else story.path


GroupKey = tuple[str, str, int]


class Items:
    """All items of a run.

    Attributes:
        groups: Items by kind, name and rank.
        left_out: Number of items that were left out.
    """

    def __init__(self) -> None:
        self.groups: dict[GroupKey, ItemGroup] = {}
        self.left_out = 0
        self._total = 0

    def add(self, item: Item, content: Callable[[File], bytes]) -> None:
        """Add an item; ``content`` reads a file."""
        key = (item.kind, item.name, item.rank)
        group = self.groups.get(key, ItemGroup())
        full = self._total >= TOTAL
        if full and not group.count:
            self.left_out += 1
            return
        self.groups[key] = group
        self._total += group.add(_story(item, content), len(group.versions) if full else VERSIONS)


class _Read(msgspec.Struct, frozen=True):
    """The part of a content that the document repeats."""

    text: str | None = None
    dataset: Dataset | None = None
    reference: Reference | None = None


def _story(item: Item, content: Callable[[File], bytes]) -> ItemStory:
    path = artifact_path(item)
    bare = msgspec.structs.replace(item, files=tuple(File(file.path, file.size, file.sha256) for file in item.files))
    found = _Read()
    # A missing or damaged content must not hide the item.
    with suppress(OSError, ValueError, IndexError):
        read = find_show(_READS, item.kind, item.media)
        found = read(item.files[0], content) if read else found
    return ItemStory(
        item=bare,
        path=path,
        step_path=step_path(item, path),
        size=sum(file.size for file in (item.files if found.reference is None else found.reference.files)),
        sha256=_digest(bare, found.reference),
        text=found.text,
        dataset=found.dataset,
        reference=found.reference,
    )


def _read_text(file: File, content: Callable[[File], bytes]) -> _Read:
    return _Read(text=content(file).decode(errors="replace")) if file.size <= TEXT_BYTES else _Read()


def _read_dataset(file: File, content: Callable[[File], bytes]) -> _Read:
    return _Read(dataset=msgspec.json.decode(content(file), type=Dataset))


def _read_reference(file: File, content: Callable[[File], bytes]) -> _Read:
    return _Read(reference=msgspec.json.decode(content(file), type=Reference))


_READS: dict[tuple[str, str], Callable[[File, Callable[[File], bytes]], _Read]] = {
    ("text", TEXT): _read_text,
    ("alert", TEXT): _read_text,
    ("dataset", DATASET): _read_dataset,
    **{(kind, REFERENCE): _read_reference for kind in ("artifact", "model", "best_model")},
}
"""The function that reads a content; other contents are not read."""


def _digest(item: Item, reference: Reference | None) -> str:
    if item.media != FOLDER and reference is None and len(item.files) == 1:
        return item.files[0].sha256
    found = [(file.path, file.sha256) for file in (item.files if reference is None else reference.files)]
    lines = "".join(f"{sha256}  {path}\n" for path, sha256 in sorted(found))
    return hashlib.sha256(lines.encode()).hexdigest()
