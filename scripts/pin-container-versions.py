"""Write containers/constraints.txt with the versions of all packages that an image can contain.

    .venv/bin/python scripts/pin-container-versions.py > containers/constraints.txt

The versions are those installed in this environment for ranklog and its extras. The tools that build ranklog's wheel
are not installed here. Their versions are those of the existing file, or else the newest ones that pip finds.
"""

from __future__ import annotations

import importlib.metadata as metadata
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).parents[1]
PINNED = ROOT / "containers" / "constraints.txt"
EXTRAS = frozenset({"all"})
BUILD = ("hatchling",)

HEAD = """\
# The versions that the images are built with: all that ranklog and its extras bring, and what builds its wheel.
# They are those of the tests' environment, written by scripts/pin-container-versions.py. For Python 3.11 and newer.
# torch has no local part (+cpu, +cu126): which build is taken is the image's argument VARIANT.
"""


def installed(name: str, extras: frozenset[str], seen: dict[tuple[str, frozenset[str]], str]) -> None:
    """Add the installed versions of a distribution and of all its requirements."""
    key = (canonicalize_name(name), extras)
    if key in seen:
        return
    found = metadata.distribution(name)
    seen[key] = found.version
    for line in found.requires or ():
        requirement = Requirement(line)
        wanted = (requirement.marker is None) or any(
            requirement.marker.evaluate({"extra": extra}) for extra in (*extras, "")
        )
        if wanted:
            installed(requirement.name, frozenset(requirement.extras), seen)


def build_tools(pinned: dict[str, str]) -> dict[str, str]:
    """Return the versions of the build tools. Versions in the file are kept, so rewriting it changes nothing."""
    kept = dict(re.findall(r"^([a-z0-9-]+)==(\S+)$", PINNED.read_text(), re.M)) if PINNED.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder, "constraints.txt")
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in {**kept, **pinned}.items()))
        command = [sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:", "-d", folder]
        subprocess.run([*command, "-c", str(constraints), *BUILD], check=True, stdout=sys.stderr)
        wheels = [parse_wheel_filename(path.name)[:2] for path in Path(folder).glob("*.whl")]
    return {name: str(version) for name, version in wheels}


def main() -> None:
    """Print the file."""
    seen: dict[tuple[str, frozenset[str]], str] = {}
    installed("ranklog", EXTRAS, seen)
    found = {name: version.partition("+")[0] for (name, _), version in seen.items() if name != "ranklog"}
    found = build_tools(found) | found
    print(HEAD + "\n".join(f"{name}=={version}" for name, version in sorted(found.items())))


if __name__ == "__main__":
    main()
