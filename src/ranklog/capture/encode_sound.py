"""Encodes sounds as WAV: 16 bits a sample, the standard library's writer."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

from ranklog.capture.encode_media import own_file
from ranklog.capture.encode_numbers import to_array
from ranklog.capture.encoded import Content, Encoded, file_name, wrong_item
from ranklog.model import content
from ranklog.model.errors import InvalidArgumentError

MAX_CHANNELS = 16


def encode_audio(item: Any, name: str, sample_rate: object) -> Encoded:
    """Samples as WAV, or the user's own file as it is.

    Args:
        item: T, T by C or C by T (the shorter side is taken for the channels); floats from -1 to 1, beyond which they
            are clipped, or integers that fill their type; NaN becomes 0.
        name: The identifier.
        sample_rate: Samples a second.

    Raises:
        InvalidItemError: when it is no sound.
        InvalidArgumentError: ``sample_rate`` is no whole number above 0.
    """
    if isinstance(item, (str, Path)):
        return own_file(Path(item), name, "audio", ".wav")
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, int) or not 0 < sample_rate < 2**31:
        raise InvalidArgumentError(f"sample_rate={sample_rate!r} is not allowed: give samples a second, a whole number")
    try:
        samples = to_array(item)
    except (TypeError, ValueError) as error:
        raise wrong_item(item, name, "audio") from error
    if samples.ndim == 2 and samples.shape[0] < samples.shape[1]:
        samples = samples.T
    samples = samples[:, None] if samples.ndim == 1 else samples
    if samples.ndim != 2 or 0 in samples.shape or samples.shape[1] > MAX_CHANNELS:
        raise wrong_item(item, name, "audio", f" of shape {tuple(getattr(item, 'shape', ()))}")
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(_to_int16(samples, item, name).tobytes())
    body = Content(file_name(name, ".wav"), out.getvalue())
    return Encoded(content.WAV, (body,), {"sample_rate": sample_rate})


def _to_int16(samples: Any, item: Any, name: str) -> Any:
    import numpy as np

    if np.issubdtype(samples.dtype, np.floating):
        return np.round(np.clip(np.nan_to_num(samples, nan=0.0), -1.0, 1.0) * 32767.0).astype("<i2")
    if samples.dtype == np.uint8:  # as WAV itself has it, silence is 128
        return ((samples.astype(np.int16) - 128) * 256).astype("<i2")
    if samples.dtype == np.int32:
        return (samples >> 16).astype("<i2")
    if np.issubdtype(samples.dtype, np.integer):
        return np.clip(samples, -32768, 32767).astype("<i2")
    raise wrong_item(item, name, "audio", f" of dtype {samples.dtype}")
