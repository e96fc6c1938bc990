"""Values as TensorBoard's events. Pure.

Each function returns a serialised `Event` that depends on its arguments only, so a second rendering gives the same
bytes. Scalars and images have the format of torch's ``SummaryWriter``, so that its readers find them; scalars are
float32, because TensorBoard stores no more. Text, histograms and hparams have the formats of their plugins. Needs
TensorBoard's message types, but neither torch nor TensorFlow.
"""

from __future__ import annotations

import io
import struct
import wave
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from tensorboard.compat.proto.event_pb2 import Event, SourceMetadata
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_DOUBLE, DT_FLOAT, DT_STRING
from tensorboard.plugins.histogram.metadata import create_summary_metadata as histogram_metadata
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.pr_curve.metadata import create_summary_metadata as pr_curve_metadata
from tensorboard.plugins.text.metadata import create_summary_metadata as text_metadata

from ranklog.model.content import Histogram, PrCurve, Table
from ranklog.model.record import Status
from ranklog.model.spec import Scalar

TABLE_ROWS = 100
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_FLOAT32_MAX = 3.4028235677973366e38
_LARGEST_FLOAT32 = 3.4028234663852886e38


class Moment(msgspec.Struct, frozen=True):
    """Step and time of an event."""

    step: int
    time_ns: int


def file_start(time_ns: int) -> bytes:
    """Return the first event of every file."""
    writer = SourceMetadata(writer="ranklog")
    event = Event(wall_time=time_ns / 1e9, file_version="brain.Event:2", source_metadata=writer)
    return bytes(event.SerializeToString())


def scalars(values: Mapping[str, float], at: Moment) -> bytes:
    """Return the scalars of one step."""
    return _event([Summary.Value(tag=tag, simple_value=_float32(value)) for tag, value in values.items()], at)


def _float32(value: float) -> float:
    if abs(value) <= _FLOAT32_MAX or value != value:  # noqa: PLR0124 - true for NaN only
        return value
    return float("inf") if value > 0 else float("-inf")


def text(tag: str, markdown: str, at: Moment) -> bytes:
    """Return a text, shown as Markdown."""
    tensor = TensorProto(
        dtype=DT_STRING,
        tensor_shape=TensorShapeProto(),
        string_val=[markdown.encode("utf-8", "replace")],
    )
    return _tensor(tag, tensor, text_metadata(display_name="", description=""), at)


def image(tag: str, png: bytes, caption: str, at: Moment) -> bytes:
    """Return a PNG image."""
    width, height, _, color = struct.unpack_from(">IIBB", png, 16)
    picture = Summary.Image(
        width=width, height=height, colorspace=_PNG_CHANNELS.get(color, 3), encoded_image_string=png
    )
    metadata = SummaryMetadata(summary_description=caption) if caption else None
    return _event([Summary.Value(tag=tag, image=picture, metadata=metadata)], at)


def animation(tag: str, gif: bytes, caption: str, at: Moment) -> bytes:
    """Return a GIF, which TensorBoard plays as an image, in the format of torch's ``add_video``."""
    width, height = struct.unpack_from("<HH", gif, 6)
    picture = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=gif)
    metadata = SummaryMetadata(summary_description=caption) if caption else None
    return _event([Summary.Value(tag=tag, image=picture, metadata=metadata)], at)


def audio(tag: str, wav: bytes, caption: str, at: Moment) -> bytes:
    """Return audio in WAV format."""
    with wave.open(io.BytesIO(wav)) as file:
        sound = Summary.Audio(
            sample_rate=float(file.getframerate()),
            num_channels=file.getnchannels(),
            length_frames=file.getnframes(),
            encoded_audio_string=wav,
            content_type="audio/wav",
        )
    metadata = SummaryMetadata(summary_description=caption) if caption else None
    return _event([Summary.Value(tag=tag, audio=sound, metadata=metadata)], at)


def pr_curve(tag: str, curve: PrCurve, at: Moment) -> bytes:
    """Return a precision-recall curve, with rows in the order of the plugin."""
    counts = (curve.true_positives, curve.false_positives, curve.true_negatives, curve.false_negatives)
    rows = [[min(count, _LARGEST_FLOAT32) for count in row] for row in counts] + [curve.precision, curve.recall]
    count = len(curve.thresholds)
    tensor = TensorProto(
        dtype=DT_FLOAT,
        tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=len(rows)), TensorShapeProto.Dim(size=count)]),
        tensor_content=b"".join(struct.pack(f"<{count}f", *row) for row in rows),
    )
    metadata = pr_curve_metadata(display_name=tag, description="", num_thresholds=count)
    return _tensor(f"{tag}/pr_curves", tensor, metadata, at)


def histogram(tag: str, content: Histogram, at: Moment) -> bytes:
    """Return a histogram: rows of left edge, right edge and count."""
    rows = list(zip(content.edges[:-1], content.edges[1:], content.counts, strict=True))
    tensor = TensorProto(
        dtype=DT_DOUBLE,
        tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=len(rows)), TensorShapeProto.Dim(size=3)]),
        tensor_content=b"".join(struct.pack("<3d", *row) for row in rows),
    )
    return _tensor(tag, tensor, histogram_metadata(display_name="", description=""), at)


def table_markdown(table: Table) -> str:
    """Format the first rows of a table as Markdown."""
    lines = [_row(table.columns), _row(["---"] * len(table.columns))]
    lines += [_row(["" if cell is None else cell for cell in row]) for row in table.data[:TABLE_ROWS]]
    if len(table.data) > TABLE_ROWS:
        lines += ["", f"{TABLE_ROWS} of {len(table.data)} rows."]
    return "\n".join(lines)


def facts_markdown(facts: Mapping[str, object]) -> str:
    """Format names and values as Markdown, without unknown values."""
    rows = [[name, value] for name, value in facts.items() if value not in (None, "", {})]
    return "\n".join([_row(["", ""]), _row(["---", "---"]), *map(_row, rows)])


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def session_start(params: Mapping[str, Scalar], start_ns: int) -> bytes:
    """Return the parameters of a run. TensorBoard collects their names from all runs, unless a run lists them."""
    start = plugin_data_pb2.SessionStartInfo(start_time_secs=start_ns / 1e9)
    for name, value in params.items():
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, (int, float)):
            start.hparams[name].number_value = value
        else:
            start.hparams[name].string_value = str(value)
    data = plugin_data_pb2.HParamsPluginData(session_start_info=start)
    return _hparams_event(hparams_metadata.SESSION_START_INFO_TAG, data, Moment(0, start_ns))


def session_end(status: Status, end_ns: int) -> bytes:
    """Return the end of a run with its status."""
    shown = api_pb2.STATUS_SUCCESS if status == "FINISHED" else api_pb2.STATUS_FAILURE
    end = plugin_data_pb2.SessionEndInfo(status=shown, end_time_secs=end_ns / 1e9)
    data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    return _hparams_event(hparams_metadata.SESSION_END_INFO_TAG, data, Moment(0, end_ns))


def _hparams_event(tag: str, data: Any, at: Moment) -> bytes:
    metadata = hparams_metadata.create_summary_metadata(data)
    return _tensor(tag, hparams_metadata.NULL_TENSOR, metadata, at)


def _tensor(tag: str, tensor: Any, metadata: Any, at: Moment) -> bytes:
    return _event([Summary.Value(tag=tag, tensor=tensor, metadata=metadata)], at)


def _event(values: Sequence[Any], at: Moment) -> bytes:
    event = Event(wall_time=at.time_ns / 1e9, step=at.step, summary=Summary(value=values))
    return bytes(event.SerializeToString(deterministic=True))
