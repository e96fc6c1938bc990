"""The house is in order: no import circle, small folders, small modules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

import ranklog

PACKAGE = Path(ranklog.__file__).parent
MODULES = {
    ".".join(("ranklog", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
FOLDERS = sorted({path.parent for path in MODULES.values()})


def imported(name: str, path: Path) -> Iterator[str]:
    """Modules of ranklog that a module imports anywhere: at its top, in functions, and for type checkers alone."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            above = name.split(".")[: -node.level or None] if path.name != "__init__.py" else name.split(".")
            source = node.module or "" if not node.level else ".".join((*above, *filter(None, [node.module])))
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                if whole in MODULES or source in MODULES:
                    yield whole if whole in MODULES else source


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """Everything that one module leads to; itself only where it is part of a circle."""
    found: set[str] = set()
    waiting = [*graph[start]]
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += graph[name]
    return found


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """The strongly connected components of more than one module."""
    leads_to = {name: reachable(graph, name) for name in graph}
    return {frozenset(each for each in found if name in leads_to[each]) for name, found in leads_to.items()} - {
        frozenset()
    }


def test_no_module_imports_itself_through_others() -> None:
    graph = {name: set(imported(name, path)) - {name} for name, path in MODULES.items()}
    assert circles(graph) == set()


def test_a_circle_through_a_function_and_a_type_checking_block_is_found(tmp_path: Path) -> None:
    one = tmp_path / "model.py"
    one.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ranklog.loggers import base\n"
        "def f():\n    from ranklog.model import errors\n    from .loggers.base import BaseLogger\n"
    )
    assert set(imported("ranklog.model", one)) == {"ranklog.loggers.base", "ranklog.model.errors"}
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == {frozenset("abc")}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(PACKAGE.parent)))
def test_a_folder_has_sixteen_modules_at_most(folder: Path) -> None:
    modules = sorted(path.name for path in folder.glob("*.py") if path.name != "__init__.py")
    assert len(modules) <= 16, modules


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_a_module_has_three_hundred_lines_at_most() -> None:
    assert {name: lines(path) for name, path in MODULES.items() if lines(path) > 300} == {}


def test_half_of_the_modules_have_fewer_than_130_lines() -> None:
    assert median(map(lines, MODULES.values())) < 130
