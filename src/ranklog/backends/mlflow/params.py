"""Parameters of one MLflow run.

MLflow keeps the first value of a parameter and at most 6,000 characters of it. A changed value is a tag, and
``params.json`` holds all values when one was changed or is too long. Blocks for disk and network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from ranklog.backends.mlflow.batches import PAIRS_PER_REQUEST, in_requests
from ranklog.backends.mlflow.names import cut_name_tag, to_key
from ranklog.backends.mlflow.run import MlflowRun
from ranklog.model.as_json import nonfinite_values_as_text
from ranklog.model.record import File, Params
from ranklog.model.spec import Scalar

MAX_PARAM_CHARS = 6000


class ParamStore:
    """Stores the parameters of one run.

    Args:
        run: The open run.
        upload: Stores files as artifacts of the run.
    """

    def __init__(self, run: MlflowRun, upload: Callable[[Iterable[File]], None]) -> None:
        self._run = run
        self._upload = upload
        self._values: dict[str, Scalar] = {}

    def restore(self, record: Params) -> None:
        """Restore parameters that were delivered before the run was opened."""
        self._values |= record.values

    def store(self, record: Params, attempt: int) -> None:
        """Store the parameters of a record."""
        from mlflow.entities import Param

        self._values |= record.values
        new: list[Param] = []
        tags: dict[str, str] = {}
        needs_file = False
        for name, value in record.values.items():
            key, text = to_key(name), str(value)
            shown = text[:MAX_PARAM_CHARS]
            changed = self._run.params.get(key, shown) != shown
            needs_file = needs_file or changed or len(text) > MAX_PARAM_CHARS
            if changed:
                tags[to_key(f"param.{name}.{attempt}")] = text
            elif key not in self._run.params:
                new.append(Param(key, shown))
            if tag := cut_name_tag(name):
                tags[tag] = name
        for batch in in_requests(new, lambda param: (param.key, param.value), PAIRS_PER_REQUEST):
            self._run.client.log_batch(self._run.backend_run_id, params=batch)
            self._run.params.update({param.key: param.value for param in batch})
        self._run.set_tags(tags)
        if needs_file:
            content = msgspec.json.format(msgspec.json.encode(nonfinite_values_as_text(self._values)))
            self._upload([File("params.json", len(content), "", content)])
