"""Names in the form that W&B accepts. Pure. A changed name stays different from every other name."""

from __future__ import annotations

import re
from pathlib import PureWindowsPath

from ranklog.backends.shared.names import digest, escape

_OWN_COLUMNS = frozenset({"step", "_step", "_runtime", "_timestamp", "_wandb"})
_MAX_RUN_ID = 64
_MAX_ARTIFACT_NAME = 128
_OF_WINDOWS = re.compile(r"[:\\]")
_REFUSED = re.compile(r"[^A-Za-z0-9_.-]")


def to_backend_run_id(run_id: str) -> str:
    """Return W&B's run id of a ranklog run.

    Example:
        >>> to_backend_run_id("resnet-2026")
        'resnet-2026'
    """
    return _spell(run_id, _MAX_RUN_ID)


def to_artifact_name(name: str) -> str:
    """Return the name of an artifact: W&B allows letters, digits, ``_``, ``.`` and ``-``.

    Example:
        >>> to_artifact_name("plots/out.csv")
        'plots-out.csv-42b6aa10'
    """
    return _spell(name, _MAX_ARTIFACT_NAME)


def to_artifact_path(path: str) -> str:
    """Return the path of a file in an artifact. W&B refuses paths that leave the folder on Windows.

    Example:
        >>> to_artifact_path("plots/out.csv"), to_artifact_path("a:b.csv")
        ('plots/out.csv', 'a_x003A_b.csv')
    """
    windows = PureWindowsPath(path)
    return escape(path, _OF_WINDOWS) if windows.anchor or ".." in windows.parts else path


def to_column(name: str) -> str:
    """Return the column of a metric in the history.

    Example:
        >>> to_column("train/loss"), to_column("step")
        ('train/loss', 'user/step')
    """
    return f"user/{name}" if name in _OWN_COLUMNS else name


def to_media_column(name: str, max_bytes: int = 120) -> str:
    """Return the column of an item in the history. W&B makes a path of it, which must be short and stay in its folder.

    Example:
        >>> to_media_column("pictures/cat"), to_media_column("../cat")
        ('pictures/cat', '_/cat-91249a68')
    """
    parts = ["_" if part in ("", ".", "..") else part for part in name.split("/")]
    spelled = "/".join(parts)
    if spelled != name or len(name.encode()) > max_bytes:
        cut = spelled.encode()[: max_bytes - 9].decode(errors="ignore")
        return f"{cut}-{digest(name, 8)}"
    return to_column(name)


def _spell(name: str, limit: int) -> str:
    spelled = _REFUSED.sub("-", name)
    if spelled == name and len(name) <= limit:
        return name
    return f"{spelled[: limit - 9]}-{digest(name, 8)}"
