"""Encodes tensors and models. Runs in the training process, imports torch (and for models MLflow) at the call only.

Saving a model waits for the device and the disk; `log` says so for these kinds.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranklog.capture.encode import wrong_item
from ranklog.model.errors import MissingExtraError


def _torch(kind: str) -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError(f'kind={kind!r} needs torch: pip install "ranklog[torch]"') from error
    return torch


def encode_tensors(item: object, name: str) -> bytes:
    """Bytes of a tensor or a structure of tensors, loadable with ``torch.load(..., weights_only=True)``.

    Raises:
        InvalidItemError: when it holds anything but tensors, numbers, strings and containers of these.
    """
    torch = _torch("torch")
    if not _only_tensors(torch, item):
        raise wrong_item(item, name, "torch")
    out = io.BytesIO()
    torch.save(item, out)
    return out.getvalue()


def _only_tensors(torch: Any, item: object) -> bool:
    if isinstance(item, Mapping):
        return all(isinstance(key, (str, int)) and _only_tensors(torch, value) for key, value in item.items())
    if isinstance(item, (list, tuple)):
        return all(_only_tensors(torch, value) for value in item)
    return item is None or isinstance(item, (torch.Tensor, int, float, str, bool))


def save_model(model: Any, name: str, kind: str, folder: Path, *, for_mlflow: bool) -> None:
    """Write a model into a folder that does not exist yet.

    With an MLflow backend it is MLflow's own local format, which `mlflow.pytorch.load_model` reads after the
    upload; else ``state_dict.pt`` (weights only) and ``architecture.txt``. A wrapper such as DDP is taken off.

    Raises:
        InvalidItemError: when the item is no module.
    """
    torch = _torch(kind)
    if not isinstance(model, torch.nn.Module):
        raise wrong_item(model, name, kind)
    if isinstance(model, (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)):
        model = model.module
    if not for_mlflow:
        folder.mkdir(mode=0o700)
        torch.save(model.state_dict(), folder / "state_dict.pt")
        (folder / "architecture.txt").write_text(f"{model}\n")
        return
    try:
        import mlflow.pytorch
    except ImportError as error:
        raise MissingExtraError('a model for MLflow needs mlflow: pip install "ranklog[mlflow]"') from error
    mlflow.pytorch.save_model(model, str(folder))
