"""The path of a value is straight: the stops that the architecture page lists, one module each, in one direction."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from walk import Pass, Walk

from ranklog import JournalLogger
from ranklog.items.files import READ_AT_ONCE_BYTES
from ranklog.model.kinds import KINDS, Kind
from ranklog.testing import captured

PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"
HEADING = "## The path of a value"
STOP = re.compile(r"^\| ([a-z]+) \| (?:`([a-z_/]+)\.py`|.+?) \| .* \|$", re.MULTILINE)
SECOND = re.compile(r"^\| ((?:`[a-z_]+`(?:, )?)+) \| ([a-z]+) \| `([a-z_/]+)\.py` \|$", re.MULTILINE)
NAME = "followed"
OWN_NAMES = {kind: (f"{kind}/",) for kind in ("system", "carbon")}
"""Kinds whose metrics have names of their own."""

HELPERS = {
    "log": r"logger\.(arguments|dispatch|steps|lifecycle)",
    "second": r"(items|observe|logger)\..+",
    "enqueue": r"pipeline\.(sink|background)",
    "drain": r"pipeline\.recorder|process\.(blackbox|health)",
    "store": r"journal\.(layout|store)",
    "append": r"journal\.(frame|append_fd|descriptor)",
}
"""Modules of ranklog that only this stop may use. The queue is entered through the sink."""
ANYWHERE = re.compile(r"ranklog\.((model|values|abc)\b.*|pipeline\.backlog)")
"""Pure functions and frozen data."""

BACKGROUND = "ranklog.pipeline.background"
"""Runs what other stops give it, in its own thread."""
TAKE = "take"
"""The other end of the queue, at which the drain takes a datum out."""

MODEL = nn.Linear(2, 2)
LOGGED: dict[str, tuple[Any, dict[str, Any]]] = {
    "metric": (np.float32(0.5), {}),
    "param": (1, {}),
    "text": ("words", {}),
    "dict": ({"a": 1}, {}),
    "table": ((["a"], [[1]]), {}),
    "histogram": ([1.0, 2.0], {}),
    "image": (np.zeros((2, 2, 3), dtype=np.uint8), {}),
    "figure": (None, {}),
    "audio": (np.zeros(4), {}),
    "video": (np.zeros((2, 2, 2), dtype=np.uint8), {}),
    "html": ("<b>words</b>", {}),
    "artifact": (b"bytes", {}),
    "dataset": (np.zeros(3), {}),
    "torch": (torch.zeros(2), {}),
    "model": (MODEL, {}),
    "best_model": (MODEL, {}),
    "graph": (MODEL, {"input_example": torch.ones(1, 2)}),
    "embedding": (np.zeros((2, 2)), {}),
    "pr_curve": (([0, 1], [0.1, 0.9]), {}),
    "watch": (MODEL, {"log_freq": 1}),
    "alert": ("what happened", {}),
    "flops_pb": ((MODEL, torch.ones(1, 2)), {}),
    "flops_pe": ((MODEL, [torch.ones(1, 2)]), {}),
    "system": (None, {}),
    "carbon": (None, {}),
    "execution_time": (None, {}),
    "prov_documents": (None, {}),
}


def section() -> str:
    return PAGE.read_text().split(f"\n{HEADING}\n")[1].split("\n## ")[0]


def module_of(path: str) -> str:
    return "ranklog." + path.replace("/", ".")


def stops_of_the_page() -> dict[str, list[tuple[str, str]]]:
    """The stops of a metric and of an item; the second one's module depends on the kind."""
    tables = section().split("\n\n")
    found = {}
    for name, heading in (("metric", "**A metric**"), ("item", "**An item**")):
        at = next(index for index, text in enumerate(tables) if text.startswith(heading))
        found[name] = [(stop, module) for stop, module in STOP.findall(tables[at + 1]) if stop != "stop"]
    return found


def second_stops_of_the_page() -> dict[str, str]:
    return {
        kind: module_of(path) for kinds, _, path in SECOND.findall(section()) for kind in re.findall(r"`(.+?)`", kinds)
    }


def second_stop(kind: Kind) -> str:
    """Where the table of kinds sends a kind."""
    function = kind.measures or kind.room
    return "ranklog.values.snapshot" if function is None else function.split(":")[0]


def stores_contents(kind: str) -> bool:
    return kind not in ("metric", "param") and KINDS[kind].becomes != "metric"


def expected(kind: str) -> list[tuple[str, str]]:
    """Stops of a kind with their modules, from the page; the second depends on the kind."""
    log, _, *others = stops_of_the_page()["item" if stores_contents(kind) else "metric"]
    found = [(stop, module_of(path)) for stop, path in (log, *others)]
    return [found[0], ("second", second_stop(KINDS[kind])), *found[1:]]


@contextmanager
def trained(kind: str) -> Iterator[None]:
    """What a training does after the call, for kinds that wait for it."""
    yield
    if kind == "watch":
        optimizer = torch.optim.SGD(MODEL.parameters(), lr=0.0)
        MODEL(torch.ones(1, 2)).sum().backward()
        optimizer.step()


def walk_of(kind: str, folder: Path, item: Any = None) -> list[Pass]:
    usual, options = LOGGED[kind]
    item = usual if item is None else item
    if kind == "figure":
        figure = pytest.importorskip("matplotlib.figure")
        item = figure.Figure()
    walk = Walk(NAME, *OWN_NAMES.get(kind, ()))
    logger = JournalLogger(folder / "logs", log_freq="batch")
    with walk.in_threads():
        logger.create_logger_context()
        try:
            with walk.recording(item), trained(kind):
                logger.log(item, NAME, kind=kind, step=3, **options)
            assert logger.flush(60)
            assert any(name in str(record) for record in captured(logger) for name in (NAME, *OWN_NAMES.get(kind, ())))
            return walk.passed
        finally:
            logger.destroy_logger_context()


def stop_of(module: str, way: list[tuple[str, str]]) -> int | None:
    """Which stop a module is, or helps; None for none."""
    for number, (_, own) in enumerate(way):
        if module == own:
            return number
    for number, (stop, _) in enumerate(way):
        if stop in HELPERS and re.fullmatch(rf"ranklog\.({HELPERS[stop]})", module):
            return number
    return None


def faults(walk: list[Pass], way: list[tuple[str, str]]) -> list[str]:
    """What is not straight about a walk."""
    stops = [module for _, module in way]
    first = list(dict.fromkeys(each.module for each in walk if each.module in stops))
    found = [] if first == stops else [f"the stops are {first}, not {stops}"]
    for each in walk:
        if ANYWHERE.fullmatch(each.module) and each.module not in stops:
            continue
        here = stop_of(each.module, way)
        above = None if each.caller in (None, BACKGROUND) else stop_of(each.caller, way)
        if here is None:
            found.append(f"{each.module} ({each.function}) is no stop, called by {each.caller}")
        elif above is not None and above > here and each.function != TAKE:
            found.append(f"{each.caller} goes back to {each.module} ({each.function})")
        elif each.module not in stops and above not in (None, here) and way[here][0] != "enqueue":
            found.append(f"{each.caller} uses {each.module} ({each.function}), which belongs to another stop")
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_datum_of_each_kind_passes_the_stops_of_the_page_and_nothing_else(kind: str, tmp_path: Path) -> None:
    if kind == "carbon":
        pytest.importorskip("codecarbon")
    way = expected(kind)
    assert len(way) <= 6
    assert faults(walk_of(kind, tmp_path), way) == []


def test_a_float_under_a_known_name_is_queued_by_the_call_itself(tmp_path: Path) -> None:
    walk = Walk(NAME)
    logger = JournalLogger(tmp_path / "logs", log_freq="batch")
    with walk.in_threads():
        logger.create_logger_context()
        try:
            logger.log(0.5, NAME, step=0)
            assert logger.flush(60)
            with walk.recording():
                logger.log(1.5, NAME, step=1)
            assert logger.flush(60)
        finally:
            logger.destroy_logger_context()
    log, _, *others = expected("metric")
    assert faults(walk.passed, [log, *others]) == []
    training = {each.module for each in walk.passed if each.thread == threading.current_thread().name}
    assert training == {log[1], others[0][1]}


def test_a_large_file_is_stored_in_the_background_before_it_is_queued(tmp_path: Path) -> None:
    large = tmp_path / f"{NAME}.bin"
    large.write_bytes(bytes(READ_AT_ONCE_BYTES + 1))
    walk = walk_of("artifact", tmp_path, large)
    stored = [each for each in walk if each.module == "ranklog.journal.store"]
    queued = next(index for index, each in enumerate(walk) if each.module == "ranklog.pipeline.inbox")
    assert stored and {each.thread for each in stored} == {"ranklog-background"}
    assert walk.index(stored[0]) < queued
    log, encode, enqueue, drain, _, append = expected("artifact")
    assert faults(walk, [log, encode, ("store", "ranklog.journal.store"), enqueue, drain, append]) == []


def test_the_page_names_the_second_stop_of_each_kind() -> None:
    assert second_stops_of_the_page() == {name: second_stop(kind) for name, kind in KINDS.items()}


def test_a_detour_a_missing_stop_and_a_way_back_are_found(tmp_path: Path) -> None:
    way = expected("text")
    walk = walk_of("text", tmp_path)
    log, encode = way[0][1], way[1][1]
    assert faults(walk, way) == []
    assert faults([*walk, Pass("MainThread", "ranklog.view.query", "ask", log)], way)
    assert faults([each for each in walk if each.module != encode], way)
    assert faults([*walk, Pass("ranklog-drain", encode, "again", way[3][1])], way)
