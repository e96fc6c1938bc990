"""Destinations of ``ranklog sync --to BACKEND=VALUE``: VALUE sets one option, the run's options give the rest."""

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
from ranklog.model.text import absolute_uri

# Backend to kind of VALUE and the option that it sets.
_MAIN_OPTION = {
    "console": ("DIR", "savedir"),
    "mlflow": ("URI", "tracking_uri"),
    "tensorboard": ("DIR", "savedir"),
    "wandb": ("PROJECT", "project_name"),
    "prov": ("DIR", "savedir"),
}
# Ids at the original destination. They mean nothing at another one.
_LOCAL_OPTIONS = ("run_id", "parent_run_id")


class Destination(msgspec.Struct, frozen=True):
    """A backend and the value of its main option."""

    backend: str
    value: str

    def target(self, run_dir: Path) -> Target:
        """Return the target for one run, with the run's options for this backend or default ones."""
        own = [member.spec.options for member in backends_of(run_dir) if member.spec.backend == self.backend]
        kind, option = _MAIN_OPTION[self.backend]
        value = self.value
        if kind == "DIR":
            value = str(Path(value).absolute())
        elif kind == "URI":
            value = absolute_uri(value)
        options = (own[-1] if own else _default_options(run_dir, self.backend)) | {option: value}
        options |= {name: None for name in _LOCAL_OPTIONS if name in options}
        return extra_target(BackendSpec(backend=self.backend, options=options))


def parse_destination(text: str) -> Destination:
    """Parse ``BACKEND=VALUE``. User and password in a URI go to MLflow's environment variables, not to files.

    Raises:
        InvalidArgumentError: the text has another form, or the backend is not known.
    """
    backend, equals, value = text.partition("=")
    if not equals or not value or backend not in _MAIN_OPTION:
        forms = ", ".join(f"{name}={kind}" for name, (kind, _) in _MAIN_OPTION.items())
        raise InvalidArgumentError(f"--to {split_userinfo(text).url!r} is not allowed: give one of {forms}")
    safe = split_userinfo(value)
    if safe.user is not None:
        os.environ["MLFLOW_TRACKING_USERNAME"] = safe.user
    if safe.password is not None:
        os.environ["MLFLOW_TRACKING_PASSWORD"] = safe.password
    return Destination(backend, safe.url)


def parse_destinations(texts: Sequence[str]) -> list[Destination]:
    """Parse several destinations; see `parse_destination`.

    Raises:
        InvalidArgumentError: one is not allowed, is given twice, or several have a user in their URI.
    """
    with_user = [text for text in texts if split_userinfo(text.partition("=")[2]).user is not None]
    if len(with_user) > 1:
        raise InvalidArgumentError(
            f"{len(with_user)} values of --to have a user in their URI, but a process can use only one: sync one by one"
        )
    found = [parse_destination(text) for text in texts]
    if len(set(found)) < len(found):
        raise InvalidArgumentError("the same --to was given twice: remove one")
    return found


def _default_options(run_dir: Path, backend: str) -> dict[str, Scalar]:
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
