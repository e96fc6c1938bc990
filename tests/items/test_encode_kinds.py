"""Encodings of sounds, films, pages, datasets, embeddings, curves, alerts and lists, read back with libraries."""

import io
import json
import wave
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ranklog.abc import Encoded
from ranklog.items.encode import encode
from ranklog.model import content
from ranklog.model.errors import InvalidArgumentError, InvalidItemError


def files(encoded: Encoded) -> dict[str, bytes]:
    return {
        each.path: each.source if isinstance(each.source, bytes) else each.source.read_bytes()
        for each in encoded.contents
    }


def only(encoded: Encoded) -> bytes:
    (data,) = files(encoded).values()
    return data


def samples(data: bytes) -> tuple[int, np.ndarray]:
    with wave.open(io.BytesIO(data)) as file:
        assert file.getsampwidth() == 2
        frames = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        return file.getframerate(), frames.reshape(-1, file.getnchannels())


def frames(data: bytes) -> list[np.ndarray]:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as film:
        found = []
        for index in range(film.n_frames):
            film.seek(index)
            found.append(np.asarray(film.convert("RGB")))
        return found


def test_a_sound_of_floats_is_sixteen_bit_wav_and_what_lies_outside_is_clipped() -> None:
    encoded = encode(np.array([0.0, 0.5, -1.0, 3.0, np.nan]), "a", "audio", {"sample_rate": 8000})
    rate, values = samples(only(encoded))
    assert rate == 8000 and encoded.media == content.WAV and encoded.meta == {"sample_rate": 8000}
    assert values.ravel().tolist() == [0, 16384, -32767, 32767, 0]


@pytest.mark.parametrize("shape", [(2, 100), (100, 2)])
def test_the_shorter_side_of_a_sound_is_its_channels(shape: tuple[int, int]) -> None:
    _, values = samples(only(encode(np.zeros(shape, dtype=np.int16), "a", "audio", {})))
    assert values.shape == (100, 2)


def test_a_list_of_numbers_is_one_sound_and_a_list_of_sounds_is_several() -> None:
    assert files(encode([0.0, 0.5], "a", "audio", {})).keys() == {"a.wav"}
    encoded = encode([np.zeros(3), np.ones(4)], "a", "audio", {"caption": ["low", "high"]})
    assert files(encoded).keys() == {"000.wav", "001.wav"} and encoded.media == content.FOLDER
    assert (encoded.meta["caption.0"], encoded.meta["caption.1"]) == ("low", "high")


def test_a_film_is_exact_up_to_256_colours_a_frame_and_close_to_it_beyond() -> None:
    rng = np.random.default_rng(0)
    few = rng.integers(0, 256, (256, 3), dtype=np.uint8)[rng.integers(0, 256, (3, 32, 48))]
    assert np.array_equal(np.stack(frames(only(encode(few, "v", "video", {})))), few)
    across = np.linspace(0, 255, 64)
    many = np.stack([np.stack([*np.meshgrid(across, across[::-1]), np.full((64, 64), 40.0 * i)], 2) for i in range(3)])
    shown = np.stack(frames(only(encode(many.astype(np.uint8), "v", "video", {}))))
    assert np.abs(shown.astype(int) - many).mean() < 8


def test_a_film_is_a_gif_with_its_frames_in_order_for_either_place_of_the_channels() -> None:
    film = np.zeros((3, 4, 6, 3), dtype=np.uint8)
    for index in range(3):
        film[index] = 40 * (index + 1)
    for array in (film, np.moveaxis(film, 3, 1), film[..., 0]):
        encoded = encode(array, "v", "video", {"fps": 10})
        shown = frames(only(encoded))
        assert [int(frame.mean()) for frame in shown] == [40, 80, 120]
        assert shown[0].shape == (4, 6, 3) and encoded.meta == {"fps": 10}


def test_a_film_or_sound_that_is_a_file_is_kept_byte_for_byte_with_its_own_suffix(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"film")
    (tmp_path / "x.flac").write_bytes(b"sound")
    film = encode(tmp_path / "x.mp4", "v", "video", {})
    assert files(film) == {"v.mp4": b"film"} and film.media == "video/mp4"
    assert files(encode(str(tmp_path / "x.flac"), "s", "audio", {})) == {"s.flac": b"sound"}


@pytest.mark.parametrize(
    ("kind", "bad", "options"),
    [
        ("audio", np.zeros((3, 4, 5)), {}),
        ("audio", "no-such.wav", {}),
        ("video", np.zeros((3, 4)), {}),
        ("html", 3, {}),
        ("html", Path("no-such.html"), {}),
        ("dataset", 3, {}),
        ("dataset", "no-such", {}),
        ("embedding", np.zeros(3), {}),
        ("embedding", np.zeros((3, 2)), {"metadata": ["a"]}),
        ("pr_curve", ([0, 1], [0.5]), {}),
        ("pr_curve", ([0, 2], [0.5, 0.5]), {}),
        ("alert", 3, {}),
        ("image", [], {}),
        ("image", [np.zeros((2, 2))], {"caption": ["a", "b"]}),
    ],
    ids=str,
)
def test_what_a_kind_cannot_store_is_refused_with_what_it_can(kind: str, bad: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidItemError, match=f"{kind} 'x'"):
        encode(bad, "x", kind, options)


@pytest.mark.parametrize(
    ("kind", "item", "options"),
    [
        ("audio", [0.0], {"sample_rate": 0}),
        ("video", np.zeros((2, 4, 4)), {"fps": 0}),
        ("pr_curve", ([0, 1], [0.5, 0.5]), {"num_thresholds": 1}),
        ("alert", "x", {"level": "loud"}),
        ("alert", "x", {"wait_duration": -1}),
    ],
    ids=str,
)
def test_an_option_that_is_not_allowed_is_named(kind: str, item: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=next(iter(options))):
        encode(item, "x", kind, options)


def test_an_array_of_images_is_a_list_of_images() -> None:
    encoded = encode(np.zeros((2, 3, 4, 5)), "i", "image", {})
    assert files(encoded).keys() == {"000.png", "001.png"}


def test_images_of_sixteen_bits_and_of_floats_keep_their_contrast() -> None:
    from PIL import Image

    def pixels(item: Any) -> list[int]:
        return np.asarray(Image.open(io.BytesIO(only(encode(item, "i", "image", {}))))).ravel().tolist()

    assert pixels(np.array([[0, 32768, 65535]], dtype=np.uint16)) == [0, 127, 255]
    assert pixels(Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))) == [0, 128, 255]


def test_a_page_is_its_text_or_its_file(tmp_path: Path) -> None:
    (tmp_path / "p.html").write_text("<i>file</i>")
    assert files(encode("<b>x</b>", "p", "html", {})) == {"p.html": b"<b>x</b>"}
    assert files(encode(tmp_path / "p.html", "p", "html", {})) == {"p.html": b"<i>file</i>"}


def dataset(item: Any) -> content.Dataset:
    return msgspec.json.decode(only(encode(item, "d", "dataset", {})), type=content.Dataset)


def test_a_folder_of_data_is_known_by_its_content_and_a_changed_byte_changes_its_digest(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.bin").write_bytes(b"12")
    first = dataset(tmp_path)
    assert (first.files, first.size_bytes, first.digest_of, first.source) == (1, 2, "content", str(tmp_path))
    assert dataset(tmp_path) == first
    (tmp_path / "a" / "x.bin").write_bytes(b"13")
    assert dataset(tmp_path).digest != first.digest


def test_data_too_large_to_read_is_known_by_its_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranklog.items.datasets.CONTENT_BYTES", 1)
    (tmp_path / "x.bin").write_bytes(b"12")
    assert dataset(tmp_path / "x.bin").digest_of == "listing"


def test_frames_arrays_and_given_digests_are_datasets_and_no_password_is_kept() -> None:
    import pandas

    frame = dataset(pandas.DataFrame({"x": [1.0, 2.0], "y": ["a", "b"]}))
    assert (frame.rows, frame.source_type, frame.digest_of) == (2, "dataframe", "content")
    assert frame.columns is not None and frame.columns["x"] == "float64"
    assert dataset(np.arange(3)).rows == 3
    given = dataset(("cifar", "abc", "https://user:secret@host/x"))
    assert (given.name, given.digest, given.digest_of) == ("cifar", "abc", "given")
    assert "secret" not in given.source


def test_a_loader_is_the_dataset_that_it_loads() -> None:
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.arange(6.0))
    assert dataset(torch.utils.data.DataLoader(data, batch_size=2)) == dataset(data)
    other = torch.utils.data.TensorDataset(torch.arange(1.0, 7.0))
    assert dataset(data).rows == 6 and dataset(other).digest != dataset(data).digest


def test_an_embedding_has_vectors_labels_and_a_sprite_that_fit_each_other() -> None:
    from PIL import Image

    pictures = np.stack([np.full((2, 3), 40 * index, dtype=np.uint8) for index in range(5)])
    encoded = encode(
        np.arange(10.0).reshape(5, 2),
        "e",
        "embedding",
        {"metadata": [[i, f"l\t{i}"] for i in range(5)], "metadata_header": ["n", "label"], "label_img": pictures},
    )
    found = files(encoded)
    assert np.load(io.BytesIO(found["vectors.npy"])).tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert found["metadata.tsv"].decode().splitlines()[:2] == ["n\tlabel", "0\tl 0"]
    sprite = np.asarray(Image.open(io.BytesIO(found["sprite.png"])))
    assert sprite.shape == (6, 9) and sprite[0, 3] == 40 and sprite[2, 0] == 120
    assert encoded.meta == {"sprite_width": 3, "sprite_height": 2}


def test_labels_of_one_column_have_no_header_as_the_projector_wants_it() -> None:
    encoded = encode(np.zeros((2, 2)), "e", "embedding", {"metadata": ["a", "b"]})
    assert files(encoded)["metadata.tsv"] == b"a\nb\n"


def test_precision_and_recall_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import precision_score, recall_score

    generator = np.random.default_rng(0)
    scores = np.round(generator.random(200) * 10) / 10
    labels = (generator.random(200) < scores).astype(int)
    curve = msgspec.json.decode(
        only(encode((labels, scores), "p", "pr_curve", {"num_thresholds": 11})), type=content.PrCurve
    )
    assert curve.thresholds[5] == pytest.approx(0.5)
    for index, threshold in enumerate(curve.thresholds[:-1]):
        said = scores >= threshold - 1e-9
        assert curve.precision[index] == pytest.approx(precision_score(labels, said))
        assert curve.recall[index] == pytest.approx(recall_score(labels, said))
    assert curve.true_positives[0] + curve.false_positives[0] == 200


def test_an_alert_has_its_level_and_pause_also_in_the_spelling_of_others() -> None:
    import datetime

    encoded = encode("disk is full", "disk", "alert", {"level": "WARN", "wait_duration": datetime.timedelta(minutes=1)})
    assert only(encoded) == b"disk is full"
    assert encoded.meta == {"level": "warning", "wait_duration": 60.0}


def test_a_request_for_documents_says_which() -> None:
    asked = json.loads(only(encode(None, "prov", "prov_documents", {"create_svg": False})))
    assert asked == {"create_graph": True, "create_svg": False}
