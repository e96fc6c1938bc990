"""Options of kinds: keyword arguments of `log`, as data for the table of kinds and as types for type checkers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from enum import Enum
from typing import Any, Literal, TypedDict

import msgspec

MAX_BINS = 10_000
MAX_CHANNELS = 16
MAX_RATE = (2**32 - 1) // (2 * MAX_CHANNELS)
"""Most audio samples per second: WAV has 32 bits for the bytes of a second, and two bytes per sample and channel."""
LEVELS = ("info", "warning", "error")
POLICIES = ("mutable", "immutable", "reference")


class Option(msgspec.Struct, frozen=True):
    """One option of a kind.

    Attributes:
        name: Name of the keyword argument.
        type: How the value is read. ``"any"``: as it is. ``"text"``: its text. ``"name"``: a str that is not empty.
            ``"number"``, ``"whole"``: one number of any type. ``"seconds"``: a number, or a timedelta. ``"choice"``:
            one of `choices`. ``"level"``: one of `LEVELS`, also as ``wandb.AlertLevel``. ``"flag"``: its truth value.
        default: Value if a call leaves it out. If it is None, a call may also give None.
        takes: Allowed numbers, in words, for error messages.
        low: Smallest allowed number.
        high: Largest allowed number.
        choices: Allowed values.
        kept: Whether the record of the item keeps it.
    """

    name: str
    type: Literal["any", "text", "name", "number", "whole", "seconds", "choice", "level", "flag"] = "any"
    default: Any = None
    takes: str = ""
    low: float = 0.0
    high: float = float("inf")
    choices: tuple[str, ...] = ()
    kept: bool = True

    @property
    def shown(self) -> str:
        """The option as the reference shows it: with its default, if it has one.

        Example:
            >>> Option("fps", "number", 4.0).shown, Option("caption", "text").shown
            ('fps=4', 'caption')
        """
        if self.default is None:
            return self.name
        return f"{self.name}={self.default:g}" if isinstance(self.default, float) else f"{self.name}={self.default}"


CONTEXT = Option("context", "text")
"""Part of the work that an item belongs to, for example ``"training"``; every kind has it."""
CAPTION = Option("caption", "text")
BINS = Option("bins", "whole", 64, takes=f"an int from 1 to {MAX_BINS}", low=1, high=MAX_BINS)
WATCHED_BINS = Option("bins", "whole", 64, takes="an int from 1 to 512", low=1, high=512)
FPS = Option("fps", "number", 4.0, takes="frames per second, from 0.01 to 100", low=0.01, high=100.0)
SAMPLE_RATE = Option("sample_rate", "whole", 44_100, takes=f"a whole number from 1 to {MAX_RATE}", low=1, high=MAX_RATE)
THRESHOLDS = Option("num_thresholds", "whole", 127, takes=f"an int from 2 to {MAX_BINS}", low=2, high=MAX_BINS)
LOG_FREQ = Option("log_freq", "whole", takes="a number of optimizer steps above 0", low=1)
WATCHED = Option("log", "choice", "gradients", choices=("gradients", "parameters", "all"))
LEVEL = Option("level", "level", "info", choices=LEVELS)
WAIT_DURATION = Option("wait_duration", "seconds", 0.0, takes="seconds, or a timedelta")
EVERY = Option("every", "number", takes="seconds, 1 or more", low=1.0)
POLICY = Option("policy", "choice", "mutable", choices=POLICIES, kept=False)
INPUT_EXAMPLE = Option("input_example", kept=False)


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
