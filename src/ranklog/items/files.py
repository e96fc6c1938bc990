"""Takes one item in the training thread: encodes it, and sees to it that what was logged is what is stored.

In: an item, its identifier, kind and options. Out: a parcel in the inbox, at once where the contents are small.
Files above `READ_AT_ONCE_BYTES` together are copied, linked or hashed by the thread beside
(`ranklog.pipeline.background`), on the rank that has them, while training goes on; what is logged later under the same
name comes after. A file that changed before it was copied is said, one that the disk refuses is counted as lost.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal

import msgspec

from ranklog.abc import Content, Encoded, PendingItem, Sink
from ranklog.items.encode import encode
from ranklog.items.options import known_options, plain_options
from ranklog.items.result import file_name
from ranklog.journal import layout
from ranklog.model import content
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.record import File, Item
from ranklog.model.text import storable
from ranklog.values.numbers import shown
from ranklog.values.refusing import refusing

Policy = Literal["mutable", "immutable", "reference"]
POLICIES: tuple[Policy, ...] = ("mutable", "immutable", "reference")
How = Literal["copy", "link", "move"]
READ_AT_ONCE_BYTES = 4 * 1024 * 1024
COPY_LIMIT_GIB = 64.0


def submit(sink: Sink, item: Any, name: str, kind: str, *, step: int, to: int, options: Mapping[str, Any]) -> None:
    """Encode one item and hand it on.

    Raises:
        InvalidItemError: the kind cannot store such an item, or a file to be logged cannot be read.
        InvalidArgumentError: an option is not allowed.
    """
    known = known_options(kind, options)
    policy = check_policy(known.get("policy", "mutable"))
    with refusing(f"{kind} {name!r}"):
        encoded = encode(item, name, kind, known)
        if encoded.changed:
            sink.report(
                f"changed_{kind}",
                f"{kind} {name!r} is not stored as it was given: {encoded.changed}",
                about=f"{name}: {re.sub('[0-9]+', '', encoded.changed)}",
            )
        ship(sink, as_record(sink, name, kind, step, to, known, encoded), encoded.contents, policy)


def as_record(
    sink: Sink, name: str, kind: str, step: int, to: int, options: Mapping[str, Any], encoded: Encoded
) -> Item:
    """The record of an encoded item, without its files."""
    meta = {**plain_options(options), **encoded.meta}
    return Item(kind, name, step, time.time_ns(), to, sink.place.rank, encoded.media, (), meta)


def ship(
    sink: Sink,
    record: Item,
    contents: Sequence[Content],
    policy: Policy = "mutable",
    *,
    ours: Path | None = None,
) -> None:
    """Bring a record and its contents into the inbox, by the thread beside where that takes long.

    Args:
        sink: Where it goes.
        record: The item without files.
        contents: Its contents.
        policy: What becomes of files: a copy; a hard link to a file that nobody writes to again; or only their
            address and digests.
        ours: A folder of ours in the run directory that has all the files: they are moved out of it.
    """
    sources = [each.source for each in contents if isinstance(each.source, Path)]
    if not sources:
        policy = "mutable"
    total = sum(source.stat().st_size for source in sources)
    key = f"{record.kind} {record.name!r}"
    if policy != "reference" and ours is None and total > _copy_limit_bytes():
        sink.report(
            "copy_limit",
            f"{key} has {total} bytes, more than RANKLOG_COPY_LIMIT_GIB={_copy_limit_bytes() / 2**30:g}: it stays "
            "where it is, and its address is logged",
        )
        policy = "reference"
    if policy != "reference" and total <= READ_AT_ONCE_BYTES:
        read = tuple(
            each if isinstance(each.source, bytes) else Content(each.path, each.source.read_bytes())
            for each in contents
        )
        if ours is not None:
            shutil.rmtree(ours, ignore_errors=True)
        sink.submit(record, read)
        return
    if policy == "immutable":
        contents, ours = _linked_now(sink, contents)
    seen = {source: _state(source) for source in sources}

    def carry() -> Iterable[PendingItem]:
        try:
            if policy == "reference":
                yield PendingItem(*_reference(record, contents, sources))
            else:
                how: How = "move" if ours is not None else "link" if policy == "immutable" else "copy"
                yield PendingItem(record, tuple(_kept(sink, each, how) for each in contents))
        finally:
            if ours is not None:
                shutil.rmtree(ours, ignore_errors=True)
        changed = [source for source, state in seen.items() if ours is None and _state(source) != state]
        if changed:
            sink.report(
                "changed_files",
                f"{key}: {changed[0]} was changed while it was stored: log what stays as it is, or call flush() first",
            )

    sink.background(key, carry)


def check_policy(given: object) -> Policy:
    """What becomes of the files of an item.

    Raises:
        InvalidArgumentError: it is no policy.
    """
    for policy in POLICIES:
        if isinstance(given, str) and given == policy:
            return policy
    raise InvalidArgumentError(f"policy={shown(given)} is not allowed: give one of {', '.join(POLICIES)}")


def _copy_limit_bytes() -> float:
    given = os.environ.get("RANKLOG_COPY_LIMIT_GIB", "")
    try:
        return float(given or COPY_LIMIT_GIB) * 2**30
    except ValueError:
        raise InvalidArgumentError(f"RANKLOG_COPY_LIMIT_GIB={given!r} is not allowed: give a number of GiB") from None


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _linked_now(sink: Sink, contents: Sequence[Content]) -> tuple[Sequence[Content], Path | None]:
    """Hard links in a folder of ours, so that what is deleted soon, as old checkpoints are, is kept.

    Where there can be none, the contents as they were.
    """
    folder = None
    try:
        folder = sink.run_dir(0.0) / f".links-{token_hex(6)}"
        folder.mkdir(mode=0o700)
        linked: list[Content] = []
        for number, each in enumerate(contents):
            if isinstance(each.source, Path):
                os.link(each.source, folder / str(number))
                linked.append(Content(each.path, folder / str(number)))
            else:
                linked.append(each)
    except Exception:  # another file system, or a rank that does not know the run yet: the thread beside copies
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return contents, None
    return linked, folder


def _kept(sink: Sink, each: Content, how: How) -> Content | File:
    if not isinstance(each.source, Path):
        return each
    run_dir = layout.shared_run_dir(sink.run_dir(30.0), sink.place)
    if how == "move":
        return layout.adopt_file(run_dir, each.path, each.source)
    if how == "link":
        return layout.link_file(run_dir, each.path, each.source)
    return layout.store_file(run_dir, each.path, each.source, inline=False)


def _reference(
    record: Item, contents: Sequence[Content], sources: Sequence[Path]
) -> tuple[Item, tuple[Content | File, ...]]:
    """The record and the content that stand for files which stay where they are."""
    files: list[content.ReferencedFile] = []
    for each, source in zip(contents, sources, strict=True):
        with source.open("rb") as reader:
            size, digest = layout.digest_of(reader)
        files.append(content.ReferencedFile(each.path, size, digest))
    is_folder = record.media == content.FOLDER
    root = sources[0]
    for _ in Path(contents[0].path).parts if is_folder else ():
        root = root.parent
    value = content.Reference(
        uri=storable(root.absolute().as_uri()), host=socket.gethostname(), is_folder=is_folder, files=files
    )
    body = Content(file_name(record.name, ".reference.json"), msgspec.json.encode(value))
    return msgspec.structs.replace(record, media=content.REFERENCE), (body,)
