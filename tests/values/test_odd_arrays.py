"""Arrays, tensors and media of every dtype, shape, layout and content: stored as they are, or refused in the call.

The first part says case by case what is kept, changed and refused; the second tries what nobody thought of.
"""

from __future__ import annotations

import io
import math
import warnings
import wave
from collections import OrderedDict, namedtuple
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from ranklog import JournalLogger
from ranklog.abc import Encoded
from ranklog.items.encode import encode
from ranklog.logger.serialize import serialize_to
from ranklog.model import content
from ranklog.model.errors import InvalidArgumentError, InvalidItemError, RanklogWarning
from ranklog.model.record import Event, Item
from ranklog.testing import captured
from ranklog.values.snapshot import take

INF, NAN = math.inf, math.nan


def body(encoded: Encoded) -> bytes:
    (only,) = encoded.contents
    assert isinstance(only.source, bytes)
    return only.source


def encoded(item: Any, kind: str, **options: Any) -> Encoded:
    return encode(item, "x", kind, options)


def value(item: Any) -> float:
    taken = take(item, "m")
    return taken if isinstance(taken, float) else taken.resolve()


def histogram(item: Any, **options: Any) -> content.Histogram:
    return msgspec.json.decode(body(encoded(item, "histogram", **options)), type=content.Histogram)


def picture(made: Encoded) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(body(made))))


def sound(made: Encoded) -> list[int]:
    with wave.open(io.BytesIO(body(made))) as file:
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").tolist()


def loaded(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=True)


# Metrics


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (np.array([1.5]), 1.5),
        (np.array([[2]], dtype=np.int8), 2.0),
        (np.array([[3.0]], dtype=">f4"), 3.0),
        (np.bool_(True), 1.0),
        (np.float16(0.5), 0.5),
        (np.longdouble(0.25), 0.25),
        (np.array(7, dtype=object), 7.0),
        (Decimal("0.5"), 0.5),
        (Fraction(1, 4), 0.25),
        (torch.tensor([[4.0]]), 4.0),
        (torch.tensor([5.0]).to_sparse(), 5.0),
        (torch.tensor(2**64 - 1, dtype=torch.uint64), 2.0**64),
        (torch.tensor(0.5, dtype=torch.float8_e5m2), 0.5),
        (torch.tensor([1 + 2j]).conj().imag, -2.0),
        (np.float64(INF), INF),
    ],
)
def test_one_real_number_of_any_kind_is_a_metric(item: Any, expected: float) -> None:
    assert value(item) == expected and type(value(item)) is float


@pytest.mark.parametrize(
    "item",
    [
        10**400, Decimal("1e400"), Fraction(10**400), np.longdouble("1e400"), np.array(10**400, dtype=object),
    ],
)  # fmt: skip
def test_a_number_beyond_float64_is_refused_and_does_not_become_infinite(item: Any) -> None:
    with pytest.raises(InvalidItemError, match=r"metric 'm' is .*give a smaller number"):
        take(item, "m")


@pytest.mark.parametrize(
    "item",
    [1 + 2j, np.complex128(1 + 2j), np.clongdouble(1), np.array([1j]), torch.tensor(1j)],
)
def test_a_complex_metric_is_refused_with_the_cure(item: Any) -> None:
    with pytest.raises(InvalidItemError, match=r"give abs\(\), \.real or \.imag of it"):
        take(item, "m")


@pytest.mark.parametrize(
    "item",
    [
        "1.5", np.str_("1.5"), np.array("1.5"), b"1", np.datetime64("2020-01-01"), np.timedelta64(5, "s"), np.ma.masked,
        np.zeros((), dtype="i4,f4"), Decimal("sNaN"), None, [1.0], np.zeros(2), np.zeros(0), np.array([None]),
        torch.zeros((), device="meta"), torch.zeros(0), torch.empty(1, dtype=torch.bits8),
        torch.nested.nested_tensor([torch.zeros(1)], layout=torch.jagged), torch.nn.LazyLinear(3).weight,
        torch.zeros(1, 1, dtype=torch.float8_e4m3fn).to_sparse_csr(), np.timedelta64(5, "ns"), np.datetime64(5, "ns"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_refused_in_the_call(item: Any) -> None:
    with pytest.raises(InvalidItemError, match=r"metric 'm' is .*(: give a number|: log |and no values)"):
        take(item, "m")


def test_a_value_that_only_torch_vmap_knows_is_refused_in_the_call() -> None:
    def loss(row: torch.Tensor) -> torch.Tensor:
        with pytest.raises(InvalidItemError, match="metric 'm'"):
            take(row.sum(), "m")
        return row

    torch.func.vmap(loss)(torch.ones(2, 3))


# Options


class Seconds:
    def __float__(self) -> float:
        return 2.0


@pytest.mark.parametrize(
    "number", [np.int32(20), np.float64(20), np.array(20), np.array([20.0]), torch.tensor(20), 20.0, Fraction(20)]
)
def test_numbers_of_every_kind_are_options_and_kept_as_plain_ones(number: Any, tmp_path: Path) -> None:
    logger = JournalLogger(tmp_path, log_freq="batch")
    with logger.start_logging():
        logger.log(np.zeros((2, 3, 3)), "v", kind="video", fps=number)
        logger.log([0.0, 0.5], "a", kind="audio", sample_rate=number)
        logger.log("text", "alert", kind="alert", wait_duration=number)
        logger.log([0.0, 0.5], "h", kind="histogram", bins=number)
        logger.log(([0, 1], [0.1, 0.9]), "p", kind="pr_curve", num_thresholds=number)
        logger.log(1.0, "m", weight=number, reduce="mean")
        assert logger.flush()
        items = {record.name: record for record in captured(logger) if isinstance(record, Item)}
    found = [items["v"].meta["fps"], items["a"].meta["sample_rate"], items["alert"].meta["wait_duration"]]
    found += [items["h"].meta["bins"], items["p"].meta["num_thresholds"]]
    assert found == [20] * 5 and {type(each) for each in found} <= {int, float}


@pytest.mark.parametrize(
    "number", [NAN, INF, -1, "20", None, 1j, True, 10**400, np.zeros(2), torch.tensor([1, 2]), [20], object()]
)
def test_what_is_no_number_for_an_option_is_refused_by_its_name(number: Any) -> None:
    for kind, item, option in (
        ("video", np.zeros((2, 3, 3)), "fps"), ("audio", [0.0], "sample_rate"), ("alert", "x", "wait_duration"),
        ("histogram", [1.0], "bins"), ("pr_curve", ([0], [0.5]), "num_thresholds"),
    ):  # fmt: skip
        with pytest.raises(InvalidArgumentError, match=f"{option}=.* is not allowed: give "):
            encoded(item, kind, **{option: number})


def test_rates_that_the_file_format_cannot_hold_are_refused_by_their_name() -> None:
    with pytest.raises(InvalidArgumentError, match="sample_rate"):
        encoded([0.0], "audio", sample_rate=2**31 - 1)
    with pytest.raises(InvalidArgumentError, match="fps"):
        encoded(np.zeros((2, 3, 3)), "video", fps=1e-6)


def test_captions_are_texts_whatever_they_are_and_as_many_as_items(tmp_path: Path) -> None:
    image = np.zeros((2, 3), dtype=np.uint8)
    assert encoded(image, "image", caption=Path("a.png")).meta["caption"] == "a.png"
    assert encoded(image, "image", caption=["one"]).meta["caption"] == "one"
    assert encoded([image, image], "image", caption=np.array([1, 2])).meta == {"caption.0": "1", "caption.1": "2"}
    with pytest.raises(InvalidItemError, match="1 items and 2 captions"):
        encoded(image, "image", caption=["one", "two"])


@pytest.mark.parametrize("option", ["policy", "goal", "log", "every"])
def test_an_array_for_a_word_is_refused_by_the_name_of_the_option(option: str, tmp_path: Path) -> None:
    logger = JournalLogger(tmp_path, log_freq="batch")
    kinds = {
        "policy": ("artifact", b"x"),
        "goal": ("metric", 1.0),
        "log": ("watch", torch.nn.Linear(1, 1)),
        "every": ("system", None),
    }
    kind, item = kinds[option]
    with logger.start_logging(), pytest.raises(InvalidArgumentError, match=f"{option}="):
        logger.log(item, "x", kind=kind, **{option: np.zeros(2)})


# Histograms


@pytest.mark.parametrize(
    "values",
    [
        np.full(8, 1e17, dtype=np.float32),
        np.full(8, np.finfo(np.float32).min),
        np.full(4, 1_796_046_225_504_904_463),
        np.array([1e16, 1e16 + 2]),
        np.array([1.0, 1.0 + 4e-16]),
        np.array([-1.7e308, 1.7e308]),
        np.array([1.7e308, 1.7976931348623157e308]),
        np.array([5e-324, 1e-323]),
        np.array([1e200, -3e250, NAN, INF]),
        np.array([2**63, 2**64], dtype=object),
        np.array([2**64 - 1, 0], dtype=np.uint64),
        np.array([True, False]),
        np.array(3.0),
        np.zeros((0, 3)),
        np.array(["1"], dtype=object).astype(float),
        torch.tensor([0.5, 448.0]).to(torch.float8_e4m3fn),
        torch.ones(3, dtype=torch.bfloat16, requires_grad=True),
        torch.tensor([1 + 2j, 3 - 4j]).conj().imag,
        [torch.tensor(1.0, requires_grad=True), 2.0],
        [Decimal("0.5"), Fraction(1, 4)],
        (1.0, 2.0),
        (1.0, 2.0, 3.0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("bins", [1, 64, 1000])
def test_values_however_large_close_or_few_are_counted_in_bins_that_can_be_told_apart(values: Any, bins: int) -> None:
    made = histogram(values, bins=bins)
    numbers = [*made.edges, *made.counts, made.min, made.max, made.count]
    assert all(math.isfinite(number) for number in numbers)
    assert len(made.counts) == bins and all(a < b for a, b in zip(made.edges, made.edges[1:], strict=False))
    assert made.edges[0] <= made.min <= made.max <= made.edges[-1]
    assert sum(made.counts) == made.count


@pytest.mark.filterwarnings("ignore:.*quantize")
def test_quantized_tensors_are_the_numbers_that_they_stand_for() -> None:
    quantized = torch.quantize_per_tensor(torch.tensor([0.0, 1.0]), 0.5, 0, torch.qint8)
    assert (histogram(quantized).min, histogram(quantized).max) == (0.0, 1.0)
    assert value(quantized[1]) == 1.0


def test_equal_values_lie_in_the_bin_around_them() -> None:
    made = histogram(np.full(5, 1e17), bins=5)
    (full,) = [index for index, count in enumerate(made.counts) if count]
    assert made.counts[full] == 5 and made.edges[full] <= 1e17 <= made.edges[full + 1]


def test_sums_beyond_float64_are_left_out_and_not_infinite() -> None:
    made = histogram([1e200, 1.7e308, 1.7e308])
    assert made.sum is None and made.sum_squares is None and made.count == 3


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (([1, 2], [0.0, 1.0, INF]), "edges, has NaN or infinite values"),
        (([1, 2], [-INF, 0.0, 1.0]), "edges, has NaN or infinite values"),
        (([1, 2], [0.0, NAN, 1.0]), "edges, has NaN or infinite values"),
        (([1, NAN], [0.0, 1.0, 2.0]), "counts, has NaN or infinite values"),
        (([1, -1], [0.0, 1.0, 2.0]), "negative counts"),
        (([1, 1], [0.0, 2.0, 1.0]), "edges that decrease"),
        (([1e308, 1e308], [0.0, 1.0, 2.0]), "sum is beyond float64"),
        (([1, 2], [3, 4]), "one more edge than counts"),
        (([], [0.0]), "one more edge than counts"),
        ((np.zeros((2, 2)), np.zeros(3)), "one more edge than counts"),
        ((["a"], [0.0, 1.0]), "of text"),
        ([1.0, None], "None in it"),
        (["1", "2"], "of text"),
        ([[1.0], [2.0, 3.0]], "cannot be read"),
        (np.array([1j]), r"\.real or \.imag"),
        (torch.tensor([1j]), r"\.real or \.imag"),
        ([torch.tensor(1j)], r"\.real or \.imag"),
        ([10**400], "beyond float64"),
        (np.array(["2020-01-01"], dtype="M8[D]"), "of dates"),
        (np.array([1], dtype="m8[s]"), "of durations"),
        (np.zeros(2, dtype="i4,f4"), "of structures"),
        (np.ma.array([1.0, 2.0], mask=[True, False]), r"\.compressed\(\)"),
        (torch.eye(2).to_sparse(), r"\.to_dense\(\)"),
        (torch.zeros(2, device="meta"), "without values"),
        (torch.nested.nested_tensor([torch.zeros(1), torch.zeros(2)], layout=torch.jagged), "nested"),
        (torch.empty(2, dtype=torch.bits8), "cannot be read"),
        ({"a": 1}, "in it"),
        (None, "None in it"),
        (object(), "in it"),
    ],
)
def test_what_no_histogram_can_be_is_refused_with_the_reason(item: Any, why: str) -> None:
    with pytest.raises(InvalidItemError, match=f"histogram 'x'.*{why}"):
        encoded(item, "histogram")


def test_a_tuple_of_two_sequences_is_counts_and_edges_and_a_list_of_two_is_values() -> None:
    made = histogram(np.histogram([1.0, 2.0, 2.5], bins=2))
    assert (made.counts, made.edges) == ([1, 2], [1.0, 1.75, 2.5])
    made = histogram((torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0, 2.0])))
    assert made.counts == [1, 2]
    assert histogram([[1.0, 2.0], [3.0, 4.0]]).count == 4


# Precision-recall curves


def curve(labels: Any, scores: Any, **options: Any) -> content.PrCurve:
    return msgspec.json.decode(body(encoded((labels, scores), "pr_curve", **options)), type=content.PrCurve)


@pytest.mark.parametrize(
    ("labels", "scores", "weights", "why"),
    [
        ([0, 1], [0.5, NAN], None, "scores outside 0 to 1, or NaN"),
        ([0, 1], [0.5, 1.5], None, "scores outside 0 to 1"),
        ([0, 2], [0.5, 0.5], None, "labels other than 0 and 1"),
        ([0, NAN], [0.5, 0.5], None, "labels other than 0 and 1"),
        ([0, 1], [0.5, 0.5], [1.0, NAN], "weights that are negative, NaN or infinite"),
        ([0, 1], [0.5, 0.5], [1.0, INF], "weights that are negative, NaN or infinite"),
        ([0, 1], [0.5, 0.5], [1.0, -1.0], "weights that are negative, NaN or infinite"),
        ([0, 1], [0.5, 0.5], [1e308, 1e308], "weights that are negative, NaN or infinite"),
        ([0, 1], [0.5, 0.5], [1.0], "give the same number of each"),
        ([0, 1], [0.5], None, "give the same number of each"),
        (np.zeros((2, 3)), np.zeros((3, 2)), None, "give the same number of each"),
        ([0, 1], [0.5, 0.5j], None, r"scores, is a list of complex numbers: give abs"),
        ([0, 1], ["a", "b"], None, "scores, is a list of text"),
    ],
)
def test_labels_scores_and_weights_that_make_no_curve_are_refused(
    labels: Any, scores: Any, weights: Any, why: str
) -> None:
    with pytest.raises(InvalidItemError, match=f"pr_curve 'x'.*{why}"):
        encoded((labels, scores), "pr_curve", weights=weights)


def test_columns_of_one_and_tensors_of_low_precision_make_the_same_curve() -> None:
    plain = curve([0, 1, 1], [0.25, 0.5, 1.0])
    column = curve(torch.tensor([[False], [True], [True]]), torch.tensor([[0.25], [0.5], [1.0]], dtype=torch.bfloat16))
    assert plain == column and plain.true_positives[0] == 2


def test_weights_beyond_float32_do_not_stop_tensorboard() -> None:
    from ranklog.backends.tensorboard.events import Moment, pr_curve

    assert pr_curve("p", curve([0, 1], [0.25, 0.5], weights=[1e300, 1e300]), Moment(0, 0))


# Images


def test_floats_from_0_to_1_are_kept_and_nothing_is_said() -> None:
    made = encoded(np.array([[0.0, 0.5, 1.0]]), "image")
    assert picture(made).tolist() == [[0, 128, 255]] and made.changed == ""


def test_floats_up_to_255_are_shown_as_they_are_meant_and_that_is_said() -> None:
    values = np.array([[0.0, 100.4, 255.0]], dtype=np.float32)
    made = encoded(values, "image")
    assert picture(made).tolist() == [[0, 100, 255]] and "read as 0 to 255" in made.changed


@pytest.mark.parametrize(
    ("values", "expected", "said"),
    [
        ([[-1.0, 0.5, 1.0]], [[0, 128, 255]], "floats from -1 to 1 are clipped to 0 to 1"),
        ([[0.0, 1.1]], [[0, 255]], "floats from 0 to 1.1 are clipped"),
        ([[0.0, NAN]], [[0, 0]], "1 values are NaN and become 0"),
        ([[0.0, INF]], [[0, 255]], "floats from 0 to inf are clipped"),
        ([[-5.0, 100.0, 300.0]], [[0, 100, 255]], "clipped to 0 to 255"),
        ([[NAN, NAN]], [[0, 0]], "2 values are NaN"),
    ],
)
def test_floats_that_cannot_be_kept_are_clipped_and_that_is_said(values: Any, expected: Any, said: str) -> None:
    made = encoded(np.array(values), "image")
    assert picture(made).tolist() == expected and said in made.changed


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint32, np.int64, np.uint64, ">i4"])
def test_integers_from_0_to_255_are_kept_in_every_width_and_others_are_clipped_and_said(dtype: Any) -> None:
    kept = np.array([[0, 7, 127]], dtype=dtype)
    assert picture(encoded(kept, "image")).tolist() == [[0, 7, 127]] and encoded(kept, "image").changed == ""
    outside = np.array([[-1, 7]], dtype=np.int8) if dtype is np.int8 else np.array([[300, 7]], dtype=dtype)
    made = encoded(outside, "image")
    assert picture(made).tolist() == [[0 if dtype is np.int8 else 255, 7]] and "clipped to 0 to 255" in made.changed


def test_pictures_of_one_call_are_read_on_one_scale() -> None:
    dark, bright = np.full((2, 2), 1.0), np.full((2, 2), 200.0)
    both = np.stack([dark, bright])
    for together in ([dark, bright], both[..., None], torch.tensor(both[:, None])):
        made = encoded(together, "image")
        shown = [np.asarray(Image.open(io.BytesIO(each.source))).max() for each in made.contents]  # type: ignore[arg-type]
        assert shown == [1, 200] and made.changed.count("read as 0 to 255") == 1
    film = Image.open(io.BytesIO(body(encoded(both, "video"))))
    film.seek(0)
    assert np.asarray(film.convert("L")).max() == 1


@pytest.mark.parametrize(
    "item",
    [
        np.array([[1j]]), torch.zeros(2, 2, dtype=torch.complex64), np.array([["a"]]), np.zeros((2, 2), dtype="M8[s]"),
        np.ma.array([[1.0]], mask=[[True]]), torch.eye(2).to_sparse(), torch.zeros(2, 2, device="meta"),
        np.zeros((0, 3)), np.zeros(()), np.zeros(3), np.zeros((2, 5, 5, 7)), np.zeros((2, 2), dtype="i4,f4"), 3,
        None, {"a": 1}, b"png",
        np.array([[None]]),
    ],
)  # fmt: skip
def test_what_no_picture_can_be_is_refused(item: Any) -> None:
    for kind in ("image", "video"):
        with pytest.raises(InvalidItemError, match=f"{kind} 'x'"):
            encoded(item, kind)


def test_a_picture_that_readers_will_not_open_is_refused_before_it_is_encoded() -> None:
    huge = np.broadcast_to(np.uint8(0), (13_400, 13_400))
    with pytest.raises(InvalidItemError, match=r"13400 by 13400, more than .* pixels that readers of images open"):
        encoded(huge, "image")
    with pytest.raises(InvalidItemError, match="pixels that readers"):
        encoded(huge[None], "video")


def test_a_film_wider_than_gif_is_refused() -> None:
    with pytest.raises(InvalidItemError, match="wider or higher than 65535"):
        encoded(np.zeros((1, 1, 65_536), dtype=np.uint8), "video")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV", "F"])
def test_pictures_of_every_mode_of_pillow_are_png(mode: str) -> None:
    assert picture(encoded(Image.new(mode, (3, 2)), "image")).shape[:2] == (2, 3)


@pytest.mark.parametrize("mode", ["I", "I;16", "I;16B"])
def test_pictures_of_sixteen_bits_of_pillow_keep_them(mode: str) -> None:
    image = Image.new(mode, (2, 1))
    image.putpixel((0, 0), 40_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow will stop to save mode I
        assert picture(encoded(image, "image")).tolist() == [[40_000, 0]]


def test_files_that_pillow_does_not_read_are_refused_whatever_it_raises(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 40)
    (tmp_path / "empty.gif").write_bytes(b"GIF89a")
    whole = io.BytesIO()
    Image.effect_noise((50, 50), 100.0).save(whole, format="PNG")
    (tmp_path / "half.png").write_bytes(whole.getvalue()[:80])
    for name in ("broken.png", "empty.gif", "half.png"):
        with pytest.raises(InvalidItemError, match="image 'x': cannot read"):
            encoded(tmp_path / name, "image")


def test_of_an_animated_file_the_first_picture_is_kept_and_that_is_said(tmp_path: Path) -> None:
    film = encoded(np.arange(8, dtype=np.uint8).reshape(2, 2, 2) * 30, "video")
    (tmp_path / "x.gif").write_bytes(body(film))
    assert "the first of 2 frames" in encoded(tmp_path / "x.gif", "image").changed


# Sounds


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (np.array([0, -5, 32767], dtype=np.int16), [0, -5, 32767]),
        (np.array([0, -5, 32767], dtype=">i2"), [0, -5, 32767]),
        (np.array([0, -5, 3], dtype=np.int64), [0, -5, 3]),
        (np.array([0, -128, 127], dtype=np.int8), [0, -32768, 32512]),
        (np.array([128, 0, 255], dtype=np.uint8), [0, -32768, 32512]),
        (np.array([2**15, 0], dtype=np.uint16), [0, -32768]),
        (np.array([2**31 - 1, -(2**31)], dtype=np.int32), [32767, -32768]),
        (np.array([2**31, 0], dtype=np.uint32), [0, -32768]),
        ([np.float32(0.5), np.float64(-1.0)], [16384, -32767]),
        ([torch.tensor(0.5), torch.tensor(-1.0)], [16384, -32767]),
        (torch.tensor([0.5, -1.0], dtype=torch.bfloat16), [16384, -32767]),
        ([Fraction(1, 2), Decimal("-1")], [16384, -32767]),
    ],
)
def test_samples_of_every_width_fill_sixteen_bits(item: Any, expected: list[int]) -> None:
    made = encoded(item, "audio")
    assert sound(made) == expected and made.changed == ""


@pytest.mark.parametrize(
    ("item", "expected", "said"),
    [
        ([0.0, 2.0], [0, 32767], "floats from 0 to 2 are clipped to -1 to 1"),
        ([0.0, NAN], [0, 0], "1 samples are NaN and become 0"),
        ([0, 40_000], [0, 32767], "integers from 0 to 40000 are clipped"),
        (np.array([0, 1000], dtype=np.int32), [0, 1000], "int32 is read as 16-bit samples"),
    ],
)
def test_samples_that_cannot_be_kept_are_clipped_and_that_is_said(item: Any, expected: list[int], said: str) -> None:
    made = encoded(item, "audio")
    assert sound(made) == expected and said in made.changed


@pytest.mark.parametrize(
    "item",
    [
        np.array([1j]), np.array([True]), np.array(["a"]), np.zeros(0), np.zeros(()), np.zeros((20, 20)), ["a", "b"],
        torch.zeros(3).to_sparse(), torch.zeros(3, device="meta"), np.ma.array([1.0], mask=[True]), {"a": 1}, None, [],
        [None], [1j, 1j],
    ],
)  # fmt: skip
def test_what_no_sound_can_be_is_refused(item: Any) -> None:
    with pytest.raises(InvalidItemError, match=r"audio '.*'"):
        encoded(item, "audio")


# Embeddings


@pytest.mark.parametrize(
    "item",
    [
        np.zeros(3), np.zeros((0, 3)), np.zeros((3, 0)), np.zeros((1, 2, 3)), np.array([[1j]]), np.array([["a"]]),
        torch.eye(2).to_sparse(), torch.zeros(2, 2, device="meta"), [[1.0], [2.0, 3.0]], None, 3.0,
    ],
)  # fmt: skip
def test_what_no_embedding_can_be_is_refused(item: Any) -> None:
    with pytest.raises(InvalidItemError, match="embedding 'x'"):
        encoded(item, "embedding")


@pytest.mark.parametrize(
    "options",
    [
        {"metadata": 3}, {"metadata": "ab"}, {"metadata": ["a"]}, {"metadata": ["a", "b"], "metadata_header": 3},
        {"metadata": [["a", "b"], ["c"]], "metadata_header": ["x", "y"]}, {"label_img": 3},
        {"label_img": np.zeros((3, 2, 2))}, {"label_img": np.zeros(2)},
        {"label_img": [np.zeros((2, 2)), np.zeros((3, 3))]},
        {"label_img": np.zeros((2, 2, 2), dtype=complex)}, {"label_img": ["a", "b"]},
    ],
)  # fmt: skip
def test_labels_and_pictures_that_do_not_fit_the_vectors_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidItemError, match="embedding 'x'"):
        encoded(np.zeros((2, 2)), "embedding", **options)


def test_labels_come_from_arrays_tensors_and_frames_and_have_a_line_each() -> None:
    import pandas

    def labels(**options: Any) -> str:
        made = encoded(np.zeros((2, 3)), "embedding", **options)
        return next(each.source for each in made.contents if each.path == "metadata.tsv").decode()  # type: ignore[union-attr]

    assert labels(metadata=torch.tensor([3, 4])) == "3\n4\n"
    assert labels(metadata=np.array(["a", "b"])) == "a\nb\n"
    assert labels(metadata=["a\u2028b", "c\rd"], metadata_header="label") == "a b\nc d\n"
    frame = pandas.DataFrame({"x": [1, 2], "y": ["a", "b"]})
    assert labels(metadata=frame, metadata_header=frame.columns) == "x\ty\n1\ta\n2\tb\n"


def test_vectors_that_float32_or_a_projector_cannot_hold_are_stored_and_that_is_said() -> None:
    assert "1 of 2 vectors have values beyond float32" in encoded(np.array([[1e200], [1.0]]), "embedding").changed
    assert "1 of 2 vectors have NaN" in encoded(np.array([[NAN], [1.0]]), "embedding").changed
    assert encoded(torch.ones(2, 2, dtype=torch.bfloat16), "embedding").changed == ""


# Figures


def test_a_figure_that_fails_while_it_is_drawn_is_refused_with_the_reason() -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    figure.text(0, 0, r"$\frac{$")
    with pytest.raises(InvalidItemError, match=r"(?s)figure 'x' cannot be rendered: ValueError: .*frac"):
        encoded(figure, "figure")
    for item in (Figure, Figure(figsize=(1e6, 1))):
        with pytest.raises(InvalidItemError, match="figure 'x' cannot be rendered"):
            encoded(item, "figure")


def test_a_closed_figure_is_kept() -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    axes.plot([1, 2])
    plt.close(figure)
    assert picture(encoded(figure, "figure")).ndim == 3


# Tensors


def test_a_view_is_stored_without_the_rest_of_its_storage(tmp_path: Path) -> None:
    large = torch.arange(5_000_000.0)
    views = {"one": large[3:4], "expanded": large[7:8].expand(1000, 1000), "column": large.reshape(-1, 1000)[:, 5]}
    for name, view in views.items():
        data = body(encoded(view, "torch"))
        assert len(data) < 50_000, name
        assert (
            torch.equal(loaded(data), view)
            and loaded(data).stride() == (view if name == "expanded" else loaded(data)).stride()
        )
    data = body(encoded({"deep": [views["one"], {"again": views["one"]}]}, "torch"))
    assert len(data) < 5000
    path = serialize_to({"view": views["one"]}, "state", tmp_path)
    assert path.stat().st_size < 5000 and loaded(path.read_bytes())["view"].item() == 3


def test_a_model_of_views_is_stored_without_the_rest(tmp_path: Path) -> None:
    from ranklog.items.model_formats import save_model

    model = torch.nn.Linear(2, 2)
    model.weight.data = torch.zeros(1_000_000)[:4].view(2, 2)
    save_model(model, "x", "model", tmp_path / "model", for_mlflow=False)
    assert (tmp_path / "model" / "state_dict.pt").stat().st_size < 50_000
    torch.nn.Linear(2, 2).load_state_dict(loaded((tmp_path / "model" / "state_dict.pt").read_bytes()))


def test_tensors_that_share_a_storage_still_share_it() -> None:
    flat = torch.arange(10_000.0)
    back = loaded(body(encoded({"flat": flat, "part": flat[5:10], "tied": flat}, "torch")))
    back["flat"][5] = -1.0
    assert back["part"][0] == -1.0 and back["tied"][5] == -1.0
    view = flat[5:10]
    back = loaded(body(encoded([view, view], "torch")))
    back[0][0] = -1.0
    assert back[1][0] == -1.0


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_of_every_dtype_layout_and_container_load_without_pickle() -> None:
    class Named(torch.Tensor):
        pass

    point = namedtuple("point", "a b")
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.note = object()  # type: ignore[attr-defined]
    tensors = [
        torch.ones(2, dtype=torch.float8_e4m3fn, requires_grad=True), torch.tensor([1 + 2j]).conj(),
        torch.tensor([1 + 2j]).conj().imag,
        torch.ones(2, requires_grad=True) * 2, parameter, torch.ones(2).as_subclass(Named), torch.zeros(0),
        torch.zeros(2, 3).T, torch.tensor(5), torch.eye(2).to_sparse(), torch.eye(2).to_sparse_csr(),
        torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8),
    ]  # fmt: skip
    for tensor in tensors:
        back = loaded(body(encoded(tensor, "torch")))
        assert back.dtype == tensor.dtype and back.shape == tensor.shape and back.layout == tensor.layout
        dense = [each.detach().to_dense() if each.layout != torch.strided else each.detach() for each in (back, tensor)]
        assert torch.equal(*[each.dequantize() if each.is_quantized else each.to(torch.complex64) for each in dense])
    structure = {"a": point(1, "x"), np.str_("b"): np.float64(2.5), np.int64(3): [True, None], "od": OrderedDict(c=1)}
    assert loaded(body(encoded(structure, "torch"))) == {"a": (1, "x"), "b": 2.5, 3: [True, None], "od": {"c": 1}}
    state = torch.nn.BatchNorm1d(2).state_dict()
    assert loaded(body(encoded(state, "torch")))._metadata == state._metadata


def test_structures_that_do_not_load_without_pickle_are_refused() -> None:
    holds_itself: list[Any] = []
    holds_itself.append(holds_itself)
    for item in (
        holds_itself, object(), {"a": object()}, {(1, 2): torch.zeros(1)}, [np.zeros(2)], 1j,
        torch.zeros(2, device="meta"), torch.zeros(3).to_mkldnn(), {"a": Decimal(1)}, torch.float32,
        torch.nn.LazyLinear(3).weight,
    ):  # fmt: skip
        with pytest.raises(InvalidItemError, match="torch 'x'"):
            encoded(item, "torch")


# In the call


def test_what_is_changed_is_warned_about_once_and_noted_in_the_run(tmp_path: Path) -> None:
    logger = JournalLogger(tmp_path, log_freq="batch")
    with logger.start_logging():
        with pytest.warns(RanklogWarning, match="image 'a' is not stored as it was given: floats from -1") as caught:
            for step in range(3):
                logger.log(np.full((2, 2), -1.0), "a", kind="image", step=step)
        assert len([each for each in caught if each.category is RanklogWarning]) == 1
        run = logger.run_dir
    events = [record for record in captured(run) if isinstance(record, Event) and record.code == "changed_image"]
    assert events and "clipped" in events[0].text


class Rude:
    """Raises from everything that an encoder may ask."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise KeyError(name)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise ZeroDivisionError

    def __len__(self) -> int:
        raise ZeroDivisionError

    def __float__(self) -> float:
        raise ZeroDivisionError

    def __repr__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "kind", ["metric", "histogram", "image", "audio", "video", "embedding", "pr_curve", "figure", "torch"]
)
def test_no_exception_of_an_object_leaves_the_call_as_it_is(kind: str, tmp_path: Path) -> None:
    logger = JournalLogger(tmp_path, log_freq="batch")
    with logger.start_logging():
        for item in (Rude(), [Rude()], (Rude(), Rude())):
            with pytest.raises(InvalidItemError, match=kind):
                logger.log(item, "x", kind=kind)
