"""Canonical encodings, read back with the libraries that users would use."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from ranklog.items.encode import encode
from ranklog.items.file_names import file_name
from ranklog.model.errors import InvalidArgumentError, InvalidItemError


def only(item: object, name: str, kind: str, **options: object) -> bytes:
    encoded = encode(item, name, kind, options)  # type: ignore[arg-type]
    assert len(encoded.contents) == 1
    source = encoded.contents[0].source
    return source.read_bytes() if isinstance(source, Path) else source


def pixels(data: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)))


def test_text_keeps_its_characters_and_survives_lone_surrogates() -> None:
    assert only("grüße\n", "note", "text").decode() == "grüße\n"
    assert only("\ud800", "note", "text").decode() == "\\ud800"


def test_a_dict_with_numpy_values_is_json() -> None:
    assert json.loads(only({"a": np.float32(1.5), "b": np.arange(2)}, "d", "dict")) == {"a": 1.5, "b": [0, 1]}


@pytest.mark.parametrize(
    "table",
    [
        (["x", "y"], [[1, "a"], [2, "b"]]),
        {"x": [1, 2], "y": ["a", "b"]},
        [{"x": 1, "y": "a"}, {"x": 2, "y": "b"}],
    ],
    ids=["columns and rows", "mapping of columns", "list of rows"],
)
def test_every_shape_of_table_gives_the_same(table: object) -> None:
    assert json.loads(only(table, "t", "table")) == {"columns": ["x", "y"], "data": [[1, "a"], [2, "b"]]}


def test_a_data_frame_is_a_table() -> None:
    import pandas

    frame = pandas.DataFrame({"x": [1, 2], "y": ["a", "b"]})
    assert json.loads(only(frame, "t", "table")) == {"columns": ["x", "y"], "data": [[1, "a"], [2, "b"]]}


def test_a_table_with_a_short_row_is_refused() -> None:
    with pytest.raises(InvalidItemError, match="row 0 is of length 1: give 2 cells, one per column"):
        encode((["x", "y"], [[1]]), "t", "table", {})


def test_a_histogram_counts_finite_values_and_says_how_many_were_not() -> None:
    body = json.loads(only([0.0, 1.0, 1.0, float("nan")], "h", "histogram", bins=2))
    assert body["counts"] == [1, 2]
    assert body["edges"] == [0.0, 0.5, 1.0]
    assert (body["count"], body["nonfinite"], body["sum"]) == (3, 1, 2.0)


def test_ready_counts_and_edges_are_kept() -> None:
    body = json.loads(only(([3, 1], [0.0, 1.0, 2.0]), "h", "histogram"))
    assert (body["counts"], body["edges"], body["count"]) == ([3, 1], [0.0, 1.0, 2.0], 4)


def test_images_in_hwc_chw_and_grey_keep_their_pixels() -> None:
    hwc = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(pixels(only(hwc, "i", "image")), hwc)
    assert np.array_equal(pixels(only(np.moveaxis(hwc, 2, 0), "i", "image")), hwc)
    assert np.array_equal(pixels(only(hwc[:, :, 0], "i", "image")), hwc[:, :, 0])


def test_float_images_are_0_to_1_and_clipped() -> None:
    values = np.array([[0.0, 0.5, 1.0, 2.0, -1.0, np.nan]])
    assert pixels(only(values, "i", "image")).tolist() == [[0, 128, 255, 255, 0, 0]]


def test_torch_and_pil_images_and_paths_are_images(tmp_path: Path) -> None:
    import torch
    from PIL import Image

    chw = torch.randint(0, 256, (3, 4, 6), dtype=torch.uint8)
    expected = chw.permute(1, 2, 0).numpy()
    assert np.array_equal(pixels(only(chw, "i", "image")), expected)
    image = Image.fromarray(expected)
    assert np.array_equal(pixels(only(image, "i", "image")), expected)
    image.save(tmp_path / "x.png")
    assert np.array_equal(pixels(only(str(tmp_path / "x.png"), "i", "image")), expected)


@pytest.mark.parametrize("bad", [np.zeros((2, 3, 4, 5, 6)), np.zeros((0, 3)), "no-such.png", 3], ids=str)
def test_what_is_no_image_is_refused(bad: object) -> None:
    with pytest.raises(InvalidItemError, match="image 'i'"):
        encode(bad, "i", "image", {})


def test_figures_of_matplotlib_and_plotly() -> None:
    import matplotlib.figure
    import plotly.graph_objects

    figure = matplotlib.figure.Figure()
    figure.subplots().plot([1, 2])
    assert pixels(only(figure, "plot.png", "figure")).ndim == 3
    encoded = encode(plotly.graph_objects.Figure(plotly.graph_objects.Bar(y=[1, 2])), "bars", "figure", {})
    assert encoded.media == "application/vnd.plotly.v1+json"
    assert encoded.contents[0].path == "bars.json"


def test_a_folder_keeps_its_relative_paths(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "deep" / "b.txt").write_text("b")
    encoded = encode(tmp_path, "folder", "artifact", {})
    assert [content.path for content in encoded.contents] == ["a.txt", "deep/b.txt"]


def test_tensors_load_back_with_weights_only() -> None:
    import torch

    state = torch.nn.Linear(2, 3).state_dict()
    loaded = torch.load(io.BytesIO(only(state, "state", "torch")), weights_only=True)
    assert torch.equal(loaded["weight"], state["weight"])


def test_an_object_that_would_need_pickle_is_refused() -> None:
    import torch

    with pytest.raises(InvalidItemError, match="torch 'm'"):
        encode(torch.nn.Linear(2, 3), "m", "torch", {})


@pytest.mark.parametrize(
    ("name", "safe"),
    [("plot.png", "plot.png"), ("/etc/passwd", "etc/passwd"), ("a//b", "a/b"), ("./a", "a"), ("a\\b", "a/b")],
)
def test_identifiers_become_relative_paths(name: str, safe: str) -> None:
    assert file_name(name) == safe


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/", "."])
def test_identifiers_that_leave_the_run_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="cannot name a file"):
        file_name(name)


def test_what_json_lacks_is_null_or_a_word_so_that_strict_readers_take_the_file() -> None:
    import msgspec

    nan, inf = float("nan"), float("inf")
    assert msgspec.json.decode(only({"a": nan, "b": inf}, "d", "dict")) == {"a": None, "b": "Infinity"}
    assert msgspec.json.decode(only({"x": [1.0, nan]}, "t", "table"))["data"] == [[1.0], [None]]
    for values in ([nan], []):
        body = msgspec.json.decode(only(values, "h", "histogram", bins=4))
        assert (body["count"], body["min"], body["max"], len(body["counts"])) == (0.0, 0.0, 1.0, 4)
