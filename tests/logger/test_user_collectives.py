"""No public call uses the process groups of the user: here those fail as soon as something touches them.

The group is a real one of torch.distributed with two ranks, of which this process is the first, so any collective that
starts is an error and is recorded, instead of a hang. Kinds and options come from `KINDS`: a new one must say here what
it is tried with.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
from fake_cuda import FakeCuda
from torch import nn
from torch.distributed._functional_collectives import AsyncCollectiveTensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
from torch.distributed.tensor.placement_types import Placement
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils.data import DataLoader, TensorDataset

from ranklog.items.encode import encode
from ranklog.loggers import JournalLogger
from ranklog.loggers.base import BackendLogger
from ranklog.model.errors import InvalidArgumentError, InvalidItemError, RanklogWarning
from ranklog.model.kinds import KINDS
from ranklog.model.record import Item, Metrics, Params
from ranklog.testing import captured, series
from ranklog.values import cuda as cuda_copies
from ranklog.values.local import no_collectives, reading

used: list[str] = []


def _failing(name: str) -> Callable[..., None]:
    def collective(*args: object, **kwargs: object) -> None:
        used.append(name)
        raise RuntimeError(f"the user's group was used: {name}")

    return collective


@pytest.fixture(scope="module", autouse=True)
def group() -> Iterator[None]:
    """The user's process group: every operator that its backend could run is replaced by one that fails."""
    library = torch.library.Library("c10d", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that kernels are overridden
        for name in torch._C._dispatch_get_all_op_names():
            if name.startswith("c10d::"):
                library.impl(name.removeprefix("c10d::"), _failing(name), "CPU", allow_override=True)
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    yield
    dist.destroy_process_group()
    library._destroy()


@pytest.fixture(autouse=True)
def nothing_is_used(group: None) -> Iterator[None]:
    """Holds of every test: nothing has touched the group when it ends."""
    used.clear()
    yield
    assert used == []


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[JournalLogger]:
    logger = JournalLogger(tmp_path / "logs", log_freq=2, strategy="single")
    with logger.start_logging():
        yield logger


def spread(value: torch.Tensor, *placements: Placement) -> DTensor:
    return DTensor.from_local(value, init_device_mesh("cpu", (2,)), placements, run_check=False)


def test_the_group_fails_and_records_where_something_does_use_it() -> None:
    with pytest.raises(RuntimeError, match="the user's group was used"):
        dist.all_reduce(torch.ones(1))
    with pytest.raises(RuntimeError, match="the user's group was used"):
        spread(torch.ones(()), Partial()).full_tensor()
    with pytest.raises(RuntimeError, match="the user's group was used"):
        spread(torch.ones(2), Shard(0)).norm().clone()
    with pytest.raises(RuntimeError, match="the user's group was used"):
        dist.barrier()
    assert len(used) == 4
    used.clear()


SCALARS: dict[str, Callable[[], DTensor]] = {
    "a norm of shards": lambda: spread(torch.ones(2), Shard(0)).norm(),
    "a partial sum": lambda: spread(torch.ones(()), Partial()),
    "a partial sum that needs gradients": lambda: spread(torch.ones((), requires_grad=True), Partial()),
    "a shard of one element": lambda: spread(torch.ones(1), Shard(0)),
    "an integer": lambda: spread(torch.ones((), dtype=torch.int64), Partial()),
}
CALLS: dict[str, Callable[[JournalLogger, Any], object]] = {
    "log": lambda logger, x: logger.log(x, "m"),
    "log a mapping": lambda logger, x: logger.log({"a": 1.0, "b": x}, "m"),
    "log several": lambda logger, x: logger.log([x, 1.0], ["a", "b"]),
    "log with a weight": lambda logger, x: logger.log(1.0, "m", reduce="mean", weight=x),
    "log at a step": lambda logger, x: logger.log(1.0, "m", step=x),
    "log in a batch": lambda logger, x: logger.log(1.0, "m", batch_idx=x),
    "log a parameter": lambda logger, x: logger.log(x, "p", kind="param"),
    "log parameters": lambda logger, x: logger.log({"p": {"q": x}}, "p", kind="param"),
    "log_metrics": lambda logger, x: logger.log_metrics({"a": 1.0, "m": x}),
    "log_metrics at a step": lambda logger, x: logger.log_metrics({"a": 1.0}, step=x),
    "log_metrics in a batch": lambda logger, x: logger.log_metrics({"a": 1.0}, batch_idx=x),
    "log_metrics with a weight": lambda logger, x: logger.log_metrics({"a": 1.0}, reduce="mean", weight=x),
    "reduce_now": lambda logger, x: logger.reduce_now(x),
    "reduce_now with a weight": lambda logger, x: logger.reduce_now(1.0, weight=x),
    "save_hyperparameters": lambda logger, x: logger.save_hyperparameters({"p": x}),
    "save_hyperparameters of a list": lambda logger, x: logger.save_hyperparameters({"p": {"q": [1, (2, x)]}}),
    "serialize": lambda logger, x: logger.serialize(x, "x.pt"),
    "serialize a state": lambda logger, x: logger.serialize({"a": [x]}, "x.pt"),
    "should_log": lambda logger, x: logger.should_log(x),
    **{
        f"log, reduce={op}": lambda logger, x, op=op: logger.log(x, "m", reduce=op)
        for op in ("mean", "median", "stats", "per_rank")
    },
    "log_metrics, reduce=mean": lambda logger, x: logger.log_metrics({"m": x}, reduce="mean"),
}
TAKE_NO_VALUES = {
    "create_logger_context", "destroy_logger_context", "start_logging", "flush", "wait_delivered", "on_preempt",
    "time_left",
}  # fmt: skip


def test_every_public_method_is_tried() -> None:
    methods = {name for name in dir(BackendLogger) if name[0] != "_" and callable(getattr(BackendLogger, name))}
    assert {call.split(",")[0].split()[0] for call in CALLS} == methods - TAKE_NO_VALUES


@pytest.mark.parametrize("call", CALLS)
def test_a_scalar_that_is_spread_over_ranks_is_refused_by_every_call(call: str, logger: JournalLogger) -> None:
    for make in SCALARS.values():
        with pytest.raises(InvalidItemError, match=r"\.full_tensor\(\)"):
            CALLS[call](logger, make())
    assert logger.flush(60)
    assert not [record for record in captured(logger) if isinstance(record, (Metrics, Params, Item))]


@pytest.mark.parametrize("call", CALLS)
def test_a_replicated_scalar_is_taken_by_every_call_as_the_plain_tensor_is(call: str, tmp_path: Path) -> None:
    found = []
    for name, value in {"plain": torch.tensor(4), "replicated": spread(torch.tensor(4), Replicate())}.items():
        logger = JournalLogger(tmp_path / name, log_freq=2, strategy="single")
        with logger.start_logging():
            result = CALLS[call](logger, value)
        records = [r for r in captured(logger.run_dir) if isinstance(r, (Metrics, Params))]
        written = (tmp_path / name / "x.pt").read_bytes() if call.startswith("serialize") else result
        found.append(([(r.values, getattr(r, "step", None)) for r in records], written))
    assert found[0] == found[1] != ([], None)


def test_a_replicated_value_arrives_and_full_tensor_is_what_the_error_says(logger: JournalLogger) -> None:
    logger.log(spread(torch.tensor(2.5), Replicate()), "loss", step=0)
    logger.log(spread(torch.tensor(2.5), Replicate()).full_tensor(), "full", step=0)
    assert logger.reduce_now(spread(torch.tensor(2.5), Replicate())) == 2.5
    logger.flush(60)
    assert series(captured(logger), "loss") == series(captured(logger), "full") == {0: 2.5}


class Drawing:
    """A figure that reads what it shows when it is rendered."""

    def __init__(self, value: torch.Tensor) -> None:
        self.value = value

    def savefig(self, file: io.BytesIO, format: str) -> None:
        from PIL import Image

        Image.new("L", (1 + int(self.value.square().sum().tolist()), 1)).save(file, format=format)


VECTOR, MATRIX, IMAGE = torch.tensor([0.0, 1.0]), torch.eye(2), torch.zeros(4, 4)
# For each kind: items that hold a tensor, made from a tensor of that shape.
TENSORS: dict[str, list[tuple[torch.Tensor, Callable[[Any], Any]]]] = {
    "dict": [(VECTOR, lambda x: {"a": {"b": [x]}}), (VECTOR[0], lambda x: {"a": x})],
    "table": [
        (VECTOR, lambda x: pd.DataFrame({"a": pd.Series([x], dtype=object)})),
        (VECTOR[0], lambda x: (["a", "b"], [[1, x]])),
        (VECTOR, lambda x: {"a": x}),
        (VECTOR[0], lambda x: [{"a": x}]),
    ],
    "histogram": [
        (VECTOR, lambda x: x),
        (VECTOR[0], lambda x: [x, x]),
        (VECTOR, lambda x: ([3.0], x)),
        (VECTOR, lambda x: (x, [0.0, 1.0, 2.0])),
    ],
    "image": [(IMAGE, lambda x: x), (IMAGE, lambda x: [x, x]), (IMAGE.reshape(1, 4, 4, 1), lambda x: x)],
    "figure": [(VECTOR, Drawing), (VECTOR, lambda x: [Drawing(x)])],
    "audio": [(VECTOR, lambda x: x), (VECTOR, lambda x: [x])],
    "video": [(IMAGE.reshape(1, 4, 4), lambda x: x), (IMAGE.reshape(1, 1, 4, 4, 1), lambda x: x)],
    "dataset": [
        (VECTOR, lambda x: x),
        (VECTOR, lambda x: TensorDataset(x)),
        (VECTOR, lambda x: DataLoader(TensorDataset(x))),
    ],
    "torch": [(MATRIX, lambda x: x), (MATRIX, lambda x: {"a": [x, {"b": x}]})],
    "embedding": [(MATRIX, lambda x: x)],
    "pr_curve": [(VECTOR, lambda x: (x, VECTOR)), (VECTOR, lambda x: (VECTOR, x))],
}
FORWARDS = {"graph", "flops_pb", "flops_pe"}
MODELS = {"model", "best_model", "watch"}
SCALAR_KINDS = {"metric", "param"}
HOLD_NO_TENSORS = {
    "text", "html", "artifact", "alert", "system", "carbon", "execution_time", "prov_documents",
}  # fmt: skip
OF_ITEMS = [(kind, index) for kind, made in TENSORS.items() for index in range(len(made))]
PLACEMENTS = (Partial(), Shard(0))


def test_every_kind_is_tried() -> None:
    assert {*TENSORS, *FORWARDS, *MODELS, *SCALAR_KINDS, *HOLD_NO_TENSORS} == KINDS.keys()


@pytest.mark.parametrize(("kind", "index"), OF_ITEMS)
def test_an_item_that_holds_what_is_spread_over_ranks_is_refused(kind: str, index: int, logger: JournalLogger) -> None:
    tensor, item = TENSORS[kind][index]
    for placement in PLACEMENTS[: 2 if tensor.ndim else 1]:
        with pytest.raises(InvalidItemError, match=r"\.full_tensor\(\)"):
            logger.log(item(spread(tensor, placement)), "x", kind=kind)
    assert logger.flush(60)
    assert not [record for record in captured(logger) if isinstance(record, Item)]


@pytest.mark.parametrize(("kind", "index"), OF_ITEMS)
def test_an_item_that_holds_a_replicated_tensor_is_stored_as_the_tensor_would_be(kind: str, index: int) -> None:
    tensor, item = TENSORS[kind][index]
    with reading("x"):
        found = encode(item(spread(tensor, Replicate())), "x", kind, {})
    assert found == encode(item(tensor), "x", kind, {})


@pytest.mark.parametrize("kind", sorted(HOLD_NO_TENSORS - {"system", "carbon", "execution_time", "prov_documents"}))
def test_a_kind_without_tensors_refuses_one_as_any_other(kind: str, logger: JournalLogger) -> None:
    for placement in PLACEMENTS:
        with pytest.raises(InvalidItemError, match=f"{kind} 'x' is a .*: give"):
            logger.log(spread(VECTOR, placement), "x", kind=kind)


def plain_item(kind: str) -> Any:
    """An item that the kind takes where the options are right."""
    if kind in TENSORS:
        tensor, item = TENSORS[kind][0]
        return item(tensor)
    if kind in ("flops_pb", "flops_pe"):
        return nn.Linear(2, 2), [MATRIX]
    return {"metric": 1.0, "param": 1, **dict.fromkeys((*FORWARDS, *MODELS), nn.Linear(2, 2))}.get(kind, "x")


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"param"}))
def test_an_option_that_is_spread_over_ranks_is_refused(kind: str, logger: JournalLogger) -> None:
    for option in KINDS[kind].all_options:
        for placement in PLACEMENTS:
            with pytest.raises(InvalidItemError, match=rf"{option}=.*\.full_tensor\(\)"):
                logger.log(plain_item(kind), "x", kind=kind, **{option: spread(VECTOR, placement)})


NESTED_OPTIONS = [
    ("embedding", "metadata", [[VECTOR[0]], [VECTOR[1]]]),
    ("embedding", "label_img", [IMAGE, IMAGE]),
    ("pr_curve", "weights", [VECTOR[0], VECTOR[1]]),
    ("image", "caption", [VECTOR[0]]),
]


@pytest.mark.parametrize(
    ("kind", "option", "value"), NESTED_OPTIONS, ids=lambda each: each if str(each) == each else ""
)
def test_options_that_hold_what_is_spread_over_ranks_are_refused(
    kind: str, option: str, value: Any, logger: JournalLogger
) -> None:
    def partial(each: Any) -> Any:
        return list(map(partial, each)) if isinstance(each, list) else spread(each, Partial())

    item = [plain_item(kind)] if kind == "image" else plain_item(kind)
    with pytest.raises(InvalidItemError, match=r"\.full_tensor\(\)"):
        logger.log(item, "x", kind=kind, **{option: partial(value)})


class Communicates(nn.Linear):
    """A module whose forward needs all ranks, as one under tensor parallelism that is written by hand."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result = super().forward(x)
        dist.all_reduce(result)
        return result


class Swallows(Communicates):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        try:
            return super().forward(x)
        except TypeError:
            return x


def sharded() -> nn.Module:
    module = nn.Linear(2, 2)
    module.weight = nn.Parameter(spread(torch.ones(1, 2), Shard(0)))
    return module


FORWARD_CALLS: dict[str, Callable[[JournalLogger, nn.Module, Any], None]] = {
    "graph": lambda logger, module, x: logger.log(module, "x", kind="graph", input_example=x),
    "flops_pb": lambda logger, module, x: logger.log((module, x), "x", kind="flops_pb"),
    "flops_pe": lambda logger, module, x: logger.log((module, [x]), "x", kind="flops_pe"),
}


def test_every_kind_that_runs_a_forward_is_tried() -> None:
    assert FORWARD_CALLS.keys() == FORWARDS


@pytest.mark.parametrize("kind", sorted(FORWARDS))
def test_a_forward_that_needs_all_ranks_is_not_run_on_one(kind: str, logger: JournalLogger) -> None:
    with pytest.raises(InvalidItemError, match="the module is sharded over ranks, and its forward needs all of them"):
        FORWARD_CALLS[kind](logger, sharded(), MATRIX)
    with pytest.raises(InvalidItemError, match="not all of them log"):
        FORWARD_CALLS[kind](logger, Communicates(2, 2), MATRIX)
    with pytest.raises(InvalidItemError, match="not all of them log"):
        FORWARD_CALLS[kind](logger, Swallows(2, 2), MATRIX)
    with pytest.raises(InvalidItemError, match=r"\.full_tensor\(\)"):
        FORWARD_CALLS[kind](logger, nn.Linear(2, 2), spread(MATRIX, Shard(0)))
    FORWARD_CALLS[kind](logger, nn.Linear(2, 2), spread(MATRIX, Replicate()))


@pytest.mark.parametrize("kind", sorted(FORWARDS))
def test_the_module_inside_ddp_is_run_without_ddps_own_collectives(kind: str, logger: JournalLogger) -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    parallel = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    nn.Module.__init__(parallel)  # its own __init__ communicates
    parallel.module = module
    FORWARD_CALLS[kind](logger, parallel, MATRIX)
    assert module.training


def test_a_state_dict_that_needs_all_ranks_is_refused(logger: JournalLogger) -> None:
    module = nn.Linear(2, 2)
    module.register_state_dict_post_hook(lambda module, state, prefix, meta: dist.all_reduce(state["weight"]))
    with pytest.raises(InvalidItemError, match="model 'x' needs the other ranks"):
        logger.log(module, "x", kind="model")


def test_a_watched_module_shows_this_ranks_part_and_no_norm(logger: JournalLogger) -> None:
    module = sharded()
    module.bias = nn.Parameter(spread(torch.ones(2), Replicate()))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    logger.log(module, "net", kind="watch", log="all", log_freq=1)
    module.weight.grad = spread(torch.ones(1, 2), Shard(0))
    module.bias.grad = spread(torch.ones(2), Replicate())
    optimizer.step()
    assert logger.flush(60)
    records = captured(logger)
    parts = {record.name: record.meta for record in records if isinstance(record, Item)}
    assert {name for name, meta in parts.items() if meta == {"part": "rank 0"}} == {
        "gradients/net.weight", "parameters/net.weight",
    }  # fmt: skip
    assert {name for name, meta in parts.items() if meta == {}} == {"gradients/net.bias", "parameters/net.bias"}
    assert series(records, "grad_norm/net") == {}


def test_a_watched_module_whose_parameters_are_replicated_has_a_norm(logger: JournalLogger) -> None:
    module = nn.Linear(2, 1, bias=False)
    module.weight = nn.Parameter(spread(torch.ones(1, 2), Replicate()))
    logger.log(module, "net", kind="watch", log_freq=1)
    module.weight.grad = spread(torch.tensor([[3.0, 4.0]]), Replicate())
    torch.optim.SGD(module.parameters(), lr=0.1).step()
    assert logger.flush(60)
    assert series(captured(logger), "grad_norm/net") == {0: 5.0}


def test_gradients_that_are_still_reduced_are_left_out_with_a_warning(logger: JournalLogger) -> None:
    module = nn.Linear(2, 1, bias=False)
    logger.log(module, "net", kind="watch", log_freq=1)
    module.weight.grad = AsyncCollectiveTensor(torch.ones(1, 2))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.0)
    with pytest.warns(RanklogWarning, match="may still run"):
        optimizer.step()


def fake() -> torch.Tensor:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        return torch.ones(1)


def flat_parameter() -> torch.Tensor:
    from torch.distributed.fsdp._flat_param import FlatParameter

    return FlatParameter(torch.ones(1), requires_grad=True)


def sharded_tensor() -> torch.Tensor:
    from torch.distributed._shard.sharded_tensor import ShardedTensor

    return torch.Tensor._make_wrapper_subclass(ShardedTensor, (1,))


def parameter_of_zero() -> torch.Tensor:
    from enum import Enum

    parameter = nn.Parameter(torch.ones(1))
    parameter.ds_status = Enum("ZeroParamStatus", ["AVAILABLE", "NOT_AVAILABLE"]).NOT_AVAILABLE
    return parameter


UNREADABLE: dict[str, tuple[Callable[[], torch.Tensor], str]] = {
    "a nested tensor": (lambda: torch.nested.nested_tensor([torch.ones(1)]), r"\.unbind\(\)"),
    "a jagged tensor": (
        lambda: torch.nested.nested_tensor([torch.ones(1)], layout=torch.jagged), r"\.unbind\(\)",
    ),
    "a tensor on the meta device": (lambda: torch.ones(1, device="meta"), "no values"),
    "a DTensor of meta tensors": (lambda: spread(torch.ones(1, device="meta"), Replicate()), "no values"),
    "a fake tensor": (fake, "no values"),
    "a flat parameter": (flat_parameter, "summon_full_params"),
    "a sharded tensor": (sharded_tensor, r"\.gather\(\)"),
    "a parameter under ZeRO-3": (parameter_of_zero, "GatheredParameters"),
    "a running collective": (lambda: AsyncCollectiveTensor(torch.ones(1)), r"\.wait\(\)"),
    "a DTensor that is still communicated": (
        lambda: DTensor.from_local(
            AsyncCollectiveTensor(torch.ones(1)), init_device_mesh("cpu", (2,)), (Replicate(),), run_check=False
        ),
        r"\.wait\(\), or \.full_tensor\(\)",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("what", UNREADABLE)
def test_a_tensor_without_values_on_this_rank_is_refused_with_the_cure(what: str, logger: JournalLogger) -> None:
    make, cure = UNREADABLE[what]
    for kind in ("histogram", "torch", "audio", "dataset"):
        with pytest.raises(InvalidItemError, match=cure):
            logger.log(make(), "x", kind=kind)
    for call in ("log", "log_metrics", "reduce_now", "save_hyperparameters", "serialize", "log with a weight"):
        with pytest.raises(InvalidItemError, match=cure):
            CALLS[call](logger, make())
    with pytest.raises(InvalidItemError, match=cure):
        logger.log({"a": [make()]}, "x", kind="dict")
    with pytest.raises(InvalidItemError, match=cure):
        logger.log({"a": [make()]}, "x", kind="table")


def test_the_result_of_a_collective_that_was_awaited_is_taken(logger: JournalLogger) -> None:
    awaited = AsyncCollectiveTensor(torch.tensor(3.0))
    awaited.completed = True
    logger.log(awaited, "loss", step=0)
    logger.flush(60)
    assert series(captured(logger), "loss") == {0: 3.0}


class Spreads(torch.Tensor):
    """A tensor of a class that nobody here knows; reading it needs the other ranks."""

    @staticmethod
    def __new__(cls, device: str = "cpu") -> Spreads:
        return torch.Tensor._make_wrapper_subclass(cls, (), dtype=torch.float32, device=device)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return args[0]
        dist.all_reduce(torch.ones(1))
        return torch.ones(())


def test_a_tensor_of_an_unknown_class_cannot_communicate_either(logger: JournalLogger) -> None:
    # One that is stored as it is, is not read; that the index of a batch is a number is not asked.
    for call in (call for call in CALLS if not call.startswith("serialize") and "batch" not in call):
        if call != "should_log":
            with pytest.raises(
                (InvalidItemError, InvalidArgumentError),
                match=r"needs the other ranks|(step|weight)=a Spreads|not supported for tensor subclasses",
            ):
                CALLS[call](logger, Spreads())


@pytest.mark.parametrize("schedule", ["copies", "training"])
def test_scalars_on_cuda_follow_the_same_rule(
    schedule: str, monkeypatch: pytest.MonkeyPatch, logger: JournalLogger
) -> None:
    from torch.distributed.tensor._dtensor_spec import DTensorSpec, TensorMeta

    monkeypatch.setattr(cuda_copies, "_lanes", {})
    cuda = FakeCuda(monkeypatch, schedule)
    mesh = init_device_mesh("cpu", (2,))

    def on_cuda(placement: Placement) -> DTensor:
        meta = TensorMeta(torch.Size(()), (), torch.float32)
        return DTensor(cuda.tensor(2.5), DTensorSpec(mesh, (placement,), meta), requires_grad=False)

    with cuda.training():
        logger.log_metrics({"a": on_cuda(Replicate()), "b": 1.0}, step=0)
        for reduce in (None, "mean"):
            with pytest.raises(InvalidItemError, match=r"\.full_tensor\(\)"):
                logger.log(on_cuda(Partial()), "loss", step=0, reduce=reduce)
    with pytest.raises(InvalidItemError, match=r"\.full_tensor\(\)"):
        logger.reduce_now(on_cuda(Partial()))
    with pytest.raises(InvalidItemError, match="needs the other ranks"):
        logger.log(Spreads(device="cuda:0"), "loss", step=0)
    logger.flush(60)
    assert series(captured(logger), "a") == {0: 2.5}
    assert series(captured(logger), "loss") == {}


def test_arguments_in_the_wrong_order_do_not_communicate(logger: JournalLogger) -> None:
    with pytest.raises(InvalidArgumentError, match="identifier="):
        logger.log("loss", spread(torch.ones(()), Partial()))


def test_what_code_inside_swallows_is_raised_at_the_end() -> None:
    with pytest.raises(InvalidItemError, match="x needs the other ranks"), no_collectives("x"):
        try:
            dist.barrier()
        except TypeError:
            pass
    with pytest.raises(InvalidItemError, match=r"x is a DTensor .*\.full_tensor\(\)"), reading("x"):
        np.asarray([float("nan")])
        try:
            spread(VECTOR, Shard(0)).sum()
        except TypeError:
            pass
