"""Files of items: paths that users log, and how contents get from the call into storage.

Up to `READ_AT_ONCE_BYTES` per item are read in the call. Larger files are copied, linked or hashed in the background,
on the rank that has them, while training continues; the policy says which. A file that changed before it was copied
is reported. A file that the disk refuses counts as lost.
"""

from __future__ import annotations

import mimetypes
import os
import shutil
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from secrets import token_hex
from typing import Any

import msgspec

from ranklog.abc import Content, Encoded, PendingItem, Sink
from ranklog.items.file_names import file_name
from ranklog.journal import layout, store
from ranklog.model import content
from ranklog.model.errors import InvalidArgumentError, InvalidItemError
from ranklog.model.record import File, Item
from ranklog.model.text import shorten_name, storable
from ranklog.values.refusing import wrong_item

READ_AT_ONCE_BYTES = 4 * 1024 * 1024
COPY_LIMIT_GIB = 64.0
_LONGEST_NAME = 255
"""In bytes, of a file or folder."""


def encode_artifact(item: Any, name: str, options: Mapping[str, Any]) -> Encoded:
    """Bytes, a file or a folder, as they are.

    Raises:
        InvalidItemError: it is none of these, or there is nothing at the path.
    """
    path = file_name(name)
    media = mimetypes.guess_type(path)[0] or "application/octet-stream"
    if isinstance(item, (bytes, bytearray, memoryview)):
        return Encoded(media, (Content(path, bytes(item)),))
    if not isinstance(item, (str, Path)):
        raise wrong_item(item, name, "artifact")
    source = Path(item)
    if source.is_file():
        return Encoded(media, (Content(path, source),))
    if source.is_dir():
        return Encoded(content.FOLDER, folder_contents(source))
    raise InvalidItemError(f"artifact {name!r}: no file or folder at {str(source)!r}")


def own_file(path: Path, name: str, kind: str, usual: str) -> Encoded:
    """A file of the user's that is kept as it is, with its own suffix.

    Raises:
        InvalidItemError: there is no such file.
    """
    if not path.is_file():
        raise InvalidItemError(f"{kind} {name!r}: no file at {str(path)!r}")
    suffix = path.suffix.lower() or usual
    media = mimetypes.guess_type(f"x{suffix}")[0] or "application/octet-stream"
    return Encoded(media, (Content(file_name(name, suffix), path),))


def folder_contents(folder: Path) -> tuple[Content, ...]:
    """Every regular file below a folder, by its relative path."""
    files: Sequence[Path] = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(Content(_member(path.relative_to(folder)), path) for path in files)


def _member(path: PurePath) -> str:
    """Path of a file in a folder. Escaping a name that is not Unicode makes it longer, perhaps too long."""
    parts = map(storable, path.parts)
    return "/".join(part if len(part.encode()) <= _LONGEST_NAME else shorten_name(part) for part in parts)


def ship(
    sink: Sink, record: Item, contents: Sequence[Content], policy: str = "mutable", *, ours: Path | None = None
) -> None:
    """Submit a record with its contents, from the background where that takes long.

    Args:
        sink: Takes the record.
        record: The item without files.
        contents: Its contents.
        policy: How files are stored: a copy; a hard link to a file that nobody writes to again; or only their address
            and digests.
        ours: A folder of ours in the run directory that contains all the files: they are moved out of it.

    Raises:
        OSError: a file cannot be read.
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
    if policy == "reference":
        _submit_later(sink, key, lambda: _reference(record, contents, sources), watched=sources)
    elif total > READ_AT_ONCE_BYTES:
        if policy == "immutable":
            contents, ours = _linked_now(sink, contents)
        keep = store.adopt_file if ours is not None else store.link_file if policy == "immutable" else _copy
        _submit_later(
            sink, key, lambda: _stored(sink, record, contents, keep), watched=() if ours else sources, ours=ours
        )
    else:
        read = [
            each if isinstance(each.source, bytes) else Content(each.path, each.source.read_bytes())
            for each in contents
        ]
        if ours is not None:
            shutil.rmtree(ours, ignore_errors=True)
        sink.submit(record, read)


def _submit_later(
    sink: Sink, key: str, make: Callable[[], PendingItem], *, watched: Sequence[Path], ours: Path | None = None
) -> None:
    """Have the background thread make an item; report the first watched file that changes meanwhile."""
    seen = {source: _state(source) for source in watched}

    def job() -> Iterable[PendingItem]:
        try:
            yield make()
        finally:
            if ours is not None:
                shutil.rmtree(ours, ignore_errors=True)
        if changed := [source for source, state in seen.items() if _state(source) != state]:
            sink.report(
                "changed_files",
                f"{key}: {changed[0]} was changed while it was stored: log files that stay as they are, or call "
                "flush() first",
            )

    sink.background(key, job)


def _stored(
    sink: Sink, record: Item, contents: Sequence[Content], store: Callable[[Path, str, Path], File]
) -> PendingItem:
    run_dir = sink.reach_run_dir()
    return PendingItem(
        record,
        tuple(store(run_dir, each.path, each.source) if isinstance(each.source, Path) else each for each in contents),
    )


def _copy(run_dir: Path, path: str, source: Path) -> File:
    return store.store_file(run_dir, path, source, inline=False)


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
    """Hard links in a folder of ours, which keep files that are deleted soon, such as old checkpoints.

    The contents as they were where links are not possible.
    """
    folder = None
    try:
        folder = sink.run_dir(0.0) / f".links-{token_hex(6)}"
        layout.make_private_dir(folder)  # with the run directory, which rank 0 may create later
        linked: list[Content] = []
        for number, each in enumerate(contents):
            if isinstance(each.source, Path):
                os.link(each.source, folder / str(number))
                linked.append(Content(each.path, folder / str(number)))
            else:
                linked.append(each)
    except Exception:  # another file system, or a rank that does not know the run yet: the background thread copies
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return contents, None
    return linked, folder


def _reference(record: Item, contents: Sequence[Content], sources: Sequence[Path]) -> PendingItem:
    """An item that stands for files which stay where they are."""
    files: list[content.ReferencedFile] = []
    for each, source in zip(contents, sources, strict=True):
        with source.open("rb") as reader:
            size, digest = store.digest_of(reader)
        files.append(content.ReferencedFile(each.path, size, digest))
    is_folder = record.media == content.FOLDER
    root = sources[0]
    for _ in Path(contents[0].path).parts if is_folder else ():
        root = root.parent
    value = content.Reference(
        uri=storable(root.absolute().as_uri()), host=socket.gethostname(), is_folder=is_folder, files=files
    )
    body = Content(file_name(record.name, ".reference.json"), msgspec.json.encode(value))
    return PendingItem(msgspec.structs.replace(record, media=content.REFERENCE), (body,))
