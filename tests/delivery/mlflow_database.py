"""Helper that gives tests a SQLite database with MLflow's tables, for those that do not test how it is created.

MLflow creates the tables in 60 migrations, which take 2 s of CPU time. They run once per process here.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from ranklog.journal.layout import make_private_dir


def place_database(path: Path) -> Path:
    """Put a database without any content at a path; returns the path."""
    make_private_dir(path.parent)
    shutil.copyfile(_template(), path)
    path.chmod(0o600)
    return path


@functools.cache
def _template() -> Path:
    from mlflow.store.db.utils import _safe_initialize_tables, create_sqlalchemy_engine

    folder = Path(tempfile.mkdtemp(prefix="ranklog-mlflow-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    database = folder / "mlflow.db"
    engine = create_sqlalchemy_engine(f"sqlite:///{database}")
    _safe_initialize_tables(engine)
    engine.dispose()
    return database
