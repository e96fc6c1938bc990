"""Makes the example package visible as pip would: metadata in a folder on the path, the module from the examples."""

from __future__ import annotations

import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SOURCE = Path(__file__).parents[2] / "examples" / "custom_backend"


def install(site: Path) -> list[Path]:
    """Write the package's metadata below ``site``; returns what has to be on the path."""
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    name = project["name"].replace("-", "_")
    info = site / f"{name}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{point} = {target}" for point, target in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return [site, SOURCE]
