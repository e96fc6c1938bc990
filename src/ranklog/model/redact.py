"""Remove secrets from stored data: users and passwords in URLs, and command-line arguments that look like keys.

Pure functions. They return what they remove, so that the caller can pass it on in memory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

MASK = "***"
# Matches whole words, so that --tokenizer, --max-tokens and --authors keep their values.
_SECRET_NAME = re.compile(
    r"(?i)(?<![a-z])((api|access|private)[-_]?key|(api|access|auth)?token|secrets?|passw(or)?ds?|pwd|credentials?|auth)(?![a-z])"
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_URL_USERINFO = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s]+@")


class SafeUrl(msgspec.Struct, frozen=True):
    """A URL without user and password, and these separately."""

    url: str
    user: str | None = None
    password: str | None = None


def split_userinfo(url: str) -> SafeUrl:
    """Separate user and password from a URL.

    Example:
        >>> split_userinfo("https://ada:pw@mlflow.example:5000/x").url
        'https://mlflow.example:5000/x'
    """
    parts = urlsplit(url)
    if not parts.scheme or "@" not in parts.netloc:
        return SafeUrl(url)
    userinfo, _, host = parts.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    safe = urlunsplit((parts.scheme, host, parts.path, parts.query, parts.fragment))
    return SafeUrl(safe, unquote(user) or None, unquote(password) or None)


def is_secret_name(name: str) -> bool:
    """Return whether a variable or argument of that name holds a secret.

    Example:
        >>> is_secret_name("WANDB_API_KEY"), is_secret_name("tokenizer")
        (True, False)
    """
    return bool(_SECRET_NAME.search(_CAMEL.sub("_", name)))


def mask_text(text: str) -> str:
    """Mask user and password of every URL in a text.

    Example:
        >>> mask_text("cannot reach https://ada:pw@host/x")
        'cannot reach https://***@host/x'
    """
    return _URL_USERINFO.sub(rf"\g<scheme>{MASK}@", text)


def mask_command(argv: Sequence[str]) -> tuple[str, ...]:
    """Mask the values of arguments whose names look like secrets, and passwords in URLs.

    Example:
        >>> mask_command(["train.py", "--api-key", "abc", "--token=def", "--lr", "0.1"])
        ('train.py', '--api-key', '***', '--token=***', '--lr', '0.1')
    """
    out: list[str] = []
    hide_next = False
    for arg in argv:
        if hide_next and not arg.startswith("--"):
            out.append(MASK)
            hide_next = False
            continue
        name, equals, _ = arg.partition("=")
        secret = is_secret_name(name)
        hide_next = secret and not equals and name.startswith("-")
        out.append(f"{name}={MASK}" if secret and equals else mask_text(arg))
    return tuple(out)
