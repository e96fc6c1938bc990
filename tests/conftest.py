"""What all tests share: no variable of a launcher or of a user's setup reaches them."""

import os
from pathlib import Path

import pytest

FOREIGN = ("RANKLOG_", "SLURM_", "OMPI_", "PMI_", "MLFLOW_", "WANDB_", "RANK", "WORLD_SIZE", "LOCAL_RANK")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(FOREIGN):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.chdir(tmp_path)
