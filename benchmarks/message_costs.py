"""Cost of messages between ranks over loopback on this machine, the parameters of `benchmarks.round_costs`.

Starts groups of 2 to 8 processes. Writes JSON with time and processor time of gloo's all_reduce, the time to open a
group, TCP ping-pong, the wake-up delay of a thread next to a busy program, and the two numbers fitted from these.

python -m benchmarks.message_costs [OUT.json]
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import platform
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

OUT = Path(__file__).resolve().parent / "results" / "message_costs.json"
SIZES = (2, 3, 4, 6, 8)
VALUES = (1, 8, 2000)
CALLS = 200
LIMIT_S = 60.0
STORE_VALUE = 1024
MEETINGS = ("up", "counted", "opened", "counted again", "gets", "done")


class AllReduce(msgspec.Struct, frozen=True):
    """One all_reduce of float64 values over ``ranks`` processes.

    Attributes:
        ranks: World size.
        values: Length of the vector.
        messages: Messages that a rank sends per call in gloo's ring.
        median_us: Time of a call that waits for its result in C++.
        polled_us: The same through ranklog's `GlooGroup`, which polls for the result.
        cpu_us: Processor time of all threads per rank and call, as for ``median_us``.
        polled_cpu_us: The same as for ``polled_us``.
    """

    ranks: int
    values: int
    messages: float
    median_us: float
    polled_us: float
    cpu_us: float
    polled_cpu_us: float


class Opening(msgspec.Struct, frozen=True):
    """Opening one gloo group.

    Attributes:
        ranks: World size.
        lazy: Whether ``TORCH_GLOO_LAZY_INIT=1`` was set.
        ms: Time, median over ranks.
        keys: New keys in the store.
        sockets: Sockets per rank added by opening and a first all_reduce, including listeners and the event loop.
    """

    ranks: int
    lazy: bool
    ms: float
    keys: int
    sockets: int


class PingPong(msgspec.Struct, frozen=True):
    """Half of a round trip between two processes over a plain TCP socket.

    Attributes:
        size_bytes: Message size.
        busy: Whether two other processes kept both cores busy.
        median_us: Median.
        mean_us: Mean.
        p99_us: 99th percentile.
        over_500us: Share of messages that took longer than 500 µs.
    """

    size_bytes: int
    busy: bool
    median_us: float
    mean_us: float
    p99_us: float
    over_500us: float


class Wake(msgspec.Struct, frozen=True):
    """Delay of a Python thread after a sleep of 0.1 ms.

    Attributes:
        main_thread: Activity of the main thread during the sleep.
        median_us: Median.
        mean_us: Mean.
        p99_us: 99th percentile.
    """

    main_thread: str
    median_us: float
    mean_us: float
    p99_us: float


class MessageCosts(msgspec.Struct, frozen=True):
    """Everything measured.

    Attributes:
        machine: Description of the machine.
        cores: Number of its cores.
        hop_us: Time added by each further message of a ring, fitted over world sizes with one value.
        call_us: Time of a call beyond its messages, from the same fit.
        cpu_us: Processor time to send and receive a message, a Theil-Sen fit over all cases.
        cpu_call_us: Processor time of a call through `GlooGroup` beyond that of its messages, median over all cases.
        byte_ns: Time of one byte, from the ping-pong of 64 KiB.
        store_get_us: Time of torch's TCPStore for one get of 1 KiB while 8 ranks send requests.
        all_reduce: Measured calls.
        opening: Opening groups.
        ping_pong: Plain TCP.
        wake: Sleeping threads.
    """

    machine: str
    cores: int
    hop_us: float
    call_us: float
    cpu_us: float
    cpu_call_us: float
    byte_ns: float
    store_get_us: float
    all_reduce: list[AllReduce]
    opening: list[Opening]
    ping_pong: list[PingPong]
    wake: list[Wake]


def sent_messages(ranks: int, values: int) -> float:
    """Average number of messages per rank in gloo's ring all_reduce. Parts without values are not sent."""
    parts = 2 * ranks
    per_part = max(1, math.ceil(values / parts))
    return math.ceil(values / per_part) * 2 * (ranks - 1) / ranks


def _sockets() -> int:
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(str(link.readlink()).startswith("socket:") for link in links)


def _meet(store: Any, name: str, ranks: int) -> None:
    if store.add(name, 1) == ranks:
        store.set(f"{name}/all", "1")
    store.wait([f"{name}/all"])


def _rank(rank: int, ranks: int, port: int, lazy: bool) -> None:
    os.environ.update(GLOO_SOCKET_IFNAME="lo", TORCH_GLOO_LAZY_INIT="1" if lazy else "0")
    import torch
    import torch.distributed as dist

    from ranklog.world.torch.gloo import GlooGroup

    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port, is_master=False, timeout=timedelta(seconds=LIMIT_S))
    _meet(store, "up", ranks)
    keys = store.num_keys()
    _meet(store, "counted", ranks)
    before, began = _sockets(), time.perf_counter()
    group = dist.ProcessGroupGloo(dist.PrefixStore("group", store), rank, ranks, timedelta(seconds=LIMIT_S))
    opened_ms = (time.perf_counter() - began) * 1e3
    _meet(store, "opened", ranks)
    keys = store.num_keys() - keys - 2  # two groups have closed since
    _meet(store, "counted again", ranks)
    group.allreduce([torch.zeros(1)]).wait()
    told: dict[str, Any] = {"opened_ms": opened_ms, "keys": keys, "sockets": _sockets() - before, "calls": []}
    if not lazy:
        polled = GlooGroup(dist.PrefixStore("polled", store), range(ranks), rank, LIMIT_S)
        told["calls"] = [_calls(group, polled, values) for values in VALUES]
        store.set(f"value/{rank}", "x" * STORE_VALUE)
        _meet(store, "gets", ranks)
        began = time.perf_counter()
        for _ in range(CALLS):
            store.get(f"value/{rank}")
        told["get_us"] = (time.perf_counter() - began) / CALLS / ranks * 1e6
    store.set(f"told/{rank}", msgspec.json.encode(told).decode())
    _meet(store, "done", ranks)


def _calls(group: Any, polled: Any, values: int) -> tuple[float, float, float, float]:
    import torch

    def timed(call: Callable[[], object]) -> tuple[float, float]:
        for _ in range(CALLS // 10):
            call()
        times = []
        cpu = time.process_time()
        for _ in range(CALLS):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return statistics.median(times) * 1e6, (time.process_time() - cpu) / CALLS * 1e6

    tensor, vector = torch.zeros(values, dtype=torch.float64), np.zeros(values)
    median_us, cpu_us = timed(lambda: group.allreduce([tensor]).wait())
    polled_us, polled_cpu_us = timed(lambda: polled.all_reduce(vector, "sum", LIMIT_S))
    return median_us, polled_us, cpu_us, polled_cpu_us


def over_ranks(ranks: int, *, lazy: bool) -> tuple[list[AllReduce], Opening, float]:
    """Measure with ``ranks`` processes. The last result is the store's time for one get, NaN if lazy."""
    import torch.distributed as dist

    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=LIMIT_S))
    for meeting in MEETINGS:
        store.add(meeting, 0)  # from here on, only closing groups add keys
    server = multiprocessing.get_context("forkserver")  # imports torch once for all processes
    server.set_forkserver_preload(["torch.distributed", "ranklog.world.torch.gloo"])
    children = [server.Process(target=_rank, args=(rank, ranks, store.port, lazy)) for rank in range(ranks)]
    for child in children:
        child.start()
    try:
        told = [msgspec.json.decode(store.get(f"told/{rank}")) for rank in range(ranks)]
    finally:
        for child in children:
            child.join(LIMIT_S)
            child.kill()
    opening = Opening(
        ranks,
        lazy,
        statistics.median(each["opened_ms"] for each in told),
        max(each["keys"] for each in told),
        max(each["sockets"] for each in told),
    )
    calls = []
    for index, values in enumerate(VALUES if not lazy else ()):
        means = [statistics.mean(column) for column in zip(*(each["calls"][index] for each in told), strict=True)]
        calls.append(AllReduce(ranks, values, sent_messages(ranks, values), *means))
    return calls, opening, math.nan if lazy else max(each["get_us"] for each in told)


def _echo(listener: socket.socket, size: int, count: int) -> None:
    peer, _ = listener.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(count):
        peer.sendall(_exactly(peer, size))


def _exactly(peer: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view, got = memoryview(data), 0
    while got < size:
        got += peer.recv_into(view[got:])
    return data


def ping_pong(size_bytes: int, *, busy: bool, count: int = 4000) -> PingPong:
    """Send messages back and forth between two processes."""
    fork = multiprocessing.get_context("fork")  # two processes without torch, quick to start
    with socket.create_server(("127.0.0.1", 0)) as listener, _spinning(2 if busy else 0):
        child = fork.Process(target=_echo, args=(listener, size_bytes, count), daemon=True)
        child.start()
        with socket.create_connection(listener.getsockname(), timeout=LIMIT_S) as peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            message, times = b"x" * size_bytes, []
            for _ in range(count):
                start = time.perf_counter()
                peer.sendall(message)
                _exactly(peer, size_bytes)
                times.append((time.perf_counter() - start) / 2 * 1e6)
        child.join(LIMIT_S)
    late = sum(each > 500 for each in times) / count
    return PingPong(
        size_bytes, busy, statistics.median(times), statistics.mean(times), sorted(times)[count * 99 // 100], late
    )


def _spin() -> None:
    while True:
        pass


@contextmanager
def _spinning(processes: int) -> Any:
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=_spin, daemon=True) for _ in range(processes)]
    for child in children:
        child.start()
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.join()


def wake(main_thread: str, work: Callable[[], object], count: int = 2000) -> Wake:
    """Measure the wake-up delay of a thread while the main thread works."""
    late: list[float] = []

    def sleeper() -> None:
        for _ in range(count):
            start = time.perf_counter()
            time.sleep(1e-4)
            late.append((time.perf_counter() - start) * 1e6 - 100)

    thread = threading.Thread(target=sleeper, daemon=True)
    end_s = time.monotonic() + 10
    thread.start()
    while thread.is_alive() and time.monotonic() < end_s:
        work()
    late = sorted(late)
    return Wake(main_thread, statistics.median(late), statistics.mean(late), late[len(late) * 99 // 100])


def _python() -> None:
    for i in range(10_000):
        str(i)


def line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Fit slope and offset through points with outliers, with the medians of Theil and Sen."""
    slope = statistics.median((y - v) / (x - u) for (x, y), (u, v) in itertools.combinations(points, 2) if x != u)
    return slope, statistics.median(y - slope * x for x, y in points)


def measure() -> MessageCosts:
    """Run all."""
    pongs = [ping_pong(64, busy=False), ping_pong(65536, busy=False), ping_pong(64, busy=True)]
    import torch

    torch.set_num_threads(1)
    square = torch.ones(512, 512)
    wakes = [
        wake("waits", lambda: time.sleep(0.01)),
        wake("multiplies matrices of 512 in torch", lambda: square @ square),
        wake("runs Python without a pause", _python),
    ]
    calls: list[AllReduce] = []
    openings: list[Opening] = []
    get_us = math.nan
    for ranks in SIZES:
        some, opening, get_us = over_ranks(ranks, lazy=False)
        calls += some
        openings.append(opening)
    openings += [over_ranks(ranks, lazy=True)[1] for ranks in (4, 8)]
    single = [each for each in calls if each.values == 1]
    hop_us, call_us = line([(2 * (each.ranks - 1), each.median_us) for each in single])
    cpu_us, _ = line([(each.messages, each.cpu_us) for each in calls])
    cpu_call_us = statistics.median(each.polled_cpu_us - cpu_us * each.messages for each in calls)
    return MessageCosts(
        machine=f"{platform.machine()}, torch {torch.__version__}",
        cores=os.cpu_count() or 1,
        hop_us=hop_us,
        call_us=max(0.0, call_us),
        cpu_us=cpu_us,
        cpu_call_us=max(0.0, cpu_call_us),
        byte_ns=(pongs[1].median_us - pongs[0].median_us) / 65536 * 1e3,
        store_get_us=get_us,
        all_reduce=calls,
        opening=openings,
        ping_pong=pongs,
        wake=wakes,
    )


def main(out: Path) -> None:
    encoded = msgspec.json.format(msgspec.json.encode(measure()), indent=1)
    out.parent.mkdir(exist_ok=True)
    out.write_bytes(encoded + b"\n")
    print(encoded.decode())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else OUT)
