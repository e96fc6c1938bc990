"""Opening of a W&B run, with settings from the logger, from W&B's environment variables and from ranklog."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ranklog.abc import RunContext
from ranklog.backends.wandb import service

if TYPE_CHECKING:
    import wandb


def init_run(context: RunContext, savedir: Path, backend_run_id: str, *, offline: bool) -> wandb.Run:
    """Create the W&B run of that id, or resume it."""
    import wandb

    settings = wandb.Settings(
        console="off",
        silent=True,
        # This is not the training process, so its code and system metrics would be misleading.
        disable_code=True,
        x_disable_stats=True,
        program=context.facts.script or None,
        use_dot_wandb=False,
    )
    try:
        return wandb.init(
            project=str(context.spec.options["project_name"]),
            dir=str(savedir),
            id=backend_run_id,
            name=_given(context, "run_name", "WANDB_NAME", context.facts.run_id),
            group=_given(context, "group", "WANDB_RUN_GROUP", context.facts.group),
            job_type=_given(context, "job_type", "WANDB_JOB_TYPE"),
            notes=_given(context, "notes", "WANDB_NOTES"),
            tags=tags.split(",") if (tags := _given(context, "tags", "WANDB_TAGS")) else None,
            resume="allow",
            mode="offline" if offline else None,
            reinit="create_new",
            settings=settings,
        )
    except BaseException:
        service.stop_if_idle()
        raise


def _given(context: RunContext, option: str, variable: str, otherwise: str = "") -> str | None:
    """Return the logger's option, else None if W&B's client reads an environment variable, else ranklog's own value."""
    given = context.spec.options.get(option)
    if given:
        return str(given)
    return None if os.environ.get(variable) else otherwise or None
