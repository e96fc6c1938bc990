"""The library that makes calls fail."""

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("library") / "fail_calls.so"
    source = str(HERE / "fail_calls.c")
    subprocess.run(["cc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(built), source, "-ldl"], check=True)
    return built
