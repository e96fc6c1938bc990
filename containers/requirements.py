"""Prints what ranklog's pyproject.toml asks for: its dependencies, and those of the extras in the argument.

python requirements.py "torch tensorboard", in the folder of pyproject.toml. One requirement a line. So the
images get their dependencies in a layer of their own, before ranklog's wheel is there.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib


def requirements(project: Mapping[str, object], extras: str) -> Iterator[str]:
    """Yield the extras' requirements; an extra like ``all`` that names others of ranklog's brings theirs."""
    optional: Mapping[str, list[str]] = project["optional-dependencies"]  # type: ignore[assignment]
    for extra in extras.replace(",", " ").split():
        if extra not in optional:
            sys.exit(f"EXTRAS: ranklog has no extra {extra!r}; it has {', '.join(optional)}")
        for line in optional[extra]:
            own = re.fullmatch(r"ranklog\[(.*)\]", line)
            yield from requirements(project, own[1]) if own else [line]


if __name__ == "__main__":
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    print(*project["dependencies"], *requirements(project, " ".join(sys.argv[1:])), sep="\n")
