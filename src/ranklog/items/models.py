"""Takes a model in the training thread: a module, which is saved, or the path of one that the training saved itself.

In: kind ``model`` or ``best_model``. Out: a folder in the run directory, whose files go the way of every item
(`ranklog.items.submit`); a folder of the user's, such as a sharded checkpoint, stays where it is and is logged by
its address and digests. A module that is sharded over ranks is gathered, for which every rank must call.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any

from ranklog.abc import Encoded, Sink
from ranklog.items.encode import folder_contents
from ranklog.items.images import own_file
from ranklog.items.options import known_options
from ranklog.items.result import file_name
from ranklog.items.submit import as_record, check_policy, ship
from ranklog.model import content
from ranklog.model.errors import InvalidArgumentError, ReduceTimeoutError
from ranklog.model.losses import LOST_ITEMS
from ranklog.values.numbers import shown

_STREAM = re.compile(r"iostream|PytorchStreamWriter|file write failed")


def submit_model(
    sink: Sink,
    model: Any,
    name: str,
    kind: str,
    *,
    step: int,
    to: int,
    to_if_sharded: int,
    options: Mapping[str, Any],
    for_mlflow: bool,
    meet: Callable[[], None],
) -> None:
    """Save a model and hand it on.

    Args:
        sink: Where it goes.
        model: A module, or a path.
        name: The identifier.
        kind: ``model`` or ``best_model``.
        step: The user's step.
        to: Backends for which this rank logs.
        to_if_sharded: Backends that take the call, whatever the rank.
        options: Of the call.
        for_mlflow: Whether the run has an MLflow backend, whose format the model is saved in.
        meet: Returns when every rank has called it.

    Raises:
        InvalidItemError: it is no model, or cannot be saved.
        InvalidArgumentError: ``alias`` or ``registered_model_name`` is no text.
        ReduceTimeoutError: it is sharded, and not every rank called in time.
    """
    known = known_options(kind, options)
    for option in ("registered_model_name", "alias"):
        if (given := known.get(option)) is not None and not (isinstance(given, str) and given.strip()):
            raise InvalidArgumentError(f"{option}={shown(given)} is not allowed: give a str that is not empty")
    policy = check_policy(known.get("policy", "reference"))
    file_name(name)
    if isinstance(model, (str, Path)):
        if to:
            path = Path(model)
            encoded = (
                Encoded(content.FOLDER, folder_contents(path)) if path.is_dir() else own_file(path, name, kind, ".pt")
            )
            if "policy" not in known and not path.is_dir():
                policy = "mutable"
            ship(sink, as_record(sink, name, kind, step, to, known, encoded), encoded.contents, policy)
        return
    from ranklog.items.model_formats import bare_module, save_model, save_state
    from ranklog.items.sharded import full_state, is_sharded

    module = bare_module(model, name, kind)
    state = None
    sharded = sink.place.world_size > 1 and is_sharded(module)
    if sharded:
        try:
            meet()
        except ReduceTimeoutError as error:
            raise ReduceTimeoutError(
                f"kind={kind!r} {name!r} is sharded over ranks, so every rank must call log() with it, also those that "
                f"log nothing: {error}"
            ) from error
        to = to_if_sharded if sink.place.is_main else 0
        state = full_state(module, name, writes=sink.place.is_main)
    if not to:
        return
    folder = sink.run_dir(30.0) / f".model-{token_hex(6)}"
    try:
        if sharded:
            save_state(state, module, folder)
        else:
            save_model(module, name, kind, folder, for_mlflow=for_mlflow, input_example=known.get("input_example"))
        encoded = Encoded(content.FOLDER, folder_contents(folder))
        ship(sink, as_record(sink, name, kind, step, to, known, encoded), encoded.contents, ours=folder)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        # torch tells of a disk that refuses in the words of its C++ streams.
        if isinstance(error, OSError) or (isinstance(error, RuntimeError) and _STREAM.search(str(error))):
            text = f"{kind} {name!r} is lost: it cannot be copied to {sink.run_dir(30.0)}: {error}"
            sink.report(LOST_ITEMS, f"{text}. Free space or quota there")
            return
        raise
