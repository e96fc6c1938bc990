"""Configuration of a session: made by the logger classes, read when logging starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ranklog.model.spec import BackendSpec, Forward, Resume


class SessionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Configuration of a session.

    Attributes:
        specs: Configurations of the backends.
        directory: Where run directories are created.
        experiment: Name of the experiment.
        strategy: Name of a strategy, or a `ranklog.abc.Strategy`.
        run_id: The run to open; None creates a new one.
        resume: What to do if the run exists.
        forward: Where delivery runs.
        channel: Name of the communicator; equal on all ranks.
        secrets: Environment variables for the forwarder only.
    """

    specs: tuple[BackendSpec, ...]
    directory: Path
    experiment: str
    strategy: Any = "auto"
    run_id: str | None = None
    resume: Resume = "allow"
    forward: Forward = "process"
    channel: str = "0"
    secrets: Mapping[str, str] = {}
