"""Encoders of images and figures: PNG, or plotly's JSON. Pillow is imported at first use."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranklog.abc import Content, Encoded
from ranklog.items.file_names import file_name
from ranklog.model import content
from ranklog.model.errors import InvalidItemError, MissingExtraError, RanklogError
from ranklog.model.text import storable
from ranklog.values.arrays import to_array
from ranklog.values.pixels import check_size, pixels
from ranklog.values.refusing import wrong_item

_PNG_SIZE_AT = 16


def pillow_for(kind: str) -> Any:
    """Pillow's image module.

    Raises:
        MissingExtraError: Pillow is missing.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError(f'kind={kind!r} needs Pillow: pip install "ranklog[media]"') from error
    return Image


def encode_image(item: Any, name: str, options: Mapping[str, Any]) -> Encoded:
    """An image as PNG: an array (see `pixels`), a Pillow image, or the path of a file.

    Raises:
        InvalidItemError: it is not an image.
        MissingExtraError: Pillow is missing.
    """
    pillow = pillow_for("image")
    what = f"image {name!r}"
    changed = ""
    if isinstance(item, (str, Path)):
        image, changed = _opened(Path(item), what, pillow)
    elif isinstance(item, pillow.Image):
        image = item
    elif hasattr(item, "dtype") and hasattr(item, "shape"):
        (array,), changed = pixels([item], what)
        image = pillow.fromarray(array)
    else:
        raise wrong_item(item, name, "image")
    check_size(image.size, what)
    image, clipped = _for_png(image, what, pillow)
    out = io.BytesIO()
    image.save(out, format="PNG", compress_level=1)  # half the time, a twelfth more bytes
    changed = "; ".join(filter(None, (changed, clipped)))
    return Encoded(content.PNG, (Content(file_name(name, ".png"), out.getvalue()),), changed=changed)


def _opened(path: Path, what: str, pillow: Any) -> tuple[Any, str]:
    """The image in a file, and in words which frames are left out."""
    try:
        with pillow.open(path) as opened:
            count = getattr(opened, "n_frames", 1)
            image = opened.copy()
    except Exception as error:  # Pillow's readers raise many errors for damaged and huge files
        raise InvalidItemError(f"{what}: cannot read {str(path)!r} ({error})") from error
    return image, f"the first of {count} frames is kept: kind='video' keeps all" if count > 1 else ""


def _for_png(image: Any, what: str, pillow: Any) -> tuple[Any, str]:
    """The image in a mode that PNG supports, and what was changed."""
    if 0 in image.size:
        raise InvalidItemError(f"{what} is {image.size[0]} by {image.size[1]}: give one that has pixels")
    if image.mode == "F":
        (array,), changed = pixels([to_array(image)], what)
        return pillow.fromarray(array), changed
    if image.mode == "I" or image.mode.startswith("I;16"):
        array = to_array(image)
        low, high = int(array.min()), int(array.max())
        said = f"integers from {low} to {high} are clipped to 0 to 65535: scale them first"
        return pillow.fromarray(array.clip(0, 65535).astype("uint16")), said if low < 0 or high > 65535 else ""
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        image = image.convert("RGBA" if image.mode in ("PA", "RGBa") else "RGB")
    return image, ""


def encode_figure(item: Any, name: str, options: Mapping[str, Any]) -> Encoded:
    """A matplotlib figure as PNG, a plotly figure as its JSON.

    Raises:
        InvalidItemError: it is neither, or cannot be rendered.
    """
    try:
        if hasattr(item, "savefig"):
            out = io.BytesIO()
            item.savefig(out, format="png")
            png = out.getvalue()
            width, height = struct.unpack_from(">II", png, _PNG_SIZE_AT)
            check_size((width, height), f"figure {name!r}")
            return Encoded(content.PNG, (Content(file_name(name, ".png"), png),))
        if hasattr(item, "to_plotly_json") and hasattr(item, "to_json"):
            body = storable(item.to_json()).encode()
            return Encoded(content.PLOTLY, (Content(file_name(name, ".json"), body),))
    except RanklogError:
        raise
    except Exception as error:  # drawing may fail on a formula, a font, or data of a wrong shape
        raise InvalidItemError(f"figure {name!r} cannot be rendered: {type(error).__name__}: {error}") from error
    raise wrong_item(item, name, "figure")
