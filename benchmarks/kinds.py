"""Cost of one `log` of each kind in the training thread, compared with W&B's client (offline) for kinds that it has.

python -m benchmarks.kinds ranklog OUT.json    python -m benchmarks.kinds wandb OUT.json
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.timing import Timing, measure

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 255, (256, 256, 3), dtype=np.uint8)
FILM = RNG.integers(0, 255, (16, 64, 64, 3), dtype=np.uint8)
SOUND = RNG.uniform(-1, 1, 16_000)
VALUES = RNG.normal(size=1_000_000)
ROWS = [[i, i * 0.5, f"row {i}", i % 7, None] for i in range(200)]
COLUMNS = ["i", "half", "text", "class", "none"]
TEXT = "a line of forty characters, and a bit.\n" * 25
SCORES = (RNG.integers(0, 2, 10_000), RNG.random(10_000))
VECTORS = RNG.normal(size=(1000, 64))
FOLDER_BYTES = 512 * 1024 * 1024


def _figure() -> Any:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    axes.plot(np.arange(100))
    return figure


def _items(folder: Path) -> dict[str, tuple[Any, dict[str, Any], int]]:
    """Return item, options and number of calls for each kind."""
    import torch
    from torch import nn

    model = nn.Sequential(nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 10))
    file = folder / "file.bin"
    file.write_bytes(RNG.bytes(1024 * 1024))
    large = folder / "large"
    large.mkdir()
    block = RNG.bytes(64 * 1024 * 1024)
    for number in range(FOLDER_BYTES // len(block)):
        (large / f"{number}.bin").write_bytes(block)
    config = {f"group{i}": {f"name{j}": i * j for j in range(5)} for i in range(4)}
    return {
        "metric": (0.5, {}, 20_000),
        "param, 20 of them": (config, {}, 500),
        "text, 1 KB": (TEXT, {}, 1000),
        "dict, 20 values": (config, {}, 1000),
        "table, 200 x 5": ((COLUMNS, ROWS), {}, 100),
        "histogram, 10^6 values": (VALUES, {}, 20),
        "image, 256 x 256 x 3": (PICTURE, {}, 50),
        "image, list of 8": ([PICTURE] * 8, {}, 10),
        "figure, matplotlib": (_figure(), {}, 20),
        "audio, 1 s of 16 kHz": (SOUND, {"sample_rate": 16_000}, 200),
        "video, 16 x 64 x 64 x 3": (FILM, {"fps": 8}, 10),
        "html, 1 KB": (TEXT, {}, 1000),
        "artifact, 1 MiB": (file, {}, 20),
        "artifact, folder of 512 MiB": (large, {}, 1),
        "artifact, folder of 512 MiB, immutable": (large, {"policy": "immutable"}, 1),
        "dataset, array 10^6": (VALUES, {}, 100),
        "torch, 10^6 values": (torch.zeros(1_000_000), {}, 20),
        "model, 10^6 parameters": (model, {}, 10),
        "best_model, 10^6 parameters": (model, {}, 10),
        "graph, with an example": (model, {"input_example": torch.zeros(1, 1000)}, 50),
        "embedding, 1000 x 64": (VECTORS, {}, 50),
        "pr_curve, 10^4 scores": (SCORES, {}, 100),
        "alert": ("what happened", {}, 1000),
        "flops_pb, 10^6 parameters": ((model, torch.zeros(8, 1000)), {}, 50),
        "flops_pe, 10^6 parameters": ((model, [torch.zeros(8, 1000)] * 4), {}, 50),
        "system": (None, {}, 100),
        "carbon": (None, {}, 10),
        "execution_time": (None, {}, 5000),
        "prov_documents": (None, {}, 500),
    }


def ranklog_kinds(folder: Path) -> list[Timing]:
    from ranklog import JournalLogger

    timings: list[Timing] = []
    for title, (item, options, calls) in _items(folder).items():
        kind = title.partition(",")[0]
        logger = JournalLogger(folder / "logs", log_freq="batch")
        logger.create_logger_context()

        def step(i: int, kind: str = kind, item: Any = item, options: dict[str, Any] = options) -> None:
            logger.log(item, f"x/{i}", kind=kind, step=i, **options)  # noqa: B023 - called before the next turn

        timings.append(measure(f"ranklog {title}", step, calls, logger.destroy_logger_context))
    return [*timings, *_watched(folder)]


def _watched(folder: Path) -> list[Timing]:
    """Time an optimizer step without watching, at a skipped step, and at a logged step."""
    import torch
    from torch import nn

    from ranklog import JournalLogger

    timings: list[Timing] = []
    for title, every in (("not watched", None), ("watched, not this step", 10**9), ("watched, this step", 1)):
        model = nn.Sequential(nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        model(torch.zeros(1, 1000)).sum().backward()
        logger = JournalLogger(folder / "logs", log_freq="batch")
        logger.create_logger_context()
        if every is not None:
            logger.log(model, "net", kind="watch", log_freq=every, log="all")
            optimizer.step()

        def step(i: int, optimizer: Any = optimizer) -> None:
            optimizer.step()

        timings.append(measure(f"watch: an optimizer's step, {title}", step, 30, logger.destroy_logger_context))
    return timings


def wandb_kinds(folder: Path) -> list[Timing]:
    import wandb

    run = wandb.init(mode="offline", dir=folder, settings=wandb.Settings(silent=True, console="off"))
    figure = _figure()
    makers: dict[str, tuple[Callable[[], Any], int]] = {
        "Table, 200 x 5": (lambda: wandb.Table(columns=COLUMNS, data=ROWS, allow_mixed_types=True), 30),
        "Histogram, 10^6 values": (lambda: wandb.Histogram(VALUES), 20),
        "Image, 256 x 256 x 3": (lambda: wandb.Image(PICTURE), 50),
        "Image, list of 8": (lambda: [wandb.Image(PICTURE) for _ in range(8)], 10),
        "Image of a matplotlib figure": (lambda: wandb.Image(figure), 20),
        "Html, 1 KB": (lambda: wandb.Html(TEXT), 100),
    }
    return [
        measure(f"wandb {title}", lambda _, make=make: run.log({"x": make()}), calls)
        for title, (make, calls) in makers.items()
    ]


CASES: dict[str, Callable[[Path], list[Timing]]] = {"ranklog": ranklog_kinds, "wandb": wandb_kinds}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        found = CASES[sys.argv[1]](Path(directory))
    Path(sys.argv[2]).write_bytes(msgspec.json.encode(found))
