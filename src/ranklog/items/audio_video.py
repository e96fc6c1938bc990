"""Encodes sounds as WAV: 16 bits per sample, the standard library's writer."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

from ranklog.abc import Content, Encoded
from ranklog.items.images import own_file
from ranklog.items.result import file_name
from ranklog.model import content
from ranklog.model.errors import InvalidItemError
from ranklog.model.kinds import KINDS
from ranklog.values.arrays import real_array
from ranklog.values.numbers import whole_option
from ranklog.values.refusing import wrong_item

MAX_CHANNELS = 16
MAX_RATE = (2**32 - 1) // (2 * MAX_CHANNELS)
"""Of samples: WAV has 32 bits for the bytes of a second."""
_MAX_BYTES = 2**32 - 1024


def encode_audio(item: Any, name: str, sample_rate: object) -> Encoded:
    """Samples as WAV, or the user's own file as it is.

    Args:
        item: T, T by C or C by T (the shorter side is taken for the channels); floats from -1 to 1, beyond which they
            are clipped, or integers (see `_to_int16`); NaN becomes 0.
        name: The identifier.
        sample_rate: Samples per second.

    Raises:
        InvalidItemError: when it is no sound.
        InvalidArgumentError: ``sample_rate`` is no whole number above 0.
    """
    rate = whole_option(sample_rate, "sample_rate", f"a whole number from 1 to {MAX_RATE}", low=1, high=MAX_RATE)
    if isinstance(item, (str, Path)):
        return own_file(Path(item), name, "audio", ".wav")
    samples = real_array(item, f"audio {name!r}", KINDS["audio"].accepts)
    if samples.ndim == 2 and samples.shape[0] < samples.shape[1]:
        samples = samples.T
    samples = samples[:, None] if samples.ndim == 1 else samples
    if samples.ndim != 2 or 0 in samples.shape or samples.shape[1] > MAX_CHANNELS or samples.dtype.kind == "b":
        raise wrong_item(item, name, "audio", f" of shape {samples.shape} and dtype {samples.dtype}")
    if samples.size * 2 > _MAX_BYTES:
        raise InvalidItemError(f"audio {name!r} is longer than the 4 GiB that WAV holds: log it as a file, by its path")
    sound, changed = _to_int16(samples)
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(sound.tobytes())
    body = Content(file_name(name, ".wav"), out.getvalue())
    return Encoded(content.WAV, (body,), {"sample_rate": rate}, changed)


def _to_int16(samples: Any) -> tuple[Any, str]:
    """Samples of 16 bits, and what was changed.

    Integers of 8, 16 and 32 bits fill their type, as sounds of these widths do; those of 64 bits, which is what lists
    become, are samples of 16 bits. Unsigned ones are silent in the middle.
    """
    import numpy as np

    if samples.dtype.kind == "f":
        return _from_floats(samples)
    bits = samples.dtype.itemsize * 8
    if bits == 64 or (bits == 32 and _would_be_silent(samples)):
        low, high = int(samples.min()), int(samples.max())
        clipped = f"integers from {low} to {high} are clipped to -32768 to 32767: scale them first"
        said = clipped if low < -32768 or high > 32767 else "int32 taken for samples of 16 bits" if bits == 32 else ""
        return np.clip(samples, -32768, 32767).astype("<i2"), said
    if samples.dtype.kind == "u":
        samples = samples.astype(np.int64) - 2 ** (bits - 1)
    shifted = samples >> (bits - 16) if bits > 16 else samples.astype(np.int16) * 2 ** (16 - bits)
    return shifted.astype("<i2"), ""


def _would_be_silent(samples: Any) -> bool:
    """Whether integers of 32 bits use the 16 lowest only, so that they are samples of 16 bits."""
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
