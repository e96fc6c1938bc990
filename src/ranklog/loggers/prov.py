"""Logger for provenance documents."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ranklog.loggers.arguments import RunArguments
from ranklog.loggers.base import DEFAULT_EXPERIMENT, BackendLogger, absolute, below
from ranklog.model.argument_names import named_arguments
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.spec import LogFreq, Scalar
from ranklog.values.numbers import shown

if TYPE_CHECKING:
    from typing_extensions import Unpack

_ADDRESS = r"[A-Za-z][^\s<>\"{}|\\^`]+"
PROV_FORMATS = ("json", "turtle", "xml")


class Prov4MLLogger(BackendLogger):
    """Writes a W3C PROV document of the run: who trained which model, with which data and parameters, and the results.

    Args:
        prov_user_namespace: Namespace of the identifiers in the document: an address, with or without its scheme.
        experiment_name: Name of the experiment in the document; default: the ``experiment`` of `BackendLogger`.
        provenance_save_dir: Directory for the documents, one folder per run; default: ``savedir/provenance``.
        save_after_n_logs: Number of logged records after which the document is written again.
        create_graph: Whether to draw the document, too, as ``provenance.dot``.
        create_svg: Whether to convert the drawing to SVG at the end; needs the program ``dot`` of Graphviz.
        log_freq: See `BackendLogger`.
        log_on_workers: See `BackendLogger`.
        formats: Comma-separated formats: ``"turtle"``, ``"xml"``. JSON is always written.
        savedir: Directory for everything else that is stored.
        **run: See `BackendLogger`.

    Raises:
        InvalidArgumentError: an argument is unknown or has a value that is not allowed.

    Ranks: see `BackendLogger`.
    """

    @named_arguments(RunArguments)
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
        **run: Unpack[RunArguments],
    ) -> None:
        run.setdefault("experiment", experiment_name or DEFAULT_EXPERIMENT)
        folder = (
            below(savedir, "provenance")
            if provenance_save_dir is None
            else str(absolute("provenance_save_dir", provenance_save_dir))
        )
        options: dict[str, Scalar] = {
            "savedir": folder,
            "prov_user_namespace": _check_namespace(prov_user_namespace),
            "experiment_name": experiment_name or run["experiment"],
            "save_after_n_logs": _check_count(save_after_n_logs),
            "create_graph": bool(create_graph),
            "create_svg": bool(create_svg),
            "formats": _check_formats(formats),
        }
        super().__init__("prov", options, savedir=savedir, log_freq=log_freq, log_on_workers=log_on_workers, **run)


def _check_namespace(namespace: object) -> str:
    if isinstance(namespace, str) and re.fullmatch(_ADDRESS, namespace):
        return namespace
    raise InvalidArgumentError(
        f"prov_user_namespace={shown(namespace)} is not allowed: give an address, for example"
        " 'https://example.org/runs/'; a directory is given as savedir="
    )


def _check_count(count: object) -> int:
    if isinstance(count, int) and not isinstance(count, bool) and count > 0:
        return count
    raise InvalidArgumentError(f"save_after_n_logs={shown(count)} is not allowed: give an int > 0")


def _check_formats(formats: object) -> str:
    names = [name.strip() for name in formats.split(",")] if isinstance(formats, str) else []
    if names and all(name in PROV_FORMATS for name in names):
        return ",".join(dict.fromkeys(names))
    raise InvalidArgumentError(
        f"formats={shown(formats)} is not allowed: give some of {', '.join(PROV_FORMATS)}, separated by commas"
    )
