"""Encodes images, figures and videos: to PNG, plotly's JSON, GIF. Pillow and matplotlib are imported on first use."""

from __future__ import annotations

import io
import mimetypes
import struct
from pathlib import Path
from typing import Any

from ranklog.abc import Content, Encoded
from ranklog.items.result import file_name
from ranklog.model import content
from ranklog.model.errors import InvalidItemError, MissingExtraError, RanklogError
from ranklog.model.text import storable
from ranklog.values.arrays import to_array
from ranklog.values.numbers import number_option
from ranklog.values.pixels import check_size, pixels
from ranklog.values.refusing import wrong_item

_GIF_COLOURS = 256
_GIF_SIDE = 65_535
_PNG_SIZE_AT = 16


def pillow_for(kind: str) -> Any:
    """Pillow's module of images.

    Raises:
        MissingExtraError: it is missing.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError(f'kind={kind!r} needs Pillow: pip install "ranklog[media]"') from error
    return Image


def encode_image(item: Any, name: str) -> Encoded:
    """An image as PNG: an array (see `pixels`), one of Pillow's, or the path of a file.

    Raises:
        InvalidItemError: when it is no image.
        MissingExtraError: when Pillow is missing.
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
    """The image of a file, and what of the file is left out."""
    try:
        with pillow.open(path) as opened:
            count = getattr(opened, "n_frames", 1)
            image = opened.copy()
    except Exception as error:  # Pillow's readers raise many kinds for a damaged or a huge file
        raise InvalidItemError(f"{what}: cannot read {str(path)!r} ({error})") from error
    return image, f"the first of {count} frames is kept: kind='video' keeps all" if count > 1 else ""


def _for_png(image: Any, what: str, pillow: Any) -> tuple[Any, str]:
    """The image in a mode that PNG has."""
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


def encode_figure(item: Any, name: str) -> Encoded:
    """A matplotlib figure as PNG, a plotly figure as its JSON.

    Raises:
        InvalidItemError: when it is neither.
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
    except Exception as error:  # of whatever is drawn: a formula, a font, data of a wrong shape
        raise InvalidItemError(f"figure {name!r} cannot be rendered: {type(error).__name__}: {error}") from error
    raise wrong_item(item, name, "figure")


def encode_video(item: Any, name: str, fps: object) -> Encoded:
    """A video: frames as GIF, which every backend shows, or the user's own file as it is.

    Arrays are THWC or TCHW with 1, 3 or 4 channels, or THW; values as in `pixels`. GIF has at most 256 colours per
    frame and whole hundredths of a second.

    Raises:
        InvalidItemError: when it is no video.
        InvalidArgumentError: ``fps`` is no number of frames per second.
        MissingExtraError: when Pillow is missing.
    """
    rate = number_option(fps, "fps", "frames per second, from 0.01 to 100", low=0.01, high=100.0)
    if isinstance(item, (str, Path)):
        return own_file(Path(item), name, "video", ".mp4")
    pillow = pillow_for("video")
    shape = tuple(getattr(item, "shape", ()))
    if len(shape) not in (3, 4) or not hasattr(item, "dtype") or 0 in shape:
        raise wrong_item(item, name, "video", f" of shape {shape}")
    arrays, changed = pixels(item, f"video {name!r}")
    if max(arrays[0].shape[:2]) > _GIF_SIDE:
        raise wrong_item(item, name, "video", f" of shape {shape}, wider or higher than {_GIF_SIDE} pixels")
    frames = [_in_palette(pillow.fromarray(array), pillow) for array in arrays]
    out = io.BytesIO()
    frames[0].save(out, format="GIF", save_all=True, append_images=frames[1:], duration=round(1000 / rate), loop=0)
    return Encoded(content.GIF, (Content(file_name(name, ".gif"), out.getvalue()),), {"fps": rate}, changed)


def _in_palette(frame: Any, pillow: Any) -> Any:
    """A frame in 256 colours: its own where it has no more, else those of an octree.

    Pillow's own choice, by median cut, is no closer by eye and takes ten times as long.
    """
    if frame.mode == "L":
        return frame
    if frame.mode == "RGBA":
        frame = frame.convert("RGB")
    few = frame.getcolors(_GIF_COLOURS) is not None
    return frame.quantize(
        _GIF_COLOURS, method=pillow.Quantize.MEDIANCUT if few else pillow.Quantize.FASTOCTREE, dither=pillow.Dither.NONE
    )


def own_file(path: Path, name: str, kind: str, usual: str) -> Encoded:
    """A file of the user's that is kept as it is, with its own suffix.

    Raises:
        InvalidItemError: when there is none.
    """
    if not path.is_file():
        raise InvalidItemError(f"{kind} {name!r}: no file at {str(path)!r}")
    suffix = path.suffix.lower() or usual
    media = mimetypes.guess_type(f"x{suffix}")[0] or "application/octet-stream"
    return Encoded(media, (Content(file_name(name, suffix), path),))
