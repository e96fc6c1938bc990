"""Write the tables of kinds into docs/reference/kinds.md, between their marks, from the code.

Run it after a change of `ranklog.model.kinds` or of a backend's FORMS:  .venv/bin/python scripts/kinds-tables.py
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ranklog.backends.registry import forms_of
from ranklog.model.kinds import KINDS

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "kinds.md"
TITLES = {
    "mlflow": "MLflow",
    "wandb": "W&B",
    "tensorboard": "TensorBoard",
    "prov": "provenance",
    "console": "console",
    "csv": "CSV",
    "trackio": "Trackio",
    "opentelemetry": "OpenTelemetry",
}
GROUPS = (("mlflow", "wandb", "tensorboard", "prov"), ("console", "csv", "trackio", "opentelemetry"))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def items() -> str:
    """What each kind takes."""
    rows = []
    for kind in KINDS.values():
        options = ["reduce", "weight"] * kind.reduces + [option.shown for option in kind.options]
        shown = ", ".join(f"`{option}`" for option in options)
        rows.append([f"`{kind.name}`", kind.accepts, shown, kind.waits or "nothing"])
    return table(["kind", "item", "options", "the call waits for"], rows)


def forms() -> str:
    """What each kind becomes in each backend."""
    tables = []
    for group in GROUPS:
        said = {name: forms_of(name) for name in group}
        rows = []
        for kind in KINDS.values():
            source = kind.becomes or kind.name
            cells = [f"as `{source}`" if kind.becomes else said[name][source] for name in group]
            rows.append([f"`{kind.name}`", *cells])
        tables.append(table(["kind", *(TITLES[name] for name in group)], rows))
    return "\n\n".join(tables)


def page(text: str) -> str:
    """The page with its tables made anew."""
    for mark, made in (("items", items()), ("forms", forms())):
        pattern = rf"(<!-- {mark} -->\n).*?(<!-- end of {mark} -->)"
        text = re.sub(pattern, lambda match, made=made: f"{match[1]}{made}\n{match[2]}", text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    before = PAGE.read_text()
    after = page(before)
    if "--check" in sys.argv:
        sys.exit(0 if before == after else f"{PAGE.name} is not what the code says: run scripts/kinds-tables.py")
    PAGE.write_text(after)
