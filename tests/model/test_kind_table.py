"""Kinds are one table: names lead to functions, defaults of options are allowed, and no module asks for a kind."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ranklog
from ranklog.abc import Encoder, Room
from ranklog.items.options import typed_option, typed_options
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.kinds import KINDS, Kind, named
from ranklog.model.options import Option

PACKAGE = Path(ranklog.__file__).parent
ROOMS = ("loggers", "logger", "pipeline", "observe", "items", "values", "delivery", "backends", "journal", "model")


def parameters(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_the_functions_of_a_row_exist_and_take_what_their_port_says(kind: Kind) -> None:
    if kind.encoder is not None:
        assert parameters(named(kind.encoder)) == parameters(Encoder.__call__)
    if kind.room is not None:
        assert parameters(named(kind.room)) == parameters(Room.__call__)
    if kind.measures is not None:
        assert parameters(named(kind.measures)) == ["call"]
    if kind.lists is not None:
        assert parameters(named(kind.lists)) == ["item", "what"]


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_a_kind_is_handled_in_one_way(kind: Kind) -> None:
    encoded = kind.room == KINDS["text"].room and kind.measures is None
    assert (kind.encoder is not None) == encoded
    assert kind.reduces == (kind.name == "metric")
    assert kind.becomes is None or kind.becomes in KINDS


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_defaults_of_options_are_allowed_values(kind: Kind) -> None:
    given = typed_options(kind, {})
    assert given == {option.name: option.default for option in kind.options}
    for option in kind.options:
        assert typed_option(option, option.default) == option.default
        assert type(typed_option(option, option.default)) is type(option.default)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        (Option("n", "number", 1.0, takes="1 to 2", low=1.0, high=2.0), 3),
        (Option("n", "whole", 1, takes="1 to 2", low=1, high=2), 1.5),
        (Option("n", "seconds", 0.0, takes="seconds"), -1),
        (Option("n", "choice", "a", choices=("a", "b")), "c"),
        (Option("n", "level", "info", choices=("info",)), "loud"),
        (Option("n", "name"), "  "),
        (Option("n", "number", 1.0, takes="1 to 2"), None),
    ],
)
def test_a_value_that_an_option_does_not_allow_is_an_error_that_names_it(option: Option, value: object) -> None:
    with pytest.raises(InvalidArgumentError, match=r"(n|level)=.* is not allowed: give"):
        typed_option(option, value)


def asked_kinds(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Comparisons of a value with the name of a kind, and matches on one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(getattr(side, "attr", getattr(side, "id", "")) == "kind" for side in sides):
                constants = [each.value for side in sides for each in ast.walk(side) if isinstance(each, ast.Constant)]
                yield from ((node.lineno, value) for value in constants if value in KINDS)
        elif isinstance(node, ast.Match) and getattr(node.subject, "attr", getattr(node.subject, "id", "")) == "kind":
            yield node.lineno, "match"


@pytest.mark.parametrize("room", ROOMS)
def test_no_module_asks_for_a_kind_by_name(room: str) -> None:
    asked = {
        f"{path.relative_to(PACKAGE)}:{line} {kind}"
        for path in (PACKAGE / room).rglob("*.py")
        for line, kind in asked_kinds(ast.parse(path.read_text()))
    }
    # The common kind is logged without a look at the table.
    assert {each for each in asked if not each.endswith(" metric")} == set()


def test_a_chain_of_kinds_is_found() -> None:
    lines = ("if kind == 'image': ...", "elif item.kind in ('table', 'x'): ...", "match kind:", "    case _: ...")
    assert sorted(asked_kinds(ast.parse("\n".join(lines)))) == [(1, "image"), (2, "table"), (3, "match")]
