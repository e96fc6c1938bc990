"""What ``ranklog sync --to BACKEND=VALUE`` means: the backend's own main option, the rest as the run has it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ranklog.journal.cursor import backends_of
from ranklog.journal.layout import read_facts
from ranklog.journal.targets import Target, extra_target
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.redact import split_userinfo
from ranklog.model.spec import BackendSpec, Scalar
from ranklog.model.uri import absolute_uri

# Backend to what VALUE is, and the option it sets.
_MAIN_OPTION = {
    "console": ("DIR", "savedir"),
    "mlflow": ("URI", "tracking_uri"),
    "tensorboard": ("DIR", "savedir"),
    "wandb": ("PROJECT", "project_name"),
    "prov": ("DIR", "savedir"),
}
# These name a run where it was logged first, which the other place knows nothing of.
_LOCAL_OPTIONS = ("run_id", "parent_run_id")


class Destination(msgspec.Struct, frozen=True):
    """Where to deliver runs instead: a backend and the value of its main option."""

    backend: str
    value: str

    def target(self, run_dir: Path) -> Target:
        """The target for one run: its own options for that backend where it has some, else the usual ones."""
        own = [member.spec.options for member in backends_of(run_dir) if member.spec.backend == self.backend]
        kind, option = _MAIN_OPTION[self.backend]
        value = self.value
        if kind == "DIR":
            value = str(Path(value).absolute())
        elif kind == "URI":
            value = absolute_uri(value)
        options = (own[-1] if own else _usual_options(run_dir, self.backend)) | {option: value}
        options |= {name: None for name in _LOCAL_OPTIONS if name in options}
        return extra_target(BackendSpec(backend=self.backend, options=options))


def parse_destination(text: str) -> Destination:
    """Read ``BACKEND=VALUE``; a user and password in a URI go to MLflow's environment variables, not to files.

    Raises:
        InvalidArgumentError: for anything else; lists what there is.
    """
    backend, equals, value = text.partition("=")
    if not equals or not value or backend not in _MAIN_OPTION:
        forms = ", ".join(f"{name}={kind}" for name, (kind, _) in _MAIN_OPTION.items())
        raise InvalidArgumentError(f"--to {split_userinfo(text).url!r} is not known: give one of {forms}")
    safe = split_userinfo(value)
    if safe.user is not None:
        os.environ["MLFLOW_TRACKING_USERNAME"] = safe.user
    if safe.password is not None:
        os.environ["MLFLOW_TRACKING_PASSWORD"] = safe.password
    return Destination(backend, safe.url)


def parse_destinations(texts: Sequence[str]) -> list[Destination]:
    """Read several; see `parse_destination`.

    Raises:
        InvalidArgumentError: for what is none, for one given twice, and for two that bring a user or password.
    """
    with_user = [text for text in texts if split_userinfo(text.partition("=")[2]).user is not None]
    if len(with_user) > 1:
        raise InvalidArgumentError(
            f"{len(with_user)} of the --to have a user in their URI, but one process holds one: sync to one at a time"
        )
    found = [parse_destination(text) for text in texts]
    if len(set(found)) < len(found):
        raise InvalidArgumentError("the same --to was given twice: leave one out")
    return found


def _usual_options(run_dir: Path, backend: str) -> dict[str, Scalar]:
    savedir = str(run_dir.absolute().parent / backend)
    if backend == "mlflow":
        return {
            "savedir": savedir,
            "experiment_name": read_facts(run_dir).experiment,
            "run_description": None,
            "run_name": run_dir.name,
        }
    if backend == "wandb":
        return {"savedir": savedir, "offline_mode": False}
    return {"framework": "pytorch"} if backend == "tensorboard" else {}
