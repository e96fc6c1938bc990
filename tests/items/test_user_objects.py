"""What a user gives to `log` stays as it was: it can be copied, pickled, scripted, compiled and wrapped at any time.

The kinds that take a module come from `KINDS`. Each is tried right after the call, after a step of the training, and
after closing; a copy logs nothing by itself.
"""

from __future__ import annotations

import copy
import gc
import io
import pickle
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch._dynamo.testing import CompileCounter

from ranklog.loggers import JournalLogger, MLFlowLogger
from ranklog.model.content import Graph
from ranklog.model.errors import RanklogWarning
from ranklog.model.kinds import KINDS
from ranklog.model.record import Item, Metrics, Record
from ranklog.observe.graph import Listener
from ranklog.testing import captured

BATCH = torch.ones(2, 4)
OF_MODULES = sorted(kind for kind, row in KINDS.items() if "torch.nn.Module" in row.accepts or "(model," in row.accepts)
CALLS: dict[str, Callable[[nn.Module], tuple[Any, dict[str, Any]]]] = {
    "graph": lambda module: (module, {}),
    "watch": lambda module: (module, {"log_freq": 1, "log": "all"}),
    "model": lambda module: (module, {}),
    "best_model": lambda module: (module, {}),
    "flops_pb": lambda module: ((module, BATCH), {}),
    "flops_pe": lambda module: ((module, [BATCH]), {}),
}


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.linear(x)).relu()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(Block(), Block())
        self.head = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(x))


class Training:
    """A module with its optimizer, as a user has them."""

    def __init__(self) -> None:
        self.module = Net()
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=0.1, momentum=0.9)

    def step(self) -> None:
        self.module(BATCH).sum().backward()
        self.optimizer.step()


def state_of(training: Training) -> list[dict[str, object]]:
    """All attributes of the modules by identity, with what lies in mappings such as hooks; hooks of the optimizer."""

    def of(value: object) -> object:
        return sorted((str(key), id(each)) for key, each in value.items()) if isinstance(value, dict) else id(value)

    modules = [{name: of(value) for name, value in vars(each).items()} for each in training.module.modules()]
    optimizer = vars(training.optimizer)
    return [*modules, {name: of(value) if name.endswith("_hooks") else None for name, value in optimizer.items()}]


def common_hooks() -> dict[str, int]:
    """How many entries torch has of each sort of hooks that are common to all modules or optimizers."""
    import torch.nn.modules.module as modules
    import torch.optim.optimizer as optimizers

    found = {name: value for module in (modules, optimizers) for name, value in vars(module).items()}
    return {name: len(value) for name, value in found.items() if name.startswith("_global_") and "hooks" in name}


@pytest.fixture(params=OF_MODULES)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def test_every_kind_that_takes_a_module_is_tried() -> None:
    assert sorted(CALLS) == OF_MODULES


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[JournalLogger]:
    logger = JournalLogger(tmp_path / "logs", log_freq="batch", strategy="single")
    with logger.start_logging():
        yield logger


def log(logger: JournalLogger, kind: str, module: nn.Module) -> None:
    item, options = CALLS[kind](module)
    logger.log(item, "net", kind=kind, step=0, **options)


def copies_of(module: nn.Module, *, compiled: bool) -> dict[str, nn.Module]:
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    found = {
        "deep copy": copy.deepcopy(module),
        "pickle": pickle.loads(pickle.dumps(module)),
        "torch.save": torch.load(buffer, weights_only=False),
    }
    if compiled:
        found["script"] = torch.jit.script(module)
        found["trace"] = torch.jit.trace(copy.deepcopy(module).eval(), BATCH)
        found["compile"] = torch.compile(copy.deepcopy(module), backend="eager", fullgraph=True)
    return found


STAGES = ("after the call", "after a step", "after closing")


@pytest.mark.filterwarnings("ignore:`torch.jit")  # deprecated, and still in use
@pytest.mark.parametrize("stage", STAGES)
def test_a_module_and_its_optimizer_can_be_copied_in_every_way(stage: str, kind: str, tmp_path: Path) -> None:
    training = Training()
    training.step()
    before = state_of(training)
    common = common_hooks()
    logger = JournalLogger(tmp_path / "logs", log_freq="batch", strategy="single")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RanklogWarning)  # a graph may never be asked for
        with logger.start_logging():
            log(logger, kind, training.module)
            if stage == "after a step":
                training.step()
            if stage != "after closing":
                check_copies(stage, training, before, logger)
    if stage == "after closing":
        check_copies(stage, training, before, None)
    assert common_hooks() == common


def check_copies(stage: str, training: Training, before: list[dict[str, object]], logger: JournalLogger | None) -> None:
    assert state_of(training) == before
    if logger is not None:
        logger.flush(60)
        logged = len(values(captured(logger)))
    expected = training.module.eval()(BATCH) if logger is None else None
    training.module.train()
    for how, other in copies_of(training.module, compiled=stage == "after the call").items():
        other.eval()
        result = other(BATCH)
        assert result.shape == (2, 1), how
        assert expected is None or torch.equal(result, expected), how
        assert b"ranklog" not in pickle.dumps(vars(other)) if how in ("deep copy", "pickle", "torch.save") else True
    for other in (copy.deepcopy(training.optimizer), pickle.loads(pickle.dumps(training.optimizer))):
        other.step()
        assert other.state_dict()["param_groups"] == training.optimizer.state_dict()["param_groups"]
    if logger is not None:
        logger.flush(60)
        assert len(values(captured(logger))) == logged, "a copy has logged"


def test_a_module_can_be_wrapped_in_ddp_and_compiled_after_the_call(kind: str, logger: JournalLogger) -> None:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        training = Training()
        log(logger, kind, training.module)
        parallel = nn.parallel.DistributedDataParallel(training.module)
        compiled = torch.compile(parallel, backend="eager")
        for _ in range(2):
            compiled(BATCH).sum().backward()
            training.optimizer.step()
        logger.flush(60)
    finally:
        dist.destroy_process_group()
    found = items(captured(logger))
    if kind == "graph":
        assert [item.name for item in found] == ["net"]
    if kind == "watch":
        steps = {item.step for item in found if item.name == "gradients/net.head.weight"}
        assert steps == {0, 1}


def values(records: list[Record]) -> list[Record]:
    return [record for record in records if isinstance(record, (Item, Metrics))]


def items(records: list[Record]) -> list[Item]:
    return [record for record in records if isinstance(record, Item)]


@pytest.mark.slow
@pytest.mark.parametrize("before", ["the forward", "closing"])
def test_after_kind_graph_the_module_is_stored_as_a_model_of_mlflow(before: str, tmp_path: Path) -> None:
    logger = MLFlowLogger(savedir=tmp_path, forward="later")
    module = Net()
    with logger.start_logging():
        logger.log(module, "graph", kind="graph", step=0)
        if before == "closing":
            module(BATCH)
        logger.log(module, "net", kind="model", step=0)
        if before == "the forward":
            module(BATCH)
        logger.flush(60)
        assert sorted(item.kind for item in items(captured(logger))) == ["graph", "model"]
        (stored,) = [item for item in items(captured(logger)) if item.kind == "model"]
    assert any(file.path.endswith("model.pth") for file in stored.files)


def graph_of(module: nn.Module, call: Callable[[], object]) -> Graph | None:
    graphs: list[Graph] = []
    listener = Listener(module, graphs.append)
    call()
    assert listener.stop() is not bool(graphs)
    return graphs[0] if graphs else None


class TakesKeywords(nn.Module):
    def forward(self, x: torch.Tensor, *, scale: torch.Tensor, unused: torch.Tensor | None = None) -> torch.Tensor:
        return x * scale + torch.ones(4)


def test_inputs_by_keyword_are_inputs_of_the_graph_as_well() -> None:
    module = TakesKeywords()
    scale = torch.ones(4)
    graph = graph_of(module, lambda: module(BATCH, scale=scale, unused=torch.ones(3)))
    nodes = {node.name: node for node in graph.nodes}
    assert list(nodes)[:3] == ["input", "input_1", "input_2"]
    assert [nodes[name].shape for name in list(nodes)[:3]] == [[2, 4], [4], [3]]
    assert nodes["mul"].inputs == ["input", "input_1"] and nodes["add"].inputs == ["mul", "ones"]
    assert nodes["output"].inputs == ["add"]


def test_only_by_keyword_is_the_first_input() -> None:
    module = nn.Linear(4, 4)
    graph = graph_of(module, lambda: module(input=BATCH))
    assert {node.name: node.inputs for node in graph.nodes}["linear"] == ["input", "weight", "bias"]


@pytest.mark.parametrize("in_place", [False, True], ids=["torch.compile", "module.compile"])
@pytest.mark.parametrize("warm", [False, True])
def test_a_compiled_module_is_traced_in_full_and_not_compiled_anew(warm: bool, in_place: bool) -> None:
    torch._dynamo.reset()
    counter = CompileCounter()
    module = Net().eval()
    if in_place:
        module.layers[0].compile(backend=counter, fullgraph=True)
        compiled: Any = module
    else:
        compiled = torch.compile(module, backend=counter, fullgraph=True)
    if warm:
        compiled(BATCH)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        graph = graph_of(module, lambda: compiled(BATCH))
    assert "layers/0/relu" in {node.name for node in graph.nodes}
    for _ in range(2):
        assert torch.equal(compiled(BATCH), module(BATCH))
    assert counter.frame_count == 1


def test_where_no_forward_can_be_seen_it_is_said_at_closing(tmp_path: Path) -> None:
    torch._dynamo.reset()
    logger = JournalLogger(tmp_path / "logs", strategy="single")
    module = Net().eval()
    module.compile(backend="eager", fullgraph=True)
    said = "graph 'net': no forward of the module was seen.*give input_example"
    with pytest.warns(RanklogWarning, match=said), logger.start_logging():
        logger.log(module, "net", kind="graph")
        module(BATCH)
    logger = JournalLogger(tmp_path / "logs", strategy="single")
    with logger.start_logging():
        logger.log(module, "net", kind="graph", input_example=BATCH)
        logger.flush(60)
        assert len(items(captured(logger))) == 1


def test_a_module_that_is_awaited_can_be_freed() -> None:
    module = Net()
    seen = weakref.ref(module)
    listener = Listener(module, lambda graph: None)
    module = None  # type: ignore[assignment]
    gc.collect()
    assert seen() is None
    nn.ReLU()(BATCH)
    assert not any(common_hooks().values()), "a module that is gone is awaited no longer"
    assert listener.stop(), "nothing was heard"


def test_the_forward_of_another_module_or_thread_is_no_part_of_the_graph() -> None:
    module, other = Net(), nn.Sequential(nn.Tanh())
    inside, outside = threading.Event(), threading.Event()

    class Waits(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            inside.set()
            assert outside.wait(60)
            return x.sin()

    def beside() -> None:
        assert inside.wait(60)
        other(BATCH)
        outside.set()

    module.layers.append(Waits())
    thread = threading.Thread(target=beside)
    thread.start()
    other(BATCH)
    graph = graph_of(module, lambda: module(BATCH))
    thread.join()
    names = [node.name for node in graph.nodes]
    assert "layers/2/sin" in names and "head/linear" in names and not any("tanh" in name for name in names)


def test_a_module_that_calls_itself_is_one_graph() -> None:
    class Twice(nn.Module):
        def forward(self, x: torch.Tensor, times: int = 2) -> torch.Tensor:
            return x.sin() if times == 0 else self(x.cos(), times - 1) + 1

    module = Twice()
    graph = graph_of(module, lambda: module(BATCH))
    assert [node.op for node in graph.nodes] == ["input", "cos", "cos", "sin", "add", "add", "output"]


def test_a_replica_of_data_parallel_is_the_module() -> None:
    module = nn.Tanh()
    replica = module._replicate_for_data_parallel()
    assert [node.op for node in graph_of(module, lambda: replica(BATCH)).nodes] == ["input", "tanh", "output"]


def test_closing_in_the_midst_of_a_forward_leaves_the_forward_alone(tmp_path: Path) -> None:
    logger = JournalLogger(tmp_path / "logs", strategy="single")

    class Closes(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logger.destroy_logger_context()
            return x.sin()

    module = nn.Sequential(Closes(), nn.Tanh())
    logger.create_logger_context()
    logger.log(module, "net", kind="graph")
    with pytest.warns(RanklogWarning, match="no forward of the module was seen"):
        assert module(BATCH).shape == (2, 4)
    assert not any(common_hooks().values())
    assert module(BATCH).shape == (2, 4)
    assert items(captured(logger.run_dir)) == []
