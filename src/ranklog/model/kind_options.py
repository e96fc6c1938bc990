"""Types of the options that `Logger.log` takes; the table of kinds says which kind has which."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from enum import Enum
from typing import Any, Literal, TypedDict


class KindOptions(TypedDict, total=False):
    """Options of all kinds; see the reference of kinds.

    A type checker refuses other names. At run time they are ignored with a warning, because code written for other
    loggers passes options that only those know.
    """

    context: str | None
    goal: Literal["min", "max"] | None
    bins: int
    caption: str | Sequence[str] | None
    sample_rate: float
    fps: float
    policy: Literal["mutable", "immutable", "reference"]
    input_example: Any
    registered_model_name: str | None
    alias: str | None
    metadata: Any
    metadata_header: Sequence[str] | None
    label_img: Any
    num_thresholds: int
    weights: Any
    log: Literal["gradients", "parameters", "all"]
    log_freq: int
    level: str | Enum
    wait_duration: float | timedelta
    every: float | None
    create_graph: bool
    create_svg: bool
