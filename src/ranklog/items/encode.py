"""Turns items of every kind into their canonical bytes, in the training thread: what is logged is a snapshot.

In: an item, its identifier and kind. Out: an `Encoded`: media type and contents, each bytes or a path of a file
that the caller copies. What a kind becomes is in the modules beside this one; large packages are imported at first use.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Mapping, Sequence
from numbers import Number
from pathlib import Path, PurePath
from typing import Any

import msgspec

from ranklog.abc import Content, Encoded
from ranklog.items.audio import encode_audio
from ranklog.items.curves import encode_embedding, encode_pr_curve
from ranklog.items.datasets import encode_dataset
from ranklog.items.histograms import DEFAULT_BINS, encode_histogram
from ranklog.items.images import encode_figure, encode_image, encode_video
from ranklog.items.result import file_name
from ranklog.items.text import (
    encode_alert,
    encode_dict,
    encode_html,
    encode_prov_documents,
    encode_table,
    encode_text,
)
from ranklog.model import content
from ranklog.model.errors import InvalidItemError, RanklogError
from ranklog.model.kinds import KINDS
from ranklog.model.spec import Scalar
from ranklog.model.text import short_part, storable
from ranklog.values.local import text_of
from ranklog.values.pixels import pixels
from ranklog.values.refusing import wrong_item

_LONGEST_NAME = 255
"""In bytes, of a file or folder."""


def encode(item: Any, name: str, kind: str, options: Mapping[str, Any]) -> Encoded:
    """Encode an item of any kind that is not measured, watched, traced or saved by the modules of its own.

    Raises:
        InvalidItemError: when the kind cannot store such an item.
        InvalidArgumentError: when the identifier cannot name a file, or an option is not allowed.
        MissingExtraError: a package that the kind needs is missing.
    """
    try:
        if KINDS[kind].lists and (items := _listed(item, kind)) is not None:
            return _encode_list(items, name, kind, options)
        return _captioned(_encode_one(item, name, kind, options), name, kind, options)
    except (RanklogError, OSError, MemoryError):
        raise
    except Exception as error:  # an item may have methods of somebody's own, which raise anything
        raise InvalidItemError(f"{kind} {name!r} cannot be stored: {type(error).__name__}: {error}") from error


def _listed(item: Any, kind: str) -> Sequence[Any] | None:
    """The items of a list of items; None where it is one item."""
    if isinstance(item, (list, tuple)):
        # A list of numbers is a sound, a list of sounds is several.
        one = kind == "audio" and item and (isinstance(item[0], Number) or getattr(item[0], "ndim", None) == 0)
        return None if one else item
    dimensions = {"image": 4, "video": 5}.get(kind)
    return item if dimensions is not None and getattr(item, "ndim", 0) == dimensions else None


def _encode_list(items: Sequence[Any], name: str, kind: str, options: Mapping[str, Any]) -> Encoded:
    if len(items) == 0:
        raise InvalidItemError(f"{kind} {name!r} is an empty list: give {KINDS[kind].accepts}")
    file_name(name)
    captions = _captions(options, len(items), name, kind)
    width = max(3, len(str(len(items) - 1)))
    contents: list[Content] = []
    meta: dict[str, Scalar] = {}
    changed: dict[str, None] = {}
    if kind == "image":
        items, said = _on_one_scale(items, name)
        changed[said] = None
    for index, item in enumerate(items):
        encoded = _encode_one(item, f"{index:0{width}d}", kind, options)
        contents += encoded.contents
        meta |= encoded.meta
        changed[encoded.changed] = None
        if captions[index] is not None:
            meta[f"caption.{index}"] = storable(text_of(captions[index], "caption="))
    return Encoded(content.FOLDER, tuple(contents), meta, "; ".join(filter(None, changed)))


def _captions(options: Mapping[str, Any], count: int, name: str, kind: str) -> Sequence[Any]:
    """A caption, or None, for each item; one that is no list goes for all."""
    given: Any = options.get("caption")
    given = given.tolist() if hasattr(given, "tolist") else given
    captions: Sequence[Any] = given if isinstance(given, (list, tuple)) else [given] * count
    if len(captions) != count:
        raise InvalidItemError(f"{kind} {name!r} has {count} items and {len(captions)} captions: give as many")
    return captions


def _captioned(encoded: Encoded, name: str, kind: str, options: Mapping[str, Any]) -> Encoded:
    """One item with its caption, which a list of one may be."""
    if options.get("caption") is None:
        return encoded
    (caption,) = _captions(options, 1, name, kind)
    meta = encoded.meta if caption is None else encoded.meta | {"caption": storable(text_of(caption, "caption="))}
    return msgspec.structs.replace(encoded, meta=meta)


def _on_one_scale(items: Sequence[Any], name: str) -> tuple[Sequence[Any], str]:
    """Images with those that are arrays as pixels; and what was changed."""
    places = [index for index, item in enumerate(items) if hasattr(item, "dtype") and hasattr(item, "shape")]
    made, said = pixels(items if len(places) == len(items) else [items[index] for index in places], f"image {name!r}")
    together = list(items)
    for index, array in zip(places, made, strict=True):
        together[index] = array
    return together, said


def _artifact(item: object, name: str) -> Encoded:
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


def folder_contents(folder: Path) -> tuple[Content, ...]:
    """Every regular file below a folder, by its relative path."""
    files: Sequence[Path] = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(Content(_member(path.relative_to(folder)), path) for path in files)


def _member(path: PurePath) -> str:
    """Path of a file in a folder; a name that is no Unicode becomes longer, and may be too long then."""
    parts = map(storable, path.parts)
    return "/".join(part if len(part.encode()) <= _LONGEST_NAME else short_part(part) for part in parts)


def _encode_one(item: Any, name: str, kind: str, options: Mapping[str, Any]) -> Encoded:
    match kind:
        case "text" | "dict" | "table" | "html":
            return _PLAIN[kind](item, name)
        case "alert":
            return encode_alert(item, name, options)
        case "prov_documents":
            return encode_prov_documents(name, options)
        case "histogram" | "pr_curve" | "embedding":
            return _encode_numbers(item, name, kind, options)
        case "image" | "figure" | "audio" | "video":
            return _encode_media(item, name, kind, options)
        case "dataset":
            return encode_dataset(item, name)
        case "artifact":
            return _artifact(item, name)
        case _:
            from ranklog.items.tensors import encode_tensors

            return Encoded(content.TORCH, (Content(file_name(name, ".pt"), encode_tensors(item, name)),))


_PLAIN: dict[str, Callable[[Any, str], Encoded]] = {
    "text": encode_text,
    "dict": encode_dict,
    "table": encode_table,
    "html": encode_html,
}


def _encode_numbers(item: Any, name: str, kind: str, options: Mapping[str, Any]) -> Encoded:
    match kind:
        case "histogram":
            return encode_histogram(item, name, options.get("bins", DEFAULT_BINS))
        case "pr_curve":
            return encode_pr_curve(item, name, options.get("num_thresholds", 127), options.get("weights"))
        case _:
            return encode_embedding(item, name, options)


def _encode_media(item: Any, name: str, kind: str, options: Mapping[str, Any]) -> Encoded:
    match kind:
        case "image":
            return encode_image(item, name)
        case "figure":
            return encode_figure(item, name)
        case "audio":
            return encode_audio(item, name, options.get("sample_rate", 44_100))
        case _:
            return encode_video(item, name, options.get("fps", 4))
