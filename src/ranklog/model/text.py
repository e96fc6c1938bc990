"""Text as the journal can store it: pure."""

from __future__ import annotations


def storable(text: str) -> str:
    r"""The text itself, or with what UTF-8 cannot hold written out.

    Example:
        >>> storable("grüße"), storable(chr(0xDC80))
        ('grüße', '\\udc80')
    """
    return text.encode("utf-8", "backslashreplace").decode()
