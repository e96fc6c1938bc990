"""Cuts what is sent to MLflow into requests that it takes: by number and by size; pure.

MLflow takes 1,000 metrics, 100 parameters or tags, and 1 MB a request. What a text takes is what JSON makes of it:
other characters than ASCII take six bytes each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

METRICS_A_BATCH = 990
"""A tag goes along."""
PAIRS_A_BATCH = 100
MAX_REQUEST_BYTES = 900_000
_BESIDE_BYTES = 120

Thing = TypeVar("Thing")


def in_requests(
    things: Sequence[Thing], texts: Callable[[Thing], tuple[str, ...]], at_most: int
) -> Iterator[Sequence[Thing]]:
    """Parts of a sequence that fit into a request each.

    Args:
        things: What is sent.
        texts: The texts that a thing is made of.
        at_most: How many a request takes.

    Example:
        >>> [len(part) for part in in_requests(["a" * 400_000] * 3, lambda text: (text,), 100)]
        [2, 1]
    """
    start = size = 0
    for index, thing in enumerate(things):
        own = _BESIDE_BYTES + sum(len(text) if text.isascii() else len(json.dumps(text)) for text in texts(thing))
        if index > start and (index - start >= at_most or size + own > MAX_REQUEST_BYTES):
            yield things[start:index]
            start, size = index, 0
        size += own
    if start < len(things):
        yield things[start:]
