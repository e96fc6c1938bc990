"""Addresses of tracking servers and databases that mean the same wherever they are read."""

from __future__ import annotations

import re
from pathlib import Path

_SQLITE = re.compile(r"(?P<scheme>sqlite(\+\w+)?:///)(?P<path>[^/?:][^?:]*)(?P<query>\?.*)?")
_FOLDER = re.compile(r"(file:)?(?P<path>[^/:][^:]*)")


def absolute_uri(uri: str) -> str:
    """An address whose path, where it has a relative one, is below the working directory; others as they are.

    Args:
        uri: As MLflow takes it: of a server, of a database, or a folder.

    Example:
        >>> absolute_uri("sqlite:///mlflow.db") == f"sqlite:///{Path.cwd()}/mlflow.db"
        True
        >>> absolute_uri("file:./mlruns") == absolute_uri("mlruns") == (Path.cwd() / "mlruns").as_uri()
        True
        >>> absolute_uri("sqlite:////data/mlflow.db"), absolute_uri("sqlite://")
        ('sqlite:////data/mlflow.db', 'sqlite://')
        >>> absolute_uri("https://mlflow.example:5000"), absolute_uri("databricks")
        ('https://mlflow.example:5000', 'databricks')
    """
    if found := _SQLITE.fullmatch(uri):
        return f"{found['scheme']}{Path(found['path']).absolute()}{found['query'] or ''}"
    if (found := _FOLDER.fullmatch(uri)) and not uri.startswith("databricks"):
        return Path(found["path"]).absolute().as_uri()
    return uri
