"""Converts arrays to pixels of eight bits: one rule for images, videos and sprites.

The images of one call share one scale, so that frames keep their relative brightness. Changes, such as clipped values,
are returned in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ranklog.model.errors import InvalidItemError
from ranklog.values.arrays import real_array
from ranklog.values.refusing import refused

MAX_PIXELS = 178_956_970
"""Per image. Pillow, which most readers use, refuses larger images as an attack."""
SURELY_BYTES = 8.0
"""A float above this means a scale to 255, not to 1. Images of zero mean and unit variance stay below it."""

_GIVE = "numpy or torch arrays HWC, CHW or HW with 1, 3 or 4 channels"


def pixels(pictures: Any, what: str) -> tuple[list[Any], str]:
    """Byte arrays HW or HWC, from images HW, HWC or CHW; a shape that could be both is read as HWC.

    bool is black and white. The scale ends at 65535 for uint16, at 255 for other integers, and at 1 for floats; at 255
    for floats if the largest is above `SURELY_BYTES`. Values outside the scale are clipped, NaN becomes 0.

    Args:
        pictures: A list of images, or an array with one more dimension.
        what: Their name in error messages.

    Returns:
        The arrays, and in words what was changed.

    Raises:
        InvalidItemError: one is not an image.
    """
    if not isinstance(pictures, (list, tuple)):
        pictures = _array(pictures, what)
        if pictures.ndim not in (3, 4):
            raise refused(pictures, what, f" of shape {pictures.shape}", f"a list of {_GIVE}")
    arrays = [_shaped(_array(picture, what), what) for picture in pictures]
    return _to_bytes(arrays)


def _array(picture: Any, what: str) -> Any:
    if isinstance(picture, (list, tuple)) or not (hasattr(picture, "dtype") and hasattr(picture, "shape")):
        raise refused(picture, what, "", _GIVE)
    return real_array(picture, what, _GIVE)


def _shaped(array: Any, what: str) -> Any:
    import numpy as np

    given = array.shape
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = np.moveaxis(array, 0, 2)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if 0 in array.shape or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise refused(array, what, f" of shape {given}", _GIVE)
    check_size((array.shape[1], array.shape[0]), what)
    return array


def check_size(size: tuple[int, int], what: str) -> None:
    """Refuse an image that is too large for readers.

    Raises:
        InvalidItemError: it has too many pixels.
    """
    width, height = size
    if width * height > MAX_PIXELS:
        raise InvalidItemError(
            f"{what} is {width} by {height}, more than the {MAX_PIXELS} pixels that readers of images open: give a "
            "smaller one, or log its file with kind='artifact'"
        )


def _to_bytes(arrays: Sequence[Any]) -> tuple[list[Any], str]:
    import numpy as np

    floats = [array for array in arrays if array.dtype.kind == "f"]
    others = [array for array in arrays if array.dtype.kind in "iu" and array.dtype not in (np.uint8, np.uint16)]
    top, said = _float_scale(floats) if floats else (1.0, "")
    low = min((int(array.min()) for array in others), default=0)
    high = max((int(array.max()) for array in others), default=0)
    clipped = (
        f"integers from {low} to {high} are clipped to 0 to 255: scale them first" if low < 0 or high > 255 else ""
    )
    made = [np.ascontiguousarray(_bytes(array, top)) for array in arrays]
    return made, "; ".join(filter(None, (said, clipped)))


def _float_scale(arrays: Sequence[Any]) -> tuple[float, str]:
    """The value of white, and in words which values are changed."""
    import numpy as np

    nans = sum(int(np.isnan(array).sum()) for array in arrays)
    # fmin and fmax ignore NaN, and give NaN if there is nothing else.
    low = min(float(np.fmin.reduce(array, axis=None)) for array in arrays)
    high = max(float(np.fmax.reduce(array, axis=None)) for array in arrays)
    largest = high
    if np.isinf(high):
        largest = max((float(array[np.isfinite(array)].max(initial=0.0)) for array in arrays), default=0.0)
    top = 255.0 if largest > SURELY_BYTES else 1.0
    said = [f"{nans} values are NaN and become 0"] if nans else []
    if top != 1.0:
        said.append(f"floats up to {largest:.6g} are read as 0 to 255: give uint8, or scale them to 0 to 1")
    if low < 0.0 or high > top:
        said.append(f"floats from {low:.6g} to {high:.6g} are clipped to 0 to {top:g}: scale them first")
    return top, "; ".join(said)


def _bytes(array: Any, top: float) -> Any:
    import numpy as np

    if array.dtype == np.bool_:
        return array * np.uint8(255)
    if array.dtype == np.uint16:
        array = array // 257
    elif array.dtype.kind == "f":
        array = np.round(np.clip(np.nan_to_num(array, nan=0.0), 0.0, top) * (255.0 / top))
    elif array.dtype != np.uint8:
        array = np.clip(array, 0, 255)
    return array.astype(np.uint8)
