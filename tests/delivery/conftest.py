"""One real MLflow server for all tests of delivery that a process runs."""

from collections.abc import Iterator

import pytest
from mlflow_server import serve


@pytest.fixture(scope="session")
def mlflow_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server that tests share. Each test has an experiment of its own."""
    with serve(tmp_path_factory.mktemp("mlflow")) as port:
        yield port
