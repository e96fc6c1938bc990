"""Saves a model in the training thread, or takes the path of one that the training saved itself.

In: kind ``model`` or ``best_model``. Out: a folder in the run directory, whose files are shipped like those of any
item (`ranklog.items.files`). A folder of the user's, such as a sharded checkpoint, stays where it is; its address and
digests are logged. A module that is sharded over ranks is gathered, for which every rank must call.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any

from ranklog.abc import Call, Encoded, Sink
from ranklog.items.encode import record_of
from ranklog.items.file_names import file_name
from ranklog.items.files import folder_contents, own_file, ship
from ranklog.items.model_formats import bare_module, save_model, save_state
from ranklog.items.options import known_options, typed_options
from ranklog.items.sharded import full_state, is_sharded
from ranklog.journal.layout import make_private_dir
from ranklog.model import content
from ranklog.model.errors import ReduceTimeoutError
from ranklog.model.kinds import KINDS
from ranklog.model.losses import LOST_ITEMS

RUN_ID_TIMEOUT_S = 30.0
"""Seconds for which another rank than 0 waits for the run id."""
_STREAM = re.compile(r"iostream|PytorchStreamWriter|file write failed")
"""Messages of torch's C++ streams, which it raises when the disk refuses."""


def take(call: Call, sink: Sink) -> None:
    """Save a model and submit it.

    Raises:
        InvalidItemError: it is not a model, or cannot be saved.
        InvalidArgumentError: ``alias``, ``registered_model_name`` or ``policy`` is not allowed.
        ReduceTimeoutError: it is sharded, and not every rank called in time.
    """
    known = known_options(call.kind, call.options)
    given = typed_options(KINDS[call.kind], known)
    file_name(call.name)
    if isinstance(call.item, (str, Path)):
        if call.to:
            _ship_path(call, sink, Path(call.item), known, given["policy"])
        return
    module = bare_module(call.item, call.name, call.kind)
    to, state = call.to, None
    sharded = sink.place.world_size > 1 and is_sharded(module)
    if sharded:
        _meet(call)
        to = call.to_all if sink.place.is_main else 0
        state = full_state(module, call.name, writes=sink.place.is_main)
    if not to:
        return
    folder = sink.run_dir(RUN_ID_TIMEOUT_S) / f".model-{token_hex(6)}"
    try:
        make_private_dir(folder.parent)  # rank 0 may create it later
        if sharded:
            save_state(state, module, folder)
        else:
            for_mlflow = any(spec.backend == "mlflow" for spec in call.specs)
            example = given["input_example"]
            save_model(module, call.name, call.kind, folder, for_mlflow=for_mlflow, input_example=example)
        encoded = Encoded(content.FOLDER, folder_contents(folder))
        ship(sink, record_of(call, known, encoded, sink.place.rank, to), encoded.contents, ours=folder)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError) or (isinstance(error, RuntimeError) and _STREAM.search(str(error))):
            text = f"{call.what} is lost: it cannot be copied to {folder.parent}: {error}"
            sink.report(LOST_ITEMS, f"{text}. Free space or quota there")
            return
        raise


def _ship_path(call: Call, sink: Sink, path: Path, known: Mapping[str, Any], policy: str | None) -> None:
    """Submit a model that the training saved: a folder as a reference, a file as a copy, unless the policy differs."""
    is_folder = path.is_dir()
    encoded = (
        Encoded(content.FOLDER, folder_contents(path)) if is_folder else own_file(path, call.name, call.kind, ".pt")
    )
    policy = policy or ("reference" if is_folder else "mutable")
    ship(sink, record_of(call, known, encoded, sink.place.rank, call.to), encoded.contents, policy)


def _meet(call: Call) -> None:
    try:
        call.meet()
    except ReduceTimeoutError as error:
        raise ReduceTimeoutError(
            f"{call.what} is sharded over ranks, so every rank must call log() with it, also ranks that log nothing: "
            f"{error}"
        ) from error
