"""W&B's spelling of ranklog's names; pure. What is changed stays distinct from every other name."""

from __future__ import annotations

import hashlib
import re
from pathlib import PureWindowsPath

from ranklog.backends.shared.escape import escape

_OWN_COLUMNS = frozenset({"step", "_step", "_runtime", "_timestamp", "_wandb"})
_MAX_RUN_ID = 64
_MAX_ARTIFACT_NAME = 128
_OF_WINDOWS = re.compile(r"[:\\]")
_REFUSED = re.compile(r"[^A-Za-z0-9_.-]")


def to_run_id(run_id: str) -> str:
    """W&B's run id of a ranklog run.

    Example:
        >>> to_run_id("resnet-2026")
        'resnet-2026'
    """
    return _spell(run_id, _MAX_RUN_ID)


def to_artifact_name(name: str) -> str:
    """Name of an artifact: W&B allows letters, digits, ``_``, ``.`` and ``-``.

    Example:
        >>> to_artifact_name("plots/out.csv")
        'plots-out.csv-42b6aa10'
    """
    return _spell(name, _MAX_ARTIFACT_NAME)


def to_artifact_path(path: str) -> str:
    """Path of a file in an artifact. W&B refuses what has a drive or leaves its folder when Windows reads it.

    Example:
        >>> to_artifact_path("plots/out.csv"), to_artifact_path("a:b.csv")
        ('plots/out.csv', 'a_x003A_b.csv')
    """
    windows = PureWindowsPath(path)
    return escape(path, _OF_WINDOWS) if windows.anchor or ".." in windows.parts else path


def to_column(name: str) -> str:
    """Column of a metric in the history.

    Example:
        >>> to_column("train/loss"), to_column("step")
        ('train/loss', 'user/step')
    """
    return f"user/{name}" if name in _OWN_COLUMNS else name


def to_media_column(name: str, max_bytes: int = 120) -> str:
    """Column of an item in the history. W&B makes a path of it, which must stay in its folder and not be too long.

    Example:
        >>> to_media_column("pictures/cat"), to_media_column("../cat")
        ('pictures/cat', '_/cat-91249a68')
    """
    parts = ["_" if part in ("", ".", "..") else part for part in name.split("/")]
    spelled = "/".join(parts)
    if spelled != name or len(name.encode()) > max_bytes:
        cut = spelled.encode()[: max_bytes - 9].decode(errors="ignore")
        return f"{cut}-{_digest(name)}"
    return to_column(name)


def _spell(name: str, limit: int) -> str:
    spelled = _REFUSED.sub("-", name)
    if spelled == name and len(name) <= limit:
        return name
    return f"{spelled[: limit - 9]}-{_digest(name)}"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]
