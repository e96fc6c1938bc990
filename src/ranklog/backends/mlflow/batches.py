"""Division of metrics, parameters and tags into requests that MLflow accepts. Pure.

MLflow takes 1,000 metrics, 100 parameters or tags, and 1 MB per request. The size of a text is its size in JSON, where
characters outside ASCII take six bytes each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

METRICS_PER_REQUEST = 990
"""Below MLflow's limit of 1,000, because a tag belongs to the same request."""
PAIRS_PER_REQUEST = 100
MAX_REQUEST_BYTES = 900_000
_OVERHEAD_BYTES = 120

T = TypeVar("T")


def in_requests(values: Sequence[T], texts: Callable[[T], tuple[str, ...]], at_most: int) -> Iterator[Sequence[T]]:
    """Cut a sequence into parts that fit into one request each.

    Args:
        values: Metrics, parameters or tags.
        texts: Returns the texts of one value.
        at_most: Most values per request.

    Example:
        >>> [len(part) for part in in_requests(["a" * 400_000] * 3, lambda text: (text,), 100)]
        [2, 1]
    """
    start = size = 0
    for index, value in enumerate(values):
        own = _OVERHEAD_BYTES + sum(len(text) if text.isascii() else len(json.dumps(text)) for text in texts(value))
        if index > start and (index - start >= at_most or size + own > MAX_REQUEST_BYTES):
            yield values[start:index]
            start, size = index, 0
        size += own
    if start < len(values):
        yield values[start:]
