"""The front of the provenance backend."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ranklog.loggers.base import DEFAULT_EXPERIMENT, BackendLogger, below
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.spec import LogFreq, Scalar

_ADDRESS = r"[A-Za-z][^\s<>\"{}|\\^`]+"
PROV_FORMATS = ("json", "turtle", "xml")


class Prov4MLLogger(BackendLogger):
    """Writes a W3C PROV document of the run: who trained what, with which data and parameters, and what came out.

    Args:
        prov_user_namespace: Namespace of the identifiers in the document: an address, also without its scheme.
        experiment_name: Name of the experiment in the document; None takes the ``experiment`` of `BackendLogger`.
        provenance_save_dir: Where documents are stored, a folder a run; None: ``savedir/provenance``.
        save_after_n_logs: After how many logged records the document is written anew.
        create_graph: Whether the document is also drawn, as ``provenance.dot``.
        create_svg: Whether the drawing is also made an SVG at the end; needs the program ``dot`` of Graphviz.
        formats: Formats with commas beside JSON, which is always written: ``"turtle"``, ``"xml"``.
        savedir: Where everything else is stored.
        log_freq: See `BackendLogger`.
        log_on_workers: See `BackendLogger`.
        **common: See `BackendLogger`.

    Raises:
        InvalidArgumentError: an argument is not allowed; the message says what is.
    """

    def __init__(
        self,
        prov_user_namespace: str = "www.example.org",
        experiment_name: str | None = None,
        provenance_save_dir: str | os.PathLike[str] | None = None,
        save_after_n_logs: int = 100,
        create_graph: bool = True,
        create_svg: bool = True,
        log_freq: LogFreq = "epoch",
        log_on_workers: int | Sequence[int] = 0,
        *,
        formats: str = "json",
        savedir: str | os.PathLike[str] = "mllogs",
        **common: Any,
    ) -> None:
        common.setdefault("experiment", experiment_name or DEFAULT_EXPERIMENT)
        folder = (
            below(savedir, "provenance") if provenance_save_dir is None else str(Path(provenance_save_dir).absolute())
        )
        options: dict[str, Scalar] = {
            "savedir": folder,
            "prov_user_namespace": _check_namespace(prov_user_namespace),
            "experiment_name": experiment_name or common["experiment"],
            "save_after_n_logs": _check_count(save_after_n_logs),
            "create_graph": bool(create_graph),
            "create_svg": bool(create_svg),
            "formats": _check_formats(formats),
        }
        super().__init__("prov", options, savedir=savedir, log_freq=log_freq, log_on_workers=log_on_workers, **common)


def _check_namespace(namespace: object) -> str:
    if isinstance(namespace, str) and re.fullmatch(_ADDRESS, namespace):
        return namespace
    raise InvalidArgumentError(
        f"prov_user_namespace={namespace!r} is not allowed: give an address, for example 'https://example.org/runs/'; "
        "a directory is given as savedir="
    )


def _check_count(count: object) -> int:
    if isinstance(count, int) and not isinstance(count, bool) and count > 0:
        return count
    raise InvalidArgumentError(f"save_after_n_logs={count!r} is not allowed: give an int > 0")


def _check_formats(formats: object) -> str:
    names = [name.strip() for name in formats.split(",")] if isinstance(formats, str) else []
    if names and all(name in PROV_FORMATS for name in names):
        return ",".join(dict.fromkeys(names))
    raise InvalidArgumentError(
        f"formats={formats!r} is not allowed: give some of {', '.join(PROV_FORMATS)}, with commas"
    )
