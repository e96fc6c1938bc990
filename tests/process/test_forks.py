"""Callbacks for forked children run in the child, once, and do not depend on each other."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from ranklog.process import forks


def in_a_child(question: Callable[[], bytes]) -> bytes:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, question())
        os._exit(0)
    os.close(writer)
    answer = os.read(reader, 100)
    os.close(reader)
    os.waitpid(child, 0)
    return answer


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_callback_runs_in_the_child_only_even_after_one_that_raises() -> None:
    called: list[str] = []

    def fail() -> None:
        raise ZeroDivisionError

    def forget() -> None:
        called.append("forgotten")

    def gone() -> None:
        called.append("unregistered")

    for callback in (fail, forget, gone):
        forks.register(callback)
    forks.unregister(gone)
    try:
        assert in_a_child(lambda: " ".join(called).encode()) == b"forgotten"
        assert in_a_child(lambda: in_a_child(lambda: str(len(called)).encode())) == b"1", "not again in its own child"
        assert called == []
    finally:
        forks.unregister(fail)
        forks.unregister(forget)
