"""Whatever a kind made of numbers is given: a ranklog error in the caller, or contents that say what was given."""

from __future__ import annotations

import io
import math
import warnings
import wave
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odd_arrays import ITEMS, ODD_FLOATS, SCALARS, equally, labels_and_scores, mostly, real_arrays
from PIL import Image

from ranklog.abc import Encoded
from ranklog.backends.tensorboard import events
from ranklog.backends.wandb.media import MAX_BINS, merge_bins
from ranklog.items.encode import encode
from ranklog.items.options import kept_options
from ranklog.model import content
from ranklog.model.errors import RanklogError
from ranklog.values.snapshot import take

AT = events.Moment(0, 0)
# How many are tried is up to the profile, so that a soak may try as many as it likes.
any_items = settings(suppress_health_check=list(HealthCheck))
pytestmark = pytest.mark.filterwarnings("ignore")


def encoded(item: Any, kind: str, **options: Any) -> Encoded | None:
    """The item in canonical form; None where it was refused by an error of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = encode(item, "x", kind, options)
        except RanklogError as error:
            assert f"{kind} '" in str(error) or " is not allowed: give" in str(error)
            return None
    assert kind == "torch" or not has_complex(item), "imaginary parts were lost"
    msgspec.msgpack.encode(made.meta | kept_options(kind, options))
    assert all(type(each) in (str, int, float, bool, type(None)) for each in made.meta.values())
    return made


def has_complex(item: Any) -> bool:
    if isinstance(item, (list, tuple)):
        return any(map(has_complex, item))
    return np.iscomplexobj(item) if not isinstance(item, torch.Tensor) else item.is_complex()


def bodies(made: Encoded) -> dict[str, bytes]:
    return {each.path: each.source for each in made.contents if isinstance(each.source, bytes)}


def plain(item: Any) -> Any:
    """An array of numbers as float64, by another way than the code goes; None for what is none."""
    try:
        array = (
            item.detach().resolve_conj().to(torch.float64).numpy()
            if isinstance(item, torch.Tensor)
            else np.asarray(item)
        )
    except Exception:
        return None
    return array.astype(np.float64) if array.dtype.kind in "biuf" else None


@given(equally(real_arrays((), (1,), (1, 1)), SCALARS, ITEMS))
@any_items
def test_a_metric_is_refused_or_the_number_that_was_given(item: Any) -> None:
    try:
        taken = take(item, "m")
    except RanklogError:
        return
    number = taken if isinstance(taken, float) else taken.resolve()
    assert type(number) is float and not has_complex(item)
    same = plain(item)
    if same is not None:
        assert same.size == 1 and (number == same.item() or math.isnan(number))


@given(equally(real_arrays((4,), (2, 3), ()), ITEMS), mostly(8))
@any_items
def test_a_histogram_is_refused_or_finite_in_order_and_complete(item: Any, bins: Any) -> None:
    made = encoded(item, "histogram", bins=bins)
    if made is None:
        return
    histogram = msgspec.json.decode(bodies(made)["x.json"], type=content.Histogram)
    numbers = [*histogram.edges, *histogram.counts, histogram.min, histogram.max, histogram.count]
    assert all(map(math.isfinite, numbers)) and len(histogram.edges) == len(histogram.counts) + 1 >= 2
    assert all(a <= b for a, b in zip(histogram.edges, histogram.edges[1:], strict=False))
    assert events.histogram("h", histogram, AT)
    counts, edges = merge_bins(histogram.counts, histogram.edges, MAX_BINS)
    assert sum(counts) == pytest.approx(histogram.count) and len(edges) == len(counts) + 1
    values = None if isinstance(item, tuple) else plain(item)
    if values is not None:
        assert histogram.count + histogram.nonfinite == values.size
        finite = values[np.isfinite(values)]
        if finite.size:
            assert (histogram.min, histogram.max) == (finite.min(), finite.max())
            low, high = histogram.edges[0], histogram.edges[-1]
            assert low <= histogram.min and histogram.max <= high


@given(st.lists(st.floats(), min_size=1, max_size=6), st.integers(1, 200))
@any_items
def test_any_floats_lie_in_their_bins(values: list[float], bins: int) -> None:
    made = encoded(values, "histogram", bins=bins)
    assert made is not None
    histogram = msgspec.json.decode(bodies(made)["x.json"], type=content.Histogram)
    assert all(a < b for a, b in zip(histogram.edges, histogram.edges[1:], strict=False))
    for value in filter(math.isfinite, values):
        near = [
            i for i, n in enumerate(histogram.counts) if n and histogram.edges[i] <= value <= histogram.edges[i + 1]
        ]
        assert near, f"{value} is counted in no bin that has it"


@given(
    equally(labels_and_scores(), labels_and_scores(), ITEMS),
    equally(st.none(), st.lists(equally(st.floats(0, 1e308), ODD_FLOATS), min_size=3, max_size=3), SCALARS),
    mostly(5),
)
@any_items
def test_a_curve_is_refused_or_finite_and_complete(item: Any, weights: Any, thresholds: Any) -> None:
    made = encoded(item, "pr_curve", weights=weights, num_thresholds=thresholds)
    if made is None:
        return
    curve = msgspec.json.decode(bodies(made)["x.json"], type=content.PrCurve)
    rows = list(msgspec.structs.asdict(curve).values())
    assert len({len(row) for row in rows}) == 1 and all(math.isfinite(number) for row in rows for number in row)
    assert all(number >= 0 for row in rows for number in row) and events.pr_curve("p", curve, AT)
    labels = plain(item[0])
    if weights is None and labels is not None:
        assert curve.true_positives[0] + curve.false_positives[0] == labels.size


@given(
    equally(real_arrays((3, 2), (1, 1)), ITEMS),
    equally(st.none(), st.lists(st.text(max_size=3), min_size=3, max_size=3), ITEMS),
    equally(st.none(), real_arrays((3, 2, 2), (3, 4, 4, 3)), ITEMS),
)
@any_items
def test_an_embedding_is_refused_or_the_vectors_that_were_given(item: Any, metadata: Any, pictures: Any) -> None:
    made = encoded(item, "embedding", metadata=metadata, label_img=pictures)
    if made is None:
        return
    files = bodies(made)
    vectors = np.load(io.BytesIO(files["vectors.npy"]), allow_pickle=False)
    assert vectors.dtype == np.float32 and vectors.ndim == 2
    values = plain(item)
    if values is not None:
        with np.errstate(all="ignore"):
            assert np.array_equal(vectors, values.astype(np.float32), equal_nan=True)
    assert np.isfinite(vectors).all() or made.changed
    if "metadata.tsv" in files:
        assert files["metadata.tsv"].decode().count("\n") == len(vectors) == len(files["metadata.tsv"].splitlines())


def shown(values: Any) -> Any:
    """Pixels of a picture that nothing was changed in."""
    if values.dtype.kind == "b":
        return values * 255
    if values.dtype == np.uint16:
        return values // 257
    return np.round(values.astype(np.float64) * 255) if values.dtype.kind == "f" else values


@given(
    equally(real_arrays((2, 3), (5, 6)), real_arrays((3, 4, 5), (4, 5, 3), (2, 4, 5, 1)), ITEMS),
    equally(st.none(), st.text(max_size=3), ITEMS),
)
@any_items
def test_an_image_is_refused_or_its_pixels_or_said_to_be_changed(item: Any, caption: Any) -> None:
    made = encoded(item, "image", caption=caption)
    if made is None:
        return
    pictures = [np.asarray(Image.open(io.BytesIO(each))) for each in bodies(made).values()]
    assert all(each.dtype == np.uint8 and 0 not in each.shape for each in pictures)
    assert all(events.image("i", each, "", AT) for each in bodies(made).values())
    if isinstance(item, np.ndarray) and item.ndim == 2 and item.dtype.kind in "biuf" and not made.changed:
        assert np.abs(pictures[0].astype(np.float64) - shown(np.asarray(item)).astype(np.float64)).max() <= 1


@given(equally(real_arrays((2, 3, 4), (2, 4, 5, 3), (2, 3, 4, 5), (2, 1, 2, 4, 5)), ITEMS), mostly(4))
@any_items
def test_a_video_is_refused_or_plays(item: Any, fps: Any) -> None:
    made = encoded(item, "video", fps=fps)
    for data in bodies(made).values() if made else ():
        with Image.open(io.BytesIO(data)) as film:
            assert film.n_frames >= 1 and events.animation("v", data, "", AT)


@given(equally(real_arrays((3,), (9,)), real_arrays((2, 9), (9, 2)), ITEMS), mostly(8000))
@any_items
def test_a_sound_is_refused_or_its_samples_or_said_to_be_changed(item: Any, rate: Any) -> None:
    made = encoded(item, "audio", sample_rate=rate)
    if made is None:
        return
    for data in bodies(made).values():
        with wave.open(io.BytesIO(data)) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
            assert file.getnframes() >= 1 and events.audio("a", data, "", AT)
        if isinstance(item, np.ndarray) and item.ndim == 1 and item.dtype.kind == "f" and not made.changed:
            assert np.abs(samples / 32767 - item.astype(np.float64)).max() <= 1 / 32767


def values_of(tensor: Any) -> Any:
    """All values, of a sparse one those that it holds: torch cannot make each dtype dense."""
    if tensor.layout == torch.strided:
        return tensor
    return tensor.coalesce().values() if tensor.layout == torch.sparse_coo else tensor.values()


def same(back: Any, item: Any) -> bool:
    if isinstance(item, torch.Tensor):
        if item.is_quantized:
            return torch.equal(back.dequantize(), item.dequantize())
        pair = [values_of(each.detach()).as_subclass(torch.Tensor).to(torch.complex128) for each in (back, item)]
        return back.dtype == item.dtype and torch.allclose(*pair, rtol=0, atol=0, equal_nan=True)
    if isinstance(item, dict):
        return back.keys() == item.keys() and all(same(back[key], item[key]) for key in item)
    if isinstance(item, (list, tuple)):
        return len(back) == len(item) and all(map(same, back, item))
    return back is item or back == item or back != back


def room_of(item: Any) -> int:
    """Bytes that tensors take by themselves, with what torch writes about each."""
    if isinstance(item, torch.Tensor):
        per_value = item.element_size() + (0 if item.layout == torch.strided else 8 * (item.ndim + 1))
        return 2000 + item.numel() * per_value
    parts = item.values() if isinstance(item, dict) else item if isinstance(item, (list, tuple)) else ()
    return 100 + sum(map(room_of, parts))


@given(ITEMS)
@any_items
def test_tensors_are_refused_or_load_back_without_pickle_and_without_storage_that_is_not_theirs(item: Any) -> None:
    made = encoded(item, "torch")
    if made is None:
        return
    (data,) = bodies(made).values()
    assert same(torch.load(io.BytesIO(data), weights_only=True), item)
    assert len(data) < 4000 + room_of(item)
