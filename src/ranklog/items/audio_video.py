"""Encoders of audio and video: WAV of 16 bits per sample, and GIF. A file of the user's is kept as it is."""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranklog.abc import Content, Encoded
from ranklog.items.file_names import file_name
from ranklog.items.files import own_file
from ranklog.items.images import pillow_for
from ranklog.model import content
from ranklog.model.errors import InvalidItemError
from ranklog.model.kinds import KINDS
from ranklog.model.options import MAX_CHANNELS
from ranklog.values.arrays import real_array
from ranklog.values.pixels import pixels
from ranklog.values.refusing import wrong_item

_MAX_WAV_BYTES = 2**32 - 1024
_GIF_COLOURS = 256
_GIF_SIDE = 65_535


def encode_audio(item: Any, name: str, options: Mapping[str, Any]) -> Encoded:
    """Samples as WAV, or the user's own file as it is.

    Args:
        item: T, T by C or C by T; the shorter side is taken for the channels. Floats from -1 to 1 (others are clipped,
            NaN becomes 0), or integers (see `_to_int16`).
        name: The identifier.
        options: ``sample_rate``, in samples per second.

    Raises:
        InvalidItemError: it cannot be stored as WAV.
    """
    if isinstance(item, (str, Path)):
        return own_file(Path(item), name, "audio", ".wav")
    samples = real_array(item, f"audio {name!r}", KINDS["audio"].accepts)
    if samples.ndim == 2 and samples.shape[0] < samples.shape[1]:
        samples = samples.T
    samples = samples[:, None] if samples.ndim == 1 else samples
    if samples.ndim != 2 or 0 in samples.shape or samples.shape[1] > MAX_CHANNELS or samples.dtype.kind == "b":
        raise wrong_item(item, name, "audio", f" of shape {samples.shape} and dtype {samples.dtype}")
    if samples.size * 2 > _MAX_WAV_BYTES:
        raise InvalidItemError(f"audio {name!r} is longer than the 4 GiB that WAV holds: log it as a file, by its path")
    sound, changed = _to_int16(samples)
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(options["sample_rate"])
        file.writeframes(sound.tobytes())
    body = Content(file_name(name, ".wav"), out.getvalue())
    return Encoded(content.WAV, (body,), {"sample_rate": options["sample_rate"]}, changed)


def _to_int16(samples: Any) -> tuple[Any, str]:
    """Samples of 16 bits, and what was changed.

    Integers of 8, 16 and 32 bits use the whole range of their type. Integers of 64 bits, which lists become, are
    samples of 16 bits. Silence is in the middle of the range of unsigned integers.
    """
    import numpy as np

    if samples.dtype.kind == "f":
        return _from_floats(samples)
    bits = samples.dtype.itemsize * 8
    if bits == 64 or (bits == 32 and _would_be_silent(samples)):
        low, high = int(samples.min()), int(samples.max())
        clipped = f"integers from {low} to {high} are clipped to -32768 to 32767: scale them first"
        said = clipped if low < -32768 or high > 32767 else "int32 is read as 16-bit samples" if bits == 32 else ""
        return np.clip(samples, -32768, 32767).astype("<i2"), said
    if samples.dtype.kind == "u":
        samples = samples.astype(np.int64) - 2 ** (bits - 1)
    shifted = samples >> (bits - 16) if bits > 16 else samples.astype(np.int16) * 2 ** (16 - bits)
    return shifted.astype("<i2"), ""


def _would_be_silent(samples: Any) -> bool:
    """Whether integers of 32 bits use only the lowest 16, so that they are samples of 16 bits."""
    return samples.dtype.kind == "i" and bool(samples.any()) and samples.min() >= -32768 and samples.max() <= 32767


def _from_floats(samples: Any) -> tuple[Any, str]:
    import numpy as np

    nans = int(np.isnan(samples).sum())
    low, high = float(np.fmin.reduce(samples, axis=None)), float(np.fmax.reduce(samples, axis=None))
    said = [f"{nans} samples are NaN and become 0"] if nans else []
    if low < -1.0 or high > 1.0:
        said.append(f"floats from {low:.6g} to {high:.6g} are clipped to -1 to 1: scale them first")
    sound = np.round(np.clip(np.nan_to_num(samples, nan=0.0), -1.0, 1.0) * 32767.0).astype("<i2")
    return sound, "; ".join(said)


def encode_video(item: Any, name: str, options: Mapping[str, Any]) -> Encoded:
    """A video: frames as GIF, which every backend shows, or the user's own file as it is.

    Arrays are THWC or TCHW with 1, 3 or 4 channels, or THW; values as in `pixels`. GIF has at most 256 colours per
    frame and whole hundredths of a second.

    Args:
        item: Frames, or a path.
        name: The identifier.
        options: ``fps``, in frames per second.

    Raises:
        InvalidItemError: it cannot be stored as a video.
        MissingExtraError: Pillow is missing.
    """
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
    rate = options["fps"]
    out = io.BytesIO()
    frames[0].save(out, format="GIF", save_all=True, append_images=frames[1:], duration=round(1000 / rate), loop=0)
    return Encoded(content.GIF, (Content(file_name(name, ".gif"), out.getvalue()),), {"fps": rate}, changed)


def _in_palette(frame: Any, pillow: Any) -> Any:
    """A frame in 256 colours: its own colours where it has no more, else those of an octree.

    Pillow's default for many colours, median cut, looks no better and takes ten times as long.
    """
    if frame.mode == "L":
        return frame
    if frame.mode == "RGBA":
        frame = frame.convert("RGB")
    few = frame.getcolors(_GIF_COLOURS) is not None
    return frame.quantize(
        _GIF_COLOURS, method=pillow.Quantize.MEDIANCUT if few else pillow.Quantize.FASTOCTREE, dither=pillow.Dither.NONE
    )
