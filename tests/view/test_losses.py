"""Every message about a loss uses a code that `ls` and `show` display."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import ranklog
from ranklog.model import losses
from ranklog.model.losses import LOSSES
from ranklog.model.record import Event
from ranklog.view.summary import losses_of

SOURCE = Path(ranklog.__file__).parent
NAMES = {name: value for name, value in vars(losses).items() if name.isupper() and isinstance(value, str)}
NO_LOSS = "'nonfinite'"  # a mean leaves out what is no number, and counts it
SAYS_LOST = re.compile(r"\b(is|are|be) lost\b|left out|given up|not in the journal|not be (stored|journaled|written)\b")


def told(tree: ast.Module) -> Iterator[tuple[str, str, int]]:
    """Code, text and line of each event that a module tells, as far as they stand in the source."""
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        known: dict[str, str] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                known[node.targets[0].id] = known.get(node.targets[0].id, "") + ast.unparse(node.value)
            elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                known[node.target.id] = known.get(node.target.id, "") + ast.unparse(node.value)
        for node in ast.walk(function):
            if not isinstance(node, ast.Call) or not isinstance(node.func, (ast.Name, ast.Attribute)):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            given = {"warn": node.args[:2], "report": node.args[:2], "Event": node.args[1:3]}.get(name, [])
            if len(given) == 2:
                code, text = (known.get(part.id, part.id) if isinstance(part, ast.Name) else ast.unparse(part)
                              for part in given)  # fmt: skip
                yield code, text, node.lineno


def all_told() -> list[tuple[str, str, str]]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for code, text, line in told(ast.parse(path.read_text())):
            found.append((code, text, f"{path.relative_to(SOURCE)}:{line}"))
    return found


def test_every_message_about_a_loss_uses_a_code_of_the_list() -> None:
    lost = [(code, where) for code, text, where in all_told() if SAYS_LOST.search(text) and code != NO_LOSS]
    assert len(lost) >= 8, "the search finds what is there"
    assert [each for each in lost if not set(re.findall(r"[A-Z_]+", each[0])) & set(NAMES)] == []


def test_the_list_has_exactly_the_codes_that_the_source_uses() -> None:
    used = {name for code, _, _ in all_told() for name in re.findall(r"[A-Z_]+", code)}
    assert set(NAMES) - used == set()
    assert sorted(LOSSES) == sorted(NAMES.values())


@pytest.mark.parametrize("code", LOSSES)
def test_a_run_shows_each_of_them(code: str) -> None:
    assert losses_of([Event("warning", code, "gone", 0), Event("warning", "facts", "other", 0)]) == ("gone",)
