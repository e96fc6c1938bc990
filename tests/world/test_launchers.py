"""A newcomer who looks for a launcher finds it by its name: one row, in one module, and one line of the reference."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import ranklog
from ranklog.world.place.launchers import LAUNCHERS, Launcher

SOURCE = Path(ranklog.__file__).parent
REFERENCE = SOURCE.parents[1] / "docs" / "reference" / "launchers.md"
GENERIC = ("RANK", "LOCAL_RANK")
"""Variables that several launchers share, and that other modules may set for them."""


def rows_of_the_reference() -> dict[str, str]:
    """Required variables in the reference's table of launchers, by launcher."""
    table = REFERENCE.read_text().partition("## The table")[2].partition("\n\nA new launcher")[0]
    rows = re.findall(r"^\| (?:`(\w+)`|\((\w+)\)) \| ([^|]+) \|", table, re.MULTILINE)
    return {name or alias.lower(): required for name, alias, required in rows if name != "launcher"}


def texts_of(module: Path) -> set[str]:
    """String constants in the code of a module, without docstrings."""
    tree = ast.parse(module.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented) and is_doc(node)}
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docstrings]
    return {node.value for node in constants if isinstance(node.value, str)}


def is_doc(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return ast.get_docstring(node) is not None


def test_each_launcher_is_one_row_under_its_own_name() -> None:
    names = [launcher.name for launcher in LAUNCHERS]
    assert len(set(names)) == len(names)
    assert {"torchrun", "slurm", "pals", "openmpi"} <= set(names)


def test_the_reference_lists_the_launchers_in_the_order_in_which_they_are_tried() -> None:
    rows = rows_of_the_reference()
    assert list(rows) == [launcher.name for launcher in LAUNCHERS]
    for launcher in LAUNCHERS:
        assert all(f"`{variable}`" in rows[launcher.name] for variable in (launcher.rank, *launcher.needs))


@pytest.mark.parametrize(
    "launcher", [row for row in LAUNCHERS if row.rank not in GENERIC], ids=lambda launcher: launcher.name
)
def test_the_variable_of_its_rank_leads_to_the_table_of_launchers(launcher: Launcher) -> None:
    found = {path.stem for path in (SOURCE / "world").rglob("*.py") if launcher.rank in texts_of(path)}
    assert found == {"launchers"}


def test_the_room_of_the_place_has_one_module_per_question() -> None:
    modules = {path.stem for path in (SOURCE / "world" / "place").glob("*.py")} - {"__init__"}
    assert modules == {"detect", "launchers", "containers", "reconcile", "current"}
