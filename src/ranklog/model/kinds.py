"""The table of kinds: everything that `log` takes, one row per kind.

A row says what an item may be, which options a call takes, and which functions handle it. Functions are dotted names,
because this room imports nothing from higher ones; `named` imports them at first use.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from ranklog.model import options
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.options import Option

ENCODE = "ranklog.items.encode:take"
"""The room of every kind whose items are encoded in the call."""
LOAD = "system/"
"""Prefix of the metrics of kind ``system``: the load of a node, at times rather than at steps."""


class Kind(msgspec.Struct, frozen=True):
    """One row of the table.

    Attributes:
        name: The value of ``kind=``.
        accepts: What an item may be, in words, for error messages and the reference.
        waits: What the call waits for, in words; empty for nothing.
        encoder: Name of the `ranklog.abc.Encoder` of one item.
        lists: Name of the function that splits a list of items; None if a list is one item.
        options: Keyword arguments that `log` takes for this kind, in addition to `context`.
        room: Name of the `ranklog.abc.Room` that takes the calls; None if the logger keeps them.
        measures: Name of the function that measures, in the call, the value of a metric.
        reduces: Whether ``reduce=`` is allowed.
        becomes: Kind of the records that reach backends, if it is another one.
        steps: Whether calls without ``step=`` are counted.
        nameless: Whether the identifier may be None; the kind's own name is taken then.
        on_every_rank: Whether every rank takes part, also those that ``log_on_workers`` leaves out.
    """

    name: str
    accepts: str
    waits: str = ""
    encoder: str | None = None
    lists: str | None = None
    options: tuple[Option, ...] = ()
    room: str | None = ENCODE
    measures: str | None = None
    reduces: bool = False
    becomes: str | None = None
    steps: bool = True
    nameless: bool = False
    on_every_rank: bool = False

    @property
    def all_options(self) -> dict[str, Option]:
        """Options of a call, by name: those of the kind, and those of every kind."""
        return {option.name: option for option in (*self.options, options.CONTEXT)}


_ENCODING = "its encoding"
_DEVICE = "a tensor's device"
_MODEL = Kind(
    "model",
    "a torch.nn.Module, or a path of a saved model or sharded checkpoint",
    "saving it; sharded over ranks: all of them",
    room="ranklog.items.models:take",
    options=(
        options.INPUT_EXAMPLE,
        Option("registered_model_name", "name"),
        Option("alias", "name"),
        Option("policy", "choice", choices=options.POLICIES, kept=False),
    ),
    on_every_rank=True,
)

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "metric",
            "a number, an array or tensor of one element, or a mapping of names to these",
            options=(Option("goal"),),
            room=None,
            reduces=True,
        ),
        Kind(
            "param",
            "a str, number, bool or None, or a (nested) mapping or config object of names to these",
            room="ranklog.logger.hyperparameters:take",
            steps=False,
        ),
        Kind("text", "a str", encoder="ranklog.items.text:encode_text"),
        Kind(
            "dict",
            "a mapping or config object that JSON can express",
            _ENCODING,
            encoder="ranklog.items.text:encode_dict",
        ),
        Kind(
            "table",
            "a pandas, polars or pyarrow table, (columns, rows), a mapping of columns, or a list of mappings",
            _ENCODING,
            encoder="ranklog.items.text:encode_table",
        ),
        Kind(
            "histogram",
            "values as array, tensor or list, or the tuple (counts, edges)",
            f"counting; {_DEVICE}",
            encoder="ranklog.items.histograms:encode_histogram",
            options=(options.BINS,),
        ),
        Kind(
            "image",
            "numpy or torch HWC, CHW or HW, a PIL image, a path, a list of these, or an array NHWC or NCHW",
            f"PNG encoding; {_DEVICE}",
            encoder="ranklog.items.images:encode_image",
            lists="ranklog.items.lists:split_images",
            options=(options.CAPTION,),
        ),
        Kind(
            "figure",
            "a matplotlib or plotly figure, or a list of these",
            "rendering",
            encoder="ranklog.items.images:encode_figure",
            lists="ranklog.items.lists:split_list",
        ),
        Kind(
            "audio",
            "samples as array or tensor T, TC or CT, integers or floats from -1 to 1, a path, or a list of these",
            f"WAV encoding; {_DEVICE}",
            encoder="ranklog.items.audio_video:encode_audio",
            lists="ranklog.items.lists:split_audio",
            options=(options.SAMPLE_RATE, options.CAPTION),
        ),
        Kind(
            "video",
            "frames as array or tensor THWC or TCHW, a path, or a list of these",
            f"GIF encoding; {_DEVICE}",
            encoder="ranklog.items.audio_video:encode_video",
            lists="ranklog.items.lists:split_videos",
            options=(options.FPS, options.CAPTION),
        ),
        Kind(
            "html",
            "a str of HTML, a pathlib.Path of an .html file, or a list of these",
            encoder="ranklog.items.text:encode_html",
            lists="ranklog.items.lists:split_list",
        ),
        Kind(
            "artifact",
            "a path of a file or folder, or bytes",
            "reading up to 4 MiB; larger files are copied in the background",
            encoder="ranklog.items.files:encode_artifact",
            options=(options.POLICY,),
        ),
        Kind(
            "dataset",
            "a path, a table, an array, a torch, Hugging Face or MLflow dataset, a DataLoader, or (name, digest, uri)",
            "its digest; above 64 MiB, only of names, sizes and times",
            encoder="ranklog.items.datasets:encode_dataset",
        ),
        Kind(
            "torch",
            "a torch tensor, or a (nested) mapping or list of tensors, for example a state dict",
            "torch.save; the device",
            encoder="ranklog.items.tensors:encode_torch",
        ),
        _MODEL,
        msgspec.structs.replace(_MODEL, name="best_model"),
        Kind(
            "graph",
            "a torch.nn.Module: traced with input_example, otherwise at its next forward pass",
            "a forward pass, if input_example is given",
            options=(options.INPUT_EXAMPLE,),
            room="ranklog.observe.graph:take",
        ),
        Kind(
            "embedding",
            "vectors as array or tensor N by D",
            f"its encoding; {_DEVICE}",
            encoder="ranklog.items.embeddings:encode_embedding",
            options=tuple(Option(name, kept=False) for name in ("metadata", "metadata_header", "label_img")),
        ),
        Kind(
            "pr_curve",
            "(labels, scores): arrays or tensors of equal length; labels are 0 or 1, scores from 0 to 1",
            f"counting; {_DEVICE}",
            encoder="ranklog.items.curves:encode_pr_curve",
            options=(options.THRESHOLDS, Option("weights", kept=False)),
        ),
        Kind(
            "watch",
            "a torch.nn.Module: its gradients, parameters or both become histograms at optimizer steps",
            options=(options.WATCHED, options.LOG_FREQ, options.WATCHED_BINS),
            room="ranklog.observe.gradients:take",
            becomes="histogram",
        ),
        Kind(
            "alert",
            "a str with the message; the identifier is its title",
            encoder="ranklog.items.text:encode_alert",
            options=(options.LEVEL, options.WAIT_DURATION),
        ),
        Kind(
            "flops_pb",
            "(model, batch): floating-point operations of one forward pass of that batch",
            "a forward pass",
            measures="ranklog.observe.flops:of_batch",
            becomes="metric",
        ),
        Kind(
            "flops_pe",
            "(model, loader): floating-point operations of the forward passes of an epoch",
            "a forward pass of one batch",
            measures="ranklog.observe.flops:of_epoch",
            becomes="metric",
        ),
        Kind(
            "system",
            "nothing (None): load of this node's CPUs, memory, disk, network and GPUs",
            options=(options.EVERY,),
            room="ranklog.observe.sampler:take",
            becomes="metric",
            nameless=True,
            on_every_rank=True,
        ),
        Kind(
            "carbon",
            "nothing (None): energy and emissions of this node since the first call",
            options=(options.EVERY,),
            room="ranklog.observe.sampler:take",
            becomes="metric",
            nameless=True,
            on_every_rank=True,
        ),
        Kind(
            "execution_time",
            "nothing (None): seconds since logging began",
            measures="ranklog.observe.elapsed:of_call",
            becomes="metric",
            nameless=True,
        ),
        Kind(
            "prov_documents",
            "nothing (None): the provenance document of the run so far",
            encoder="ranklog.items.text:encode_prov_documents",
            options=(Option("create_graph", "flag", True), Option("create_svg", "flag", True)),
            nameless=True,
        ),
    )
}


@cache
def named(function: str) -> Callable[..., Any]:
    """Return the function of a dotted name; its module is imported at first use."""
    from pkgutil import resolve_name

    found: Callable[..., Any] = resolve_name(function)
    return found


def check_kind(name: object) -> Kind:
    """Return the kind of that name.

    Raises:
        InvalidArgumentError: for an unknown name; lists the known ones.
    """
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise InvalidArgumentError(f"kind={name!r} is not known: give one of {', '.join(KINDS)}")
    return kind
