"""Odd but possible content that `log` takes: every backend shows it, and what follows arrives."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from custom_backend import install
from items import T0_NS
from test_conformance import READ, Case

from ranklog.items.encode import encode
from ranklog.journal.cursor import load_cursor
from ranklog.logger.hyperparameters import flatten
from ranklog.model.kinds import KINDS
from ranklog.model.record import EVERY_BACKEND, Metrics, Params

pytestmark = pytest.mark.slow

BACKENDS = ("mlflow", "wandb", "tensorboard", "prov", "console", "csv", "trackio", "opentelemetry")
TEXTS = (
    "",
    " ",
    "\0",
    "\x1b[31m\x7f\x85",
    "\r\n,;\t\"'",
    "\ud83d",
    "\ufffe\uffff",
    "\u202e\u2028",
    "😀" * 3,
    "<script>&amp;]]>",
    "{{}} ${x} %s",
    "a" * 70_000,
    "NaN",
    "=1+1",
)
NUMBERS = (float("nan"), float("inf"), -float("inf"), 2**63 - 1, -(2**63), 2**64, 10**400, 5e-324, 1.7e308, True, None)
CHARS = ("x", "ü", "漢", "😀", "?", ".", "%", " ", "_x0041_")
NAMES = (
    *(f"{char * (length // 2)}/{char * length}"[:length] for char in ("x", "ü", "漢") for length in (200, 255, 512)),
    *(char * 200 for char in ("😀", "?", ".", "%")),
    "a" * 246 + ".json",
    "a.json/b",
    "/".join("a" * 256),
    "..-",
    "CON",
    "a:b*c",
    "  a  ",
    "${x}{y}%(z)s",
)
NAMED: tuple[tuple[str, Any], ...] = (
    ("text", "t"),
    ("table", {"a": [1]}),
    ("artifact", b"x"),
    ("image", np.zeros((2, 2, 3), np.uint8)),
)


def odd_items() -> Iterator[tuple[str, Any]]:
    cells = [*TEXTS, *NUMBERS, [], {}, [[1, {"a": "\ud83d"}]], b"\0", np.zeros((2, 0))]
    yield "table", (["c"], [[cell] for cell in cells])
    yield "table", {text[:300]: [1] for text in TEXTS}
    yield "table", {}
    yield "table", (["a", "b"], [])
    yield "table", ([], [[], []])
    yield "table", [{"a": 1, 1: "x"}, {("b", "c"): None}]
    yield "dict", {text: text for text in TEXTS}
    yield "dict", {str(at): number for at, number in enumerate(NUMBERS)}
    yield "dict", {}
    deep: Any = 1
    for _ in range(48):
        deep = {"a": [deep]}
    yield "dict", {"deep": deep}
    for text in TEXTS:
        yield "text", text
        yield "html", text
        yield "alert", text
    yield "dataset", (TEXTS[3], TEXTS[2], TEXTS[6])
    yield "dataset", np.zeros((2, 0))


@pytest.mark.parametrize("name", BACKENDS)
def test_odd_items_and_names_arrive_and_so_does_what_follows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in install(tmp_path / "site"):
        monkeypatch.syspath_prepend(str(folder))
    case = Case(name, tmp_path / name, tmp_path)
    values: dict[str, Any] = {f"text{at}": text for at, text in enumerate(TEXTS)}
    values |= {f"number{at}": number for at, number in enumerate(NUMBERS)}
    values |= dict.fromkeys(NAMES, 1) | {"a.b": 1, "a.": 2, ".a": 3, "..": 4}
    case.run.add(Params(T0_NS, EVERY_BACKEND, flatten(values)))
    case.run.add(Metrics(0, T0_NS, EVERY_BACKEND, dict.fromkeys(NAMES, 0.5)))
    for at, (kind, item) in enumerate(odd_items()):
        add(case, kind, f"odd/{kind}/{at}", item, step=0)
    for given in NAMES:
        for kind, item in NAMED:
            # W&B has one type for all artifacts of a name.
            add(case, kind, f"{given[: -len(kind)]}{kind}" if len(given) > 20 else f"{given}{kind}", item, step=0)
    for step in (0, 1):
        add(case, "text", NAMES[2], "t", step=step)
    case.run.add(Metrics(7, T0_NS, EVERY_BACKEND, {"after": 0.25}))
    case.deliver("FINISHED")
    cursor = load_cursor(case.run.dir, 0, name)
    assert not cursor.refused, cursor.refused
    if name in READ:
        assert READ[name](case, "after") == [(7, 0.25)]


def add(case: Case, kind: str, name: str, item: Any, *, step: int) -> None:
    assert kind in KINDS
    encoded = encode(item, name, kind, {})
    files = [(each.path, each.source) for each in encoded.contents]
    case.run.add(case.run.item(kind, name, encoded.media, files, step=step, meta=encoded.meta))  # type: ignore[arg-type]
