"""A running TensorBoard on the loopback interface, asked through the routes that its page uses."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

_PATIENCE_S = 90.0
_ALL_STATES = [f"STATUS_{name}" for name in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]


class TensorBoard:
    """Answers of one server."""

    def __init__(self, url: str) -> None:
        self._url = url

    def scalars(self, run: str, tag: str) -> list[tuple[int, float]]:
        """Points of a tag as (step, value); none where the server does not know it yet."""
        found = self._ask(f"scalars/scalars?{urlencode({'run': run, 'tag': tag})}") or []
        return [(int(step), float(value)) for _, step, value in found]

    def hparams(self) -> dict[str, tuple[dict[str, Any], str]]:
        """For each run the values of the HPARAMS page and how it ended."""
        asked = {"experimentName": "", "allowedStatuses": _ALL_STATES, "colParams": [], "sliceSize": 100}
        found = self._ask("hparams/session_groups", asked) or {}
        return {
            group["name"]: (group["hparams"], group["sessions"][0]["status"])
            for group in found.get("sessionGroups", [])
        }

    def hparam_columns(self) -> set[str]:
        """Names of the columns of the HPARAMS page."""
        found = self._ask("hparams/experiment", {"experimentName": ""}) or {}
        return {info["name"] for info in found.get("hparamInfos", [])}

    def _ask(self, route: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self._url}/data/plugin/{route}", data=data, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except HTTPError as error:
            if error.code not in (400, 404):  # its answers for runs and tags that it does not know yet
                raise
            return None


@contextmanager
def serve(logdir: Path, *, load_fast: bool) -> Iterator[TensorBoard]:
    """Run TensorBoard: with its default data server, or with its loader in Python."""
    options = ["--logdir", str(logdir), "--load_fast", str(load_fast).lower(), "--reload_interval", "1"]
    command = [sys.executable, "-m", "tensorboard.main", *options, "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if " at http://" in line:
                    break
            else:
                raise AssertionError("TensorBoard did not start")
            # It waits for whoever reads its warnings.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield TensorBoard(line.split(" at ")[1].split()[0].rstrip("/"))
        finally:
            process.terminate()


def eventually(ask: Callable[[], object], expected: object) -> None:
    """Ask until the answer is as expected; the last answer is in the error."""
    end = time.monotonic() + _PATIENCE_S
    while (found := ask()) != expected and time.monotonic() < end:
        time.sleep(0.2)
    assert found == expected, f"{found} instead of {expected}"
