"""Types of the keyword arguments that loggers share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from ranklog.model.spec import Forward, Resume

if TYPE_CHECKING:
    from ranklog.abc import RankProvider, Strategy


class RunArguments(TypedDict, total=False):
    """Arguments that every logger passes on to `BackendLogger`, which documents them.

    Use it to type a function that makes a logger: ``def make(**run: Unpack[RunArguments]) -> Logger``.
    """

    strategy: str | Strategy | RankProvider
    reduce: str | None
    run_id: str | None
    resume: Resume
    forward: Forward | None
    experiment: str


class EveryArgument(RunArguments, total=False):
    """Arguments of all loggers together, but for those that `EmptyLogger` names; it ignores these."""

    experiment_name: str | None
    tracking_uri: str | None
    run_description: str | None
    run_name: str | None
    project_name: str | None
    offline_mode: bool
    group: str | None
    job_type: str | None
    notes: str | None
    tags: Sequence[str]
    framework: str
    endpoint: str | None
    prov_user_namespace: str
    provenance_save_dir: str | os.PathLike[str] | None
    save_after_n_logs: int
    create_graph: bool
    create_svg: bool
    formats: str
