"""Scalars on devices: the value at the time of the call is journaled, and the training thread never waits for it."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from fake_cuda import GARBAGE, FakeCuda

from ranklog.loggers import JournalLogger
from ranklog.model.errors import InvalidItemError
from ranklog.model.record import Metrics
from ranklog.testing import captured, series
from ranklog.values import cuda as cuda_copies
from ranklog.values.snapshot import take, take_mapping

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here: torch.cuda.is_available()")


@pytest.fixture(params=["copies", "training"])
def cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """A fake device under both extremes of what a real one may run first."""
    monkeypatch.setattr(cuda_copies, "_lanes", {})
    return FakeCuda(monkeypatch, request.param)


@pytest.fixture
def logger() -> Iterator[JournalLogger]:
    logger = JournalLogger(log_freq="batch")
    with logger.start_logging():
        yield logger


def journaled(logger: JournalLogger, name: str) -> dict[int, float]:
    """What the drain thread brings to the journal by itself, without `flush`."""
    deadline = time.monotonic() + 30
    while not (found := series(captured(logger), name)):
        assert time.monotonic() < deadline, f"{name} did not reach the journal"
        time.sleep(0.01)
    return found


def test_a_cuda_scalar_is_journaled_as_it_was_when_logged(cuda: FakeCuda, logger: JournalLogger) -> None:
    loss = cuda.tensor(0.25)
    with cuda.training():
        logger.log(loss, "loss", step=1)
        loss.fill_(9.0)
        logger.log(loss, "later", step=1)
        del loss
        assert journaled(logger, "loss") == {1: 0.25}
        assert journaled(logger, "later") == {1: 9.0}
    assert {what for _, what in cuda.waits} == {"Event.synchronize()"}
    assert threading.current_thread().name not in {thread for thread, _ in cuda.waits}


def test_log_returns_while_the_device_is_busy(cuda: FakeCuda, logger: JournalLogger) -> None:
    cuda.idle.clear()
    with cuda.training():
        for step in range(20):
            loss = cuda.tensor(float(step))
            logger.log(loss, "loss", step=step)
            logger.log_metrics({"a": loss, "b": loss * 2}, step=step)
            loss.fill_(-1.0)
    assert series(captured(logger), "loss") == {}
    cuda.idle.set()
    logger.flush()
    records = captured(logger)
    assert series(records, "loss") == {step: float(step) for step in range(20)}
    assert series(records, "b") == {step: 2.0 * step for step in range(20)}


def test_fifty_cuda_scalars_of_one_call_cost_two_kernels_and_one_transfer(
    cuda: FakeCuda, logger: JournalLogger
) -> None:
    values = {f"m{i:02}": cuda.tensor(float(i)) for i in range(50)}
    with cuda.training():
        logger.log_metrics(values, step=0)
        for value in values.values():
            value.fill_(-1.0)
    assert cuda.kernels[:2] == ["aten.stack.default", "aten._to_copy.default"]
    assert len(cuda.kernels) == 2 + 50
    assert cuda.transfers == 1
    logger.flush()
    assert [series(captured(logger), name) for name in values] == [{0: float(i)} for i in range(50)]


def test_values_of_all_dtypes_devices_and_kinds_keep_their_names_order_and_digits(
    cuda: FakeCuda, logger: JournalLogger
) -> None:
    values = {
        "half": cuda.tensor(0.5, torch.bfloat16),
        "python": 1.5,
        "wide, on a second device": cuda.tensor(0.1, torch.float64, device=1),
        "large": cuda.tensor(2**53 - 1),
        "on cpu": torch.tensor(4.5),
        "small": cuda.tensor(0.25),
        "flag": cuda.tensor(True),
        "one element": cuda.tensor([[6.5]]),
        "other large": cuda.tensor(-(2**53) + 1),
    }
    with cuda.training():
        logger.log_metrics(values, step=0)
        for value in values.values():
            if isinstance(value, torch.Tensor):
                value.fill_(-1)
    assert cuda.transfers == 2
    logger.flush()
    (record,) = [record for record in captured(logger) if isinstance(record, Metrics)]
    assert list(record.values.items()) == [
        ("half", 0.5), ("python", 1.5), ("wide, on a second device", 0.1), ("large", 2.0**53 - 1),
        ("on cpu", 4.5), ("small", 0.25), ("flag", 1.0), ("one element", 6.5), ("other large", -(2.0**53) + 1),
    ]  # fmt: skip


def test_values_of_a_users_own_stream_are_waited_for_there(cuda: FakeCuda, logger: JournalLogger) -> None:
    with cuda.training(), torch.cuda.stream(torch.cuda.Stream(0)):
        loss = cuda.tensor(0.5)
        logger.log(loss, "loss", step=0)
        loss.fill_(9.0)
    assert journaled(logger, "loss") == {0: 0.5}


def test_pinned_memory_is_allocated_once_in_thousands_of_values_and_never_shared(
    cuda: FakeCuda, logger: JournalLogger
) -> None:
    cuda.idle.clear()
    loss = cuda.tensor(0.0)
    with cuda.training():
        for step in range(100):
            loss.fill_(step)
            logger.log_metrics(dict.fromkeys([f"m{i:02}" for i in range(50)], loss), step=step)
    assert len(cuda.pinned) == 2
    cuda.idle.set()
    logger.flush()
    assert series(captured(logger), "m49") == {step: float(step) for step in range(100)}


def test_more_values_than_a_slab_holds_fit_into_one_call(cuda: FakeCuda) -> None:
    count = cuda_copies.SLAB_VALUES + 1
    one = cuda.tensor(1.5)
    taken = take_mapping({str(i): one for i in range(count)})
    assert {value.resolve() for value in taken.values() if not isinstance(value, float)} == {1.5}
    assert len(taken) == count


def test_logging_begun_in_inference_mode_goes_on_outside_of_it(cuda: FakeCuda, logger: JournalLogger) -> None:
    with cuda.training():
        with torch.inference_mode():
            validated = cuda.tensor(0.5)
            logger.log(validated * 1, "loss", step=0)
        logger.log(validated, "loss", step=1)
        logger.log(cuda.tensor(1.5), "loss", step=2)
    logger.flush()
    assert series(captured(logger), "loss") == {0: 0.5, 1: 0.5, 2: 1.5}


def test_a_loss_that_needs_gradients_is_taken_without_its_graph(cuda: FakeCuda, logger: JournalLogger) -> None:
    loss = cuda.tensor(0.5).requires_grad_()
    with cuda.training():
        logger.log(loss, "one", step=0)
        logger.log_metrics({"two": loss, "three": loss}, step=0)
        with torch.no_grad():
            loss.add_(1.0)
    assert journaled(logger, "one") == journaled(logger, "two") == {0: 0.5}


def test_a_tensor_of_a_graph_being_captured_is_refused_and_other_values_are_not(
    cuda: FakeCuda, logger: JournalLogger
) -> None:
    loss = cuda.tensor(0.5)
    cuda.capturing = threading.current_thread()
    with cuda.training():
        with pytest.raises(InvalidItemError, match=r"'loss' is logged while a CUDA graph is captured.*replay\(\)"):
            logger.log(loss, "loss", step=0)
        logger.log(torch.tensor(1.5), "on cpu", step=0)
    cuda.capturing = None
    assert cuda.kernels == []
    assert journaled(logger, "on cpu") == {0: 1.5}


def test_values_in_flight_neither_break_a_graph_capture_of_training_nor_are_lost(
    cuda: FakeCuda, logger: JournalLogger
) -> None:
    cuda.idle.clear()
    logger.log(cuda.tensor(0.5), "loss", step=0)
    cuda.capturing = threading.current_thread()
    cuda.idle.set()
    assert journaled(logger, "loss") == {0: 0.5}
    assert cuda.capturing is threading.current_thread()


def test_a_forked_child_frees_nothing_of_the_device_and_lives(cuda: FakeCuda) -> None:
    value = take(cuda.tensor(0.5), "loss")
    child = os.fork()
    if child == 0:
        del value
        gc.collect()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not isinstance(value, float)
    assert value.resolve() == 0.5


def test_two_values_are_no_scalar_wherever_they_lie(cuda: FakeCuda, logger: JournalLogger) -> None:
    for many in (cuda.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0])):
        with cuda.training(), pytest.raises(InvalidItemError, match=r"'loss' is a .*Tensor of shape \(2,\)"):
            logger.log(many, "loss")


@pytest.fixture
def nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever reads a tensor or waits for a device raises in this thread, and works in others."""
    training = threading.current_thread()

    def guarded(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            assert threading.current_thread() is not training, f"{name} in the training thread"
            return real(*args, **kwargs)

        return call

    for name in ("item", "__float__", "__int__", "__bool__", "__index__", "__array__", "tolist", "numpy", "cpu"):
        monkeypatch.setattr(torch.Tensor, name, guarded(name, getattr(torch.Tensor, name)))
    monkeypatch.setattr(torch.cuda, "synchronize", guarded("synchronize", torch.cuda.synchronize))


@pytest.mark.usefixtures("nothing_is_read")
def test_tensors_on_the_cpu_are_read_by_the_drain_thread(logger: JournalLogger) -> None:
    loss = torch.tensor(0.5, requires_grad=True)
    logger.log(loss, "loss", step=0)
    logger.log_metrics({"a": loss, "b": torch.tensor([2]), "c": 3.0}, step=0, reduce="mean")
    logger.log({"d": loss}, "more", step=0)
    with torch.no_grad():
        loss.fill_(9.0)
    assert journaled(logger, "loss") == {0: 0.5}
    assert journaled(logger, "more/d") == {0: 0.5}
    with pytest.raises(AssertionError, match="__float__ in the training thread"):
        float(loss)


def test_the_fake_device_shows_what_is_not_ordered(cuda: FakeCuda) -> None:
    """The other tests prove something only if a missing wait, a missing record or a read would be seen."""
    loss = cuda.tensor(0.5)
    with cuda.training():
        for read in (float, bool, torch.Tensor.item, lambda t: t.cpu(), lambda t: t.to("cpu"), lambda t: t.tolist()):
            with pytest.raises(AssertionError, match="makes the training thread wait"):
                read(loss)
        with pytest.raises(AssertionError, match="makes the training thread wait"):
            torch.empty(()).copy_(loss, non_blocking=True)
    side, pinned, done = torch.cuda.Stream(0), torch.empty((), pin_memory=True), torch.cuda.Event(blocking=True)
    with torch.cuda.stream(side):
        pinned.copy_(loss * 1 if cuda.schedule == "training" else loss, non_blocking=True)
    done.record(side)
    assert float(pinned) == GARBAGE
    done.synchronize()
    assert float(pinned) == (0.5 if cuda.schedule == "training" else GARBAGE)


@contextmanager
def sync_is_an_error() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@contextmanager
def busy_device() -> Iterator[None]:
    """A kernel of seconds runs on the current stream; fails if it is done before the block is."""
    running = torch.cuda.Event()
    torch.cuda._sleep(4_000_000_000)
    running.record()
    yield
    assert not running.query(), "the block waited for the device"


@needs_gpu
def test_a_real_device_is_never_waited_for_and_its_values_are_right(logger: JournalLogger) -> None:
    loss = torch.tensor(0.25, device="cuda", requires_grad=True)
    many = {f"m{i:02}": torch.tensor(float(i), device="cuda") for i in range(50)}
    many |= {"half": torch.tensor(0.5, device="cuda", dtype=torch.bfloat16), "int": torch.tensor(7, device="cuda")}

    def train(steps: range) -> None:
        for step in steps:
            logger.log(loss, "loss", step=step)
            logger.log_metrics(many, step=step)
            with torch.no_grad():
                for value in (loss, *many.values()):
                    value.add_(1)

    # The first calls pin memory and load kernels, which may wait for the device.
    train(range(1))
    logger.flush()
    with sync_is_an_error(), busy_device():
        train(range(1, 4))
    logger.flush()
    records = captured(logger)
    assert series(records, "loss") == {0: 0.25, 1: 1.25, 2: 2.25, 3: 3.25}
    assert series(records, "m49") == {0: 49.0, 1: 50.0, 2: 51.0, 3: 52.0}
    assert series(records, "half") == {0: 0.5, 1: 1.5, 2: 2.5, 3: 3.5}
    assert series(records, "int") == {0: 7.0, 1: 8.0, 2: 9.0, 3: 10.0}


@needs_gpu
def test_a_real_value_of_a_users_own_stream_is_right(logger: JournalLogger) -> None:
    def train(step: int) -> None:
        loss = torch.ones((), device="cuda") * 0.5
        logger.log(loss, "loss", step=step)
        loss.fill_(9.0)

    with torch.cuda.stream(torch.cuda.Stream()):
        train(0)
        logger.flush()
        with busy_device():
            train(1)
    logger.flush()
    assert series(captured(logger), "loss") == {0: 0.5, 1: 0.5}


@needs_gpu
def test_a_real_graph_capture_refuses_its_tensors_and_survives_values_in_flight(logger: JournalLogger) -> None:
    source = torch.tensor(0.5, device="cuda")
    in_flight = take(source, "loss")
    assert not isinstance(in_flight, float)
    results: list[float] = []
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        doubled = source * 2
        with pytest.raises(InvalidItemError, match="while a CUDA graph is captured"):
            logger.log(doubled, "loss", step=0)
        drain = threading.Thread(target=lambda: results.append(in_flight.resolve()))
        drain.start()
        drain.join(120)
    assert results == [0.5]
    graph.replay()
    logger.log(doubled, "loss", step=0)
    logger.flush()
    assert series(captured(logger), "loss") == {0: 1.0}
