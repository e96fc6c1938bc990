"""Formats of saved models: MLflow's own, or weights with the architecture as text.

Saving waits for the device and the disk. torch and MLflow are imported at the call only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ranklog.items.tensors import torch_for, without_unused
from ranklog.model.errors import InvalidItemError, MissingExtraError
from ranklog.values.local import local, no_collectives
from ranklog.values.refusing import wrong_item


def bare_module(model: Any, name: str, kind: str) -> Any:
    """The module inside wrappers: DDP, DataParallel, a DeepSpeed engine, a compiled module.

    Raises:
        InvalidItemError: it is not a module.
    """
    torch = torch_for(kind)
    if not isinstance(model, torch.nn.Module):
        raise wrong_item(model, name, kind)
    parallel = (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)
    while True:
        if isinstance(model, parallel) or type(model).__name__ == "DeepSpeedEngine":
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = model._orig_mod
        else:
            return model


def save_state(state: Any, model: Any, folder: Path) -> None:
    """Write weights, loadable with ``torch.load(..., weights_only=True)``, and the architecture as text."""
    torch = torch_for("model")
    folder.mkdir(mode=0o700)
    torch.save(without_unused(torch, state), folder / "state_dict.pt")
    (folder / "architecture.txt").write_text(f"{model}\n")


def save_model(model: Any, name: str, kind: str, folder: Path, *, for_mlflow: bool, input_example: Any = None) -> None:
    """Write a module, without wrappers, into a folder that does not exist yet.

    With an MLflow backend it is MLflow's own local format, which `mlflow.pytorch.load_model` reads after the
    upload: with an ``input_example`` the traced graph (``pt2``, safe to load, with signature), else MLflow's pickle
    format. Without MLflow it is ``state_dict.pt`` (weights only) and ``architecture.txt``.

    Raises:
        InvalidItemError: its graph cannot be traced with the example.
    """
    torch = torch_for(kind)
    if not for_mlflow:
        with no_collectives(f"{kind} {name!r}"):
            state = model.state_dict()
        save_state(state, model, folder)
        return
    if "mlflow" not in sys.modules:
        # A user who does not use MLflow must get neither its telemetry nor its file in the home directory.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        import mlflow.pytorch
    except ImportError as error:
        raise MissingExtraError('a model for MLflow needs mlflow: pip install "ranklog[mlflow]"') from error
    # Named here, because MLflow would load the model in another process to find out, for half a minute.
    needs = [f"mlflow=={mlflow.__version__}", f"torch=={torch.__version__.partition('+')[0]}"]
    if input_example is None:
        mlflow.pytorch.save_model(
            model, str(folder), serialization_format="pickle", pip_requirements=[*needs, "cloudpickle"]
        )
        return
    try:
        with evaluating(model):
            with no_collectives("its forward"):
                facts = _traced(mlflow, torch, model, input_example)
            mlflow.pytorch.save_model(model, str(folder), serialization_format="pt2", pip_requirements=needs, **facts)
    except Exception as error:
        raise InvalidItemError(
            f"{kind} {name!r}: its graph cannot be traced with input_example: {error}. Leave input_example out to "
            "store it in MLflow's pickle format"
        ) from error


def _traced(mlflow: Any, torch: Any, model: Any, example: Any) -> dict[str, Any]:
    """Example and signature in the form that MLflow's graph format needs; the first dimension is the batch."""
    inputs = tuple(
        torch.as_tensor(local(part, "input_example")).detach().cpu()
        for part in (example if isinstance(example, (tuple, list)) else (example,))
    )
    # A batch of one would be traced as a fixed size.
    inputs = tuple(torch.cat([part, part]) if part.shape[:1] == (1,) else part for part in inputs)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with torch.no_grad():
        outputs = model(*(part.to(device) for part in inputs))
    specs = mlflow.types
    schema = specs.Schema(
        [
            specs.TensorSpec(part.numpy().dtype, (-1, *part.shape[1:]), name=None if len(inputs) == 1 else f"input_{i}")
            for i, part in enumerate(inputs)
        ]
    )
    result = None
    if isinstance(outputs, torch.Tensor):
        result = mlflow.models.infer_signature(outputs.detach().cpu().numpy()).inputs
    signature = mlflow.models.ModelSignature(inputs=schema, outputs=result)
    example_inputs = tuple(part.to(device) for part in inputs)
    return {"signature": signature, "input_example": example_inputs}


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Switch to evaluation mode inside; each module gets its own mode back, also frozen modules."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
