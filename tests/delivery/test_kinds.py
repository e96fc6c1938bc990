"""Every kind in every backend: its own reader finds what the backend says and the reference lists."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from custom_backend import install
from items import Run
from test_conformance import Case

from ranklog.backends.registry import forms_of
from ranklog.items.encode import encode
from ranklog.model.kinds import KINDS
from ranklog.model.record import Item
from ranklog.model.spec import BackendSpec

BACKENDS = ("mlflow", "wandb", "tensorboard", "prov", "console", "csv", "trackio", "opentelemetry")


@pytest.mark.parametrize("name", BACKENDS)
def test_its_own_reader_finds_each_kind_in_the_form_that_it_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in install(tmp_path / "site"):
        monkeypatch.syspath_prepend(str(folder))
    case = Case(name, tmp_path / name, tmp_path)
    case.run.add(*case.run.each_kind())
    case.deliver("FINISHED")
    found = importlib.import_module(f"kinds_{name}").found
    assert found(case.savedir, case.run_id, case.known) == forms_of(name)


@pytest.mark.parametrize("name", BACKENDS)
def test_items_that_a_backend_cannot_show_are_stored_as_their_files(name: str, tmp_path: Path) -> None:
    case = Case(name, tmp_path / name, tmp_path)
    kinds = ("text", "image", "histogram", "graph", "embedding", "model", "of_tomorrow")
    bodies = {kind: f"a {kind} of a media type that no backend knows".encode() for kind in kinds}
    case.run.add(*[case.run.item(kind, f"odd/{kind}", "x/new", [(f"{kind}.new", bodies[kind])]) for kind in kinds])
    case.deliver("FINISHED")
    stored = {path.read_bytes() for path in case.savedir.rglob("*") if path.is_file()}
    assert [kind for kind, body in bodies.items() if body not in stored] == []


def test_the_reference_lists_what_the_code_says() -> None:
    script = Path(__file__).parents[2] / "scripts" / "kinds-tables.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _array(height: int, width: int) -> np.ndarray:
    array = np.zeros((height, width, 3), dtype=np.uint8)
    array[..., 0] = 255
    return array


WRITTEN: dict[str, tuple[Any, dict[str, Any]]] = {
    "text": ("a text of its own", {}),
    "dict": ({"depth": 3}, {}),
    "table": ((["a", "b"], [[1, "x"], [2, "y"]]), {}),
    "histogram": (([4, 6], [0.0, 1.0, 3.0]), {}),
    "image": (_array(2, 3), {}),
    "audio": (np.array([0, 1000, -1000, 0], dtype=np.int16), {"sample_rate": 8000}),
    "video": (np.stack([np.full((4, 4), 40 * (i + 1), dtype=np.uint8) for i in range(3)]), {"fps": 4}),
    "html": ("<b>a page of its own</b>", {}),
    "artifact": (b"bytes of its own", {}),
    "dataset": (("digits", "0123456789abcdef", "/data/digits.csv"), {}),
    "embedding": (
        np.arange(6).reshape(3, 2),
        {
            "metadata": [["a", 1], ["b", 2], ["c", 3]],
            "metadata_header": ["label", "score"],
            "label_img": [_array(2, 2)] * 3,
        },
    ),
    "pr_curve": (([0, 1, 1, 1, 0], [0.9, 0.9, 0.9, 0.1, 0.1]), {"num_thresholds": 3}),
    "alert": ("what happened", {"level": "warning"}),
    "prov_documents": (None, {"create_graph": False, "create_svg": False}),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_capture_writes_is_what_these_tests_deliver(kind: str, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", BackendSpec(backend="memory"))
    (expected,) = [record for record in run.each_kind() if isinstance(record, Item) and record.kind == kind]
    item, options = WRITTEN[kind]
    encoded = encode(item, f"each/{kind}", kind, options)
    assert encoded.media == expected.media
    assert [each.path for each in encoded.contents] == [file.path for file in expected.files]
    assert encoded.meta.keys() <= {*expected.meta, "wait_duration"}


def test_every_kind_that_reaches_backends_is_delivered_by_these_tests(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", BackendSpec(backend="memory"))
    delivered = {record.kind for record in run.each_kind() if isinstance(record, Item)} | {"metric", "param"}
    assert delivered == {kind.name for kind in KINDS.values() if kind.becomes is None}
