"""The kinds that `log` takes, as one table.

A backend that has nothing of its own for a kind stores the item's files as an artifact.
"""

from __future__ import annotations

import msgspec

from ranklog.model.errors import InvalidArgumentError


class Kind(msgspec.Struct, frozen=True):
    """One row of the table of kinds.

    Attributes:
        name: What the user writes as ``kind=``.
        accepts: What an item may be, in words, for error messages and the reference.
        waits: What the call waits for, in words; empty for nothing.
        reducible: Whether ``reduce=`` is allowed.
        options: Extra keyword arguments that `log` takes for this kind.
        lists: Whether a list of such items may be logged under one identifier.
        becomes: The kind of the records that reach backends, where it is another one.
        nameless: Whether the identifier may be left out (None): the kind's own name is taken.
        on_every_rank: Whether every rank takes part, also those that ``log_on_workers`` leaves out.
    """

    name: str
    accepts: str
    waits: str = ""
    reducible: bool = False
    options: tuple[str, ...] = ()
    lists: bool = False
    becomes: str | None = None
    nameless: bool = False
    on_every_rank: bool = False


LOAD = "system/"
"""How names begin that kind ``system`` makes: the load of a node, at times rather than at steps."""
COMMON_OPTIONS = ("context",)
"""Options of every kind: which part of the work it belongs to, for example ``"training"``."""

_ENCODING = "its encoding"
_DEVICE = "a tensor's device"
_POLICY = ("policy",)
_MODEL = ("input_example", "registered_model_name", "alias", *_POLICY)

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "metric",
            "a number, an array or tensor of one element, or a mapping of names to these",
            reducible=True,
            options=("goal",),
        ),
        Kind("param", "a str, number, bool or None, or a (nested) mapping or config object of names to these"),
        Kind("text", "a str"),
        Kind("dict", "a mapping or config object that JSON can express", _ENCODING),
        Kind(
            "table",
            "a pandas, polars or pyarrow table, (columns, rows), a mapping of columns, or a list of mappings",
            _ENCODING,
        ),
        Kind(
            "histogram",
            "values as array, tensor or list, or the tuple (counts, edges)",
            f"counting; {_DEVICE}",
            options=("bins",),
        ),
        Kind(
            "image",
            "numpy or torch HWC, CHW or HW, a PIL image, a path, or a list of these or an array NHWC or NCHW",
            f"PNG encoding; {_DEVICE}",
            options=("caption",),
            lists=True,
        ),
        Kind("figure", "a matplotlib or plotly figure, or a list of these", "rendering", lists=True),
        Kind(
            "audio",
            "samples as array or tensor T, TC or CT, integers or floats from -1 to 1, a path, or a list of these",
            f"WAV encoding; {_DEVICE}",
            options=("sample_rate", "caption"),
            lists=True,
        ),
        Kind(
            "video",
            "frames as array or tensor THWC or TCHW, a path, or a list of these",
            f"GIF encoding; {_DEVICE}",
            options=("fps", "caption"),
            lists=True,
        ),
        Kind("html", "a str of HTML, a pathlib.Path of an .html file, or a list of these", lists=True),
        Kind(
            "artifact",
            "a path of a file or folder, or bytes",
            "reading up to 4 MiB; what is larger is copied beside training",
            options=_POLICY,
        ),
        Kind(
            "dataset",
            "a path, a table, an array, a torch, Hugging Face or MLflow dataset, a DataLoader, or (name, digest, uri)",
            "its digest: of files above 64 MiB that of names, sizes and times",
        ),
        Kind(
            "torch",
            "a torch tensor, or a (nested) mapping or list of tensors, for example a state dict",
            "torch.save; the device",
        ),
        Kind(
            "model",
            "a torch.nn.Module, or a path of a saved model or sharded checkpoint",
            "saving it; sharded over ranks: all of them",
            options=_MODEL,
            on_every_rank=True,
        ),
        Kind(
            "best_model",
            "a torch.nn.Module, or a path of a saved model or sharded checkpoint",
            "saving it; sharded over ranks: all of them",
            options=_MODEL,
            on_every_rank=True,
        ),
        Kind(
            "graph",
            "a torch.nn.Module: traced with input_example, or else at its next forward",
            "a forward pass, where input_example is given",
            options=("input_example",),
        ),
        Kind(
            "embedding",
            "vectors as array or tensor N by D",
            f"its encoding; {_DEVICE}",
            options=("metadata", "metadata_header", "label_img"),
        ),
        Kind(
            "pr_curve",
            "(labels, scores): arrays or tensors of one length, of 0 or 1 and from 0 to 1",
            f"counting; {_DEVICE}",
            options=("num_thresholds", "weights"),
        ),
        Kind(
            "watch",
            "a torch.nn.Module: its gradients, parameters or both become histograms at optimizer steps",
            options=("log", "log_freq", "bins"),
            becomes="histogram",
        ),
        Kind("alert", "a str: what happened; the identifier is its title", options=("level", "wait_duration")),
        Kind(
            "flops_pb",
            "(model, batch): floating-point operations of one forward of that batch",
            "a forward pass",
            becomes="metric",
        ),
        Kind(
            "flops_pe",
            "(model, loader): floating-point operations of the forwards of an epoch",
            "a forward pass of one batch",
            becomes="metric",
        ),
        Kind(
            "system",
            "nothing (None): load of this node's CPUs, memory, disk, network and GPUs",
            options=("every",),
            becomes="metric",
            nameless=True,
            on_every_rank=True,
        ),
        Kind(
            "carbon",
            "nothing (None): energy and emissions of this node since the first call",
            options=("every",),
            becomes="metric",
            nameless=True,
            on_every_rank=True,
        ),
        Kind("execution_time", "nothing (None): seconds since logging began", becomes="metric", nameless=True),
        Kind(
            "prov_documents",
            "nothing (None): the provenance document of the run so far",
            options=("create_graph", "create_svg"),
            nameless=True,
        ),
    )
}

OPS = ("mean", "sum", "min", "max", "std", "median", "p99", "stats", "per_rank")


def check_kind(name: object) -> Kind:
    """Return the kind of that name.

    Raises:
        InvalidArgumentError: for an unknown name; lists the known ones.
    """
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise InvalidArgumentError(f"kind={name!r} is not known: give one of {', '.join(KINDS)}")
    return kind


def check_op(op: object) -> str | None:
    """Return ``op`` when it is a reduction or None.

    Raises:
        InvalidArgumentError: for anything else; lists the reductions.
    """
    if op is None:
        return None
    for known in OPS:
        if isinstance(op, str) and op == known:
            return known
    raise InvalidArgumentError(f"reduce={op!r} is not known: give None or one of {', '.join(OPS)}")


def check_name(name: object) -> str:
    """Return ``name``, as an exact ``str``, when it can identify something in every backend's safe form.

    Raises:
        InvalidArgumentError: when it is not a str of 1 to 512 printable characters.
    """
    if not isinstance(name, str):
        raise InvalidArgumentError(f"identifier={name!r} is not allowed: give a str, not {type(name).__name__}")
    if not name or len(name) > 512 or not name.isprintable():
        shown = ascii(name if len(name) <= 60 else name[:60] + "…")
        raise InvalidArgumentError(
            f"identifier={shown} is not allowed: give 1 to 512 printable characters (no newline, NUL or lone surrogate)"
        )
    return str.__str__(name)
