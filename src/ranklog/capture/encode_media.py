"""Encodes images and figures: to PNG bytes, or to plotly's JSON. Pillow and matplotlib are imported on first use."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

from ranklog.capture.encode import wrong_item
from ranklog.model.errors import InvalidItemError, MissingExtraError


def encode_image(item: Any, name: str) -> bytes:
    """PNG bytes of an image.

    Arrays are HW, HWC or CHW with 1, 3 or 4 channels; a shape that could be both is read as HWC. Integers are
    0 to 255, floats 0 to 1; what lies outside is clipped, NaN becomes 0.

    Raises:
        InvalidItemError: when it is no image.
        MissingExtraError: when Pillow is missing.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingExtraError('images need Pillow: pip install "ranklog[media]"') from error
    if isinstance(item, (str, Path)):
        try:
            with Image.open(item) as opened:
                image = opened.copy()
        except (OSError, UnidentifiedImageError) as error:
            raise InvalidItemError(f"image {name!r}: cannot read {str(item)!r} ({error})") from error
    elif isinstance(item, Image.Image):
        image = item
    else:
        image = Image.fromarray(_pixels(item, name))
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"):
        image = image.convert("RGB")
    out = io.BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()


def _pixels(item: Any, name: str) -> Any:
    import numpy as np

    torch = sys.modules.get("torch")
    if torch is not None and isinstance(item, torch.Tensor):
        item = item.detach().to("cpu")
        item = (item.float() if item.is_floating_point() else item).numpy()
    if not isinstance(item, np.ndarray):
        raise wrong_item(item, name, "image")
    array = item
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = np.moveaxis(array, 0, 2)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if 0 in array.shape or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise wrong_item(item, name, "image", f" of shape {item.shape}")
    if array.dtype == np.bool_:
        array = array * np.uint8(255)
    elif np.issubdtype(array.dtype, np.floating):
        array = np.round(np.clip(np.nan_to_num(array, nan=0.0), 0.0, 1.0) * 255.0)
    elif np.issubdtype(array.dtype, np.integer):
        array = np.clip(array, 0, 255)
    else:
        raise wrong_item(item, name, "image", f" of dtype {item.dtype}")
    return np.ascontiguousarray(array.astype(np.uint8))


def encode_figure(item: Any, name: str) -> tuple[str, str, bytes]:
    """Media type, file suffix and bytes of a matplotlib or plotly figure.

    Raises:
        InvalidItemError: when it is neither.
    """
    if hasattr(item, "savefig"):
        out = io.BytesIO()
        item.savefig(out, format="png")
        return "image/png", ".png", out.getvalue()
    if hasattr(item, "to_plotly_json") and hasattr(item, "to_json"):
        return "application/vnd.plotly.v1+json", ".json", item.to_json().encode()
    raise wrong_item(item, name, "figure")
