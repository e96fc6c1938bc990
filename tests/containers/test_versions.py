"""What the container files say by hand and the project says elsewhere is the same."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ranklog

CONTAINERS = Path(__file__).parents[2] / "containers"


@pytest.mark.parametrize("name", ["Containerfile", "ranklog.def"])
def test_the_version_that_an_image_is_labelled_with_is_ranklog_s(name: str) -> None:
    assert re.findall(r"VERSION=([0-9].*)", (CONTAINERS / name).read_text()) == [ranklog.__version__]


def test_both_container_files_have_the_same_arguments_with_the_same_defaults() -> None:
    wanted = r"^\s*(?:ARG )?(EXTRAS|PACKAGES|VARIANT|TORCH_INDEX|VERSION|BACKENDS)=(.*)$"
    oci, sif = (re.findall(wanted, (CONTAINERS / name).read_text(), re.M) for name in ("Containerfile", "ranklog.def"))
    assert len(oci) == 6
    assert oci == sif


def test_both_container_files_start_from_the_same_image() -> None:
    texts = [(CONTAINERS / name).read_text() for name in ("Containerfile", "ranklog.def")]
    assert re.findall(r"^ARG BASE=(.*)", texts[0], re.M) == re.findall(r"^ +FROM=(.*)", texts[1], re.M) != []


def test_every_requirement_of_ranklog_and_its_extras_is_pinned_to_a_version_that_it_takes() -> None:
    pinned = dict(re.findall(r"^(\S+)==(\S+)$", (CONTAINERS / "constraints.txt").read_text(), re.M))
    command = [sys.executable, CONTAINERS / "requirements.py", "all"]
    printed = subprocess.run(command, cwd=CONTAINERS.parent, check=True, capture_output=True, text=True).stdout
    wanted = [Requirement(line) for line in printed.splitlines()]
    assert {"torch", "mlflow", "wandb", "tensorboard", "pillow", "msgspec"} <= {each.name for each in wanted}
    assert [str(each) for each in wanted if pinned.get(canonicalize_name(each.name), "0") not in each.specifier] == []
