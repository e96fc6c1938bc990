"""Encodes images, figures and videos: to PNG, plotly's JSON, GIF. Pillow and matplotlib are imported on first use."""

from __future__ import annotations

import io
import mimetypes
import sys
from pathlib import Path
from typing import Any

from ranklog.capture.encode_numbers import to_array
from ranklog.capture.encoded import Content, Encoded, file_name, wrong_item
from ranklog.model import content
from ranklog.model.errors import InvalidArgumentError, InvalidItemError, MissingExtraError

_GIF_COLOURS = 256


def _pillow(kind: str) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError(f'kind={kind!r} needs Pillow: pip install "ranklog[media]"') from error
    return Image


def encode_image(item: Any, name: str) -> Encoded:
    """An image as PNG.

    Arrays are HW, HWC or CHW with 1, 3 or 4 channels; a shape that could be both is read as HWC. Integers are
    0 to 255, or 0 to 65535 where they are uint16, floats 0 to 1; what lies outside is clipped, NaN becomes 0.

    Raises:
        InvalidItemError: when it is no image.
        MissingExtraError: when Pillow is missing.
    """
    pillow = _pillow("image")
    if isinstance(item, (str, Path)):
        try:
            with pillow.open(item) as opened:
                image = opened.copy()
        except OSError as error:
            raise InvalidItemError(f"image {name!r}: cannot read {str(item)!r} ({error})") from error
    elif isinstance(item, pillow.Image):
        image = item
    else:
        image = pillow.fromarray(pixels(item, name, "image"))
    if image.mode == "F":
        image = pillow.fromarray(pixels(to_array(image), name, "image"))
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"):
        image = image.convert("RGB")
    out = io.BytesIO()
    image.save(out, format="PNG", compress_level=1)  # half the time, a twelfth more bytes
    return Encoded(content.PNG, (Content(file_name(name, ".png"), out.getvalue()),))


def pixels(item: Any, name: str, kind: str) -> Any:
    """An array of bytes, HW or HWC, of what `encode_image` takes as array.

    Raises:
        InvalidItemError: when it is none.
    """
    import numpy as np

    torch = sys.modules.get("torch")
    if not isinstance(item, np.ndarray) and not (torch is not None and isinstance(item, torch.Tensor)):
        raise wrong_item(item, name, kind)
    array = to_array(item)
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = np.moveaxis(array, 0, 2)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if 0 in array.shape or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise wrong_item(item, name, kind, f" of shape {tuple(item.shape)}")
    return np.ascontiguousarray(_to_bytes(array, item, name, kind))


def _to_bytes(array: Any, item: Any, name: str, kind: str) -> Any:
    import numpy as np

    if array.dtype == np.bool_:
        array = array * np.uint8(255)
    elif array.dtype == np.uint16:
        array = array // 257
    elif np.issubdtype(array.dtype, np.floating):
        array = np.round(np.clip(np.nan_to_num(array, nan=0.0), 0.0, 1.0) * 255.0)
    elif np.issubdtype(array.dtype, np.integer):
        array = np.clip(array, 0, 255)
    else:
        raise wrong_item(item, name, kind, f" of dtype {item.dtype}")
    return array.astype(np.uint8)


def encode_figure(item: Any, name: str) -> Encoded:
    """A matplotlib figure as PNG, a plotly figure as its JSON.

    Raises:
        InvalidItemError: when it is neither.
    """
    if hasattr(item, "savefig"):
        out = io.BytesIO()
        item.savefig(out, format="png")
        return Encoded(content.PNG, (Content(file_name(name, ".png"), out.getvalue()),))
    if hasattr(item, "to_plotly_json") and hasattr(item, "to_json"):
        return Encoded(content.PLOTLY, (Content(file_name(name, ".json"), item.to_json().encode()),))
    raise wrong_item(item, name, "figure")


def encode_video(item: Any, name: str, fps: object) -> Encoded:
    """A video: frames as GIF, which every backend shows, or the user's own file as it is.

    Arrays are THWC or TCHW with 1, 3 or 4 channels, or THW; values as in `encode_image`. GIF has at most 256 colours
    a frame and whole hundredths of a second.

    Raises:
        InvalidItemError: when it is no video.
        InvalidArgumentError: ``fps`` is no number of frames a second.
        MissingExtraError: when Pillow is missing.
    """
    if isinstance(item, (str, Path)):
        return own_file(Path(item), name, "video", ".mp4")
    if isinstance(fps, bool) or not isinstance(fps, (int, float)) or not 0 < fps <= 100:
        raise InvalidArgumentError(f"fps={fps!r} is not allowed: give frames a second, above 0 and at most 100")
    pillow = _pillow("video")
    if getattr(item, "ndim", 0) not in (3, 4) or len(item) == 0:
        raise wrong_item(item, name, "video", f" of shape {tuple(getattr(item, 'shape', ()))}")
    frames = [_in_palette(pillow.fromarray(pixels(frame, name, "video")), pillow) for frame in item]
    out = io.BytesIO()
    frames[0].save(out, format="GIF", save_all=True, append_images=frames[1:], duration=round(1000 / fps), loop=0)
    return Encoded(content.GIF, (Content(file_name(name, ".gif"), out.getvalue()),), {"fps": fps})


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
