"""The images that the tests here run, built once."""

from __future__ import annotations

from pathlib import Path

import pytest
from images import build_oci, build_sif


@pytest.fixture(scope="session")
def sif() -> Path:
    return build_sif()


@pytest.fixture(scope="session")
def oci() -> str:
    return build_oci()
