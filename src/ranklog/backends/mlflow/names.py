"""Names as MLflow takes them, reversibly; pure.

MLflow accepts letters, digits, ``_ - . : /`` and spaces in keys, refuses what a file path would change
(``..``, ``//``), takes 250 characters, and is stricter with names of models. Names that fit stay as they are.
"""

from __future__ import annotations

import hashlib
import re

from ranklog.backends.shared.escape import escape, escape_char, unescape

MAX_KEY_CHARS = 250
_REFUSED_IN_KEY = re.compile(r"[^/\w.\- :]")
_REFUSED_IN_MODEL = re.compile(r"[/:.%\"'\\#?\x00-\x1f\x7f]")


def to_key(name: str) -> str:
    """Key of a metric, parameter or tag.

    A name that is too long is cut and ends with a digest; `cut_name_tag` names the tag that holds it whole.

    Example:
        >>> to_key("loss[0]"), to_key("../z"), to_key("val/loss"), to_key("..z")
        ('loss_x005B_0_x005D_', '_x002E__x002E_/z', 'val/loss', '_x002E_.z')
    """
    parts = escape(name, _REFUSED_IN_KEY).split("/")
    parts = [escape_char(".") * len(part) if part in (".", "..") else part for part in parts]
    key = parts[0]
    for index, part in enumerate(parts[1:], start=1):
        # A slash at either end or beside another one would be lost when the key is read as a path.
        keeps_slash = parts[index - 1] and part and key
        key += ("/" if keeps_slash else escape_char("/")) + part
    if key.startswith(".."):  # MLflow looks for these two characters alone
        key = escape_char(".") + key[1:]
    if len(key) <= MAX_KEY_CHARS:
        return key
    return f"{key[: MAX_KEY_CHARS - 17].rstrip('/')}_{_digest(name)}"


def from_key(key: str) -> str:
    """Name that `to_key` was given, where it was not cut.

    Example:
        >>> from_key(to_key("a//b=c"))
        'a//b=c'
    """
    return unescape(key)


def cut_name_tag(name: str) -> str | None:
    """Tag that holds the whole name where its key had to be cut, else None."""
    return f"ranklog.name.{_digest(name)}" if to_key(name).endswith(_digest(name)) else None


def to_model_name(name: str) -> str:
    """Name of a logged model.

    Example:
        >>> to_model_name("nets/u.pth")
        'nets_x002F_u_x002E_pth'
    """
    return escape(name, _REFUSED_IN_MODEL)


def to_image_key(name: str) -> str:
    """Name of an image series: what MLflow's own ``log_image`` puts into the file name.

    Example:
        >>> to_image_key("val/x.png")
        'val~x.png'
    """
    key = escape(name, re.compile(r"[^a-zA-Z0-9_\-./ ]")).replace("/", "~")
    # The key is the head of a file name, of which file systems take 255 bytes, and the rest takes about 90.
    return key if len(key) <= 120 else f"{key[:100]}~{_digest(name)}"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
