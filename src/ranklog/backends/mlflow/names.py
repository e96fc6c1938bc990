"""Names in the form that MLflow accepts. Pure.

MLflow accepts letters, digits, ``_ - . : /`` and spaces in keys, refuses keys that a file path would change (``..``,
``//``), and takes 250 characters. Names of models have stricter rules. Names that fit stay unchanged, others are
escaped reversibly.
"""

from __future__ import annotations

import re

from ranklog.backends.shared.names import digest, escape, escape_char, unescape

MAX_KEY_CHARS = 250
_REFUSED_IN_KEY = re.compile(r"[^/\w.\- :]")
_REFUSED_IN_MODEL = re.compile(r"[/:.%\"'\\#?\x00-\x1f\x7f]")
_REFUSED_IN_IMAGE = re.compile(r"[^a-zA-Z0-9_\-./ ]")


def to_key(name: str) -> str:
    """Return the key of a metric, parameter or tag.

    A name that is too long is cut and ends with a digest; `cut_name_tag` names the tag that holds the whole name.

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
    if key.startswith(".."):  # MLflow refuses every key that begins with two dots
        key = escape_char(".") + key[1:]
    if len(key) <= MAX_KEY_CHARS:
        return key
    return f"{key[: MAX_KEY_CHARS - 17].rstrip('/')}_{digest(name)}"


def from_key(key: str) -> str:
    """Return the name that `to_key` was given, unless it was cut.

    Example:
        >>> from_key(to_key("a//b=c"))
        'a//b=c'
    """
    return unescape(key)


def cut_name_tag(name: str) -> str | None:
    """Return the tag that holds the whole name if its key had to be cut, else None."""
    return f"ranklog.name.{digest(name)}" if to_key(name).endswith(digest(name)) else None


def to_model_name(name: str) -> str:
    """Return the name of a logged model.

    Example:
        >>> to_model_name("nets/u.pth")
        'nets_x002F_u_x002E_pth'
    """
    return escape(name, _REFUSED_IN_MODEL)


def to_image_key(name: str) -> str:
    """Return the name of an image series, as MLflow's own ``log_image`` spells it in file names.

    Example:
        >>> to_image_key("val/x.png")
        'val~x.png'
    """
    key = escape(name, _REFUSED_IN_IMAGE).replace("/", "~")
    # The key begins a file name. File systems allow 255 bytes, and the rest of the name takes about 90.
    return key if len(key) <= 120 else f"{key[:100]}~{digest(name)}"
