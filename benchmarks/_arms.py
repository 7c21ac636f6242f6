"""What the benchmarks on emulated clusters share: arms, faults from one seed, and what they cost.

An arm is a way to compute the same products; a scenario is what goes wrong meanwhile. Every arm
meets the same trace of a scenario and seed.
"""

import functools
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from _backup import Speculation
from distributed import Client, futures_of, wait

from dask_coded import Replication
from dask_coded.array import encode
from dask_coded.testing import (
    ConstantDelay,
    EmulatedCluster,
    FaultEvent,
    FaultTrace,
    TaskFaults,
)

SLOWDOWN = 10.0
PARITY = 2


@dataclass(frozen=True)
class Size:
    """A run: `products` of a ``(rows, columns)`` float64 matrix with `width` vectors.

    A worker is frozen for `hold` seconds; a task of the latency-bound regime takes `latency`. A
    product that takes longer than `patience` seconds counts as hung, and ends its run.
    """

    workers: int
    rows: int
    columns: int
    products: int
    hold: float
    latency: float
    width: int = 1
    patience: float = 45.0

    def matrix(self, parts: int) -> da.Array:
        """The matrix in `parts` chunks of rows; the same numbers in whatever chunks."""
        edges = [self.rows * part // parts for part in range(parts + 1)]
        chunks = (tuple(np.diff(edges).tolist()), (self.columns,))
        return da.map_blocks(_drawn, chunks=chunks, dtype=float, meta=np.empty((0, 0)))

    def operands(self) -> np.ndarray:
        """One for each product, ``(products, columns)`` or ``(products, columns, width)``."""
        shape = (self.products, self.columns, self.width)
        drawn = np.random.default_rng(0).normal(size=shape)
        return drawn[..., 0] if self.width == 1 else drawn


def _drawn(block_info: Any = None) -> np.ndarray:
    """Entries in [-1, 1) by mixing row and column numbers, a few hundred rows at a time."""
    (first, last), (_, columns) = block_info[None]["array-location"]
    block = np.empty((last - first, columns))
    across = np.arange(columns, dtype=np.uint32) * np.uint32(0x85EBCA77)
    for start in range(first, last, 256):
        rows = np.arange(start, min(start + 256, last), dtype=np.uint32)
        mixed = (rows * np.uint32(0x9E3779B1))[:, None] ^ across
        mixed ^= mixed >> np.uint32(15)
        mixed *= np.uint32(0x2C1B3C6D)
        mixed ^= mixed >> np.uint32(13)
        block[start - first : start - first + len(rows)] = mixed
    block *= 2.0**-31
    block -= 1.0
    return block


FULL = Size(workers=10, rows=16_000, columns=4_000, products=20, hold=30.0, latency=0.2)
QUICK = Size(workers=6, rows=300, columns=100, products=4, hold=2.5, latency=0.05)


@dataclass(frozen=True, eq=False)
class Arm:
    """A way to compute the products.

    ``prepare(matrix)`` gets the matrix in ``parts(workers)`` chunks, ``product(prepared, x)`` is
    timed. An arm `without_victim` has lost its victims beforehand and knows it.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    parts: Callable[[int], int] = lambda workers: workers
    prepare: Callable[[da.Array], Any] = lambda matrix: matrix.persist()
    product: Callable[[Any, np.ndarray], np.ndarray] = lambda a, x: (a @ x).compute()
    without_victim: bool = False


PLAIN = Arm("plain Dask")
TTL = Arm("Dask, worker-ttl 3 s", {"ttl": 3.0, "nanny": True})
CODED = Arm(
    "coded",
    parts=lambda workers: workers - PARITY,
    prepare=lambda matrix: encode(matrix, parity=PARITY).persist(),
)
REPLICATION = Arm(
    "replication, twice each",
    parts=lambda workers: workers // 2,
    prepare=lambda matrix: encode(
        matrix, code=Replication(2 * matrix.numblocks[0], matrix.numblocks[0])
    ).persist(),
)
BACKUP = Arm(
    "backup tasks, Spark's rule",
    prepare=Speculation.of,
    product=lambda speculation, x: speculation.multiply(x),
)
ORACLE = Arm("plain Dask without the victim", without_victim=True)

ARMS = {
    "coded": CODED,
    "plain": PLAIN,
    "ttl": TTL,
    "replication": REPLICATION,
    "backup": BACKUP,
    "oracle": ORACLE,
}


def chosen(text: str) -> list[Arm]:
    """Arms by their short names, for the command line."""
    return [ARMS[name] for name in text.split(",")]


@dataclass(frozen=True)
class Scenario:
    """What goes wrong: events for one worker, from a generator and the time of one product."""

    name: str
    events: Callable[[Size, str, np.random.Generator], Sequence[FaultEvent]]
    latency_bound: bool = False


def _moment(size: Size, rng: np.random.Generator) -> dict[str, Any]:
    """Soon after the start of a random product of the first half."""
    occurrence = int(rng.integers(1, max(size.products // 2, 2)))
    return {
        "after": "product-started",
        "occurrence": occurrence,
        "at": float(rng.uniform(0.0, 0.3)),
    }


def frozen(size: Size, victim: str, rng: np.random.Generator) -> Sequence[FaultEvent]:
    moment = _moment(size, rng)
    thaw = moment | {"at": moment["at"] + size.hold}
    return FaultEvent("freeze", victim, **moment), FaultEvent("thaw", victim, **thaw)


def killed(size: Size, victim: str, rng: np.random.Generator) -> Sequence[FaultEvent]:
    return (FaultEvent("kill", victim, **_moment(size, rng)),)


def slowed(size: Size, victim: str, rng: np.random.Generator) -> Sequence[FaultEvent]:
    return (FaultEvent("slow", victim, factor=SLOWDOWN),)


def delayed(size: Size, victim: str, rng: np.random.Generator) -> Sequence[FaultEvent]:
    return (FaultEvent("inject", victim, faults=latency(size, SLOWDOWN)),)


def healthy(size: Size, victim: str, rng: np.random.Generator) -> Sequence[FaultEvent]:
    return ()


HEALTHY = Scenario("healthy, CPU-bound", healthy)
SLOW = Scenario("one slow by 10, CPU-bound", slowed)
HEALTHY_LATENCY = Scenario("healthy, latency-bound", healthy, latency_bound=True)
SLOW_LATENCY = Scenario("one slow by 10, latency-bound", delayed, latency_bound=True)
SCENARIOS = [
    HEALTHY,
    Scenario("one frozen", frozen),
    Scenario("one killed", killed),
    SLOW,
    HEALTHY_LATENCY,
    SLOW_LATENCY,
]


def latency(size: Size, factor: float = 1.0) -> TaskFaults:
    """Product tasks are held up; work in slices may end its share of that early."""
    return TaskFaults(
        seed=0,
        delay=ConstantDelay(size.latency),
        factor=factor,
        match="matmul",
        interruptible=True,
    )


@dataclass(frozen=True)
class Outcome:
    """One run of one arm: seconds per product, and what they cost."""

    seconds: tuple[float, ...]
    error: float
    worker_seconds: float = 0.0
    moved: int = 0
    peak: int = 0
    started: tuple[float, ...] = ()
    """When each product began, s after the first."""
    struck: float | None = None
    """When the last worker was frozen or killed, on the same clock; None if none was."""
    hung: bool = False
    """Whether the last product was given up after the size's patience."""
    failed: str = ""
    """The exception that ended the run."""
    afterwards: Any = None
    """What the caller's own function found after the products."""


@functools.cache
def expected_products(size: Size) -> np.ndarray:
    """What every arm has to find, by NumPy; shape ``(products, rows[, width])``."""
    operands = size.operands()
    matrix = size.matrix(64)
    parts = [
        np.tensordot(operands, matrix.blocks[part].compute(scheduler="sync"), axes=(1, 1))
        for part in range(matrix.numblocks[0])
    ]
    products = np.concatenate(parts, axis=-1)
    return products if products.ndim == 2 else products.swapaxes(1, 2)


def within(seconds: float, function: Callable[..., Any], *args: Any) -> Any:
    """What ``function(*args)`` returns or raises, or TimeoutError; it is then left alone."""
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def call() -> None:
        try:
            answers.put((function(*args), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=call, daemon=True, name="product").start()
    try:
        value, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    return value


def victims_of(size: Size, seed: int, count: int = 1) -> list[str]:
    """Whom the faults of a seed meet."""
    drawn = np.random.default_rng(seed).permutation(size.workers)[:count]
    return [f"w{index}" for index in drawn]


def run(arm: Arm, scenario: Scenario, size: Size, seed: int) -> Outcome:
    """All products of one arm under the trace of `scenario` and `seed`, on a cluster of its own."""
    victims = victims_of(size, seed)
    events = scenario.events(size, victims[0], np.random.default_rng(seed))
    # Latency-bound work hardly computes, so that nobody waits for a processor: no quota.
    quota = None if scenario.latency_bound else 1.0
    delays = latency(size) if scenario.latency_bound else None
    return play(arm, size, FaultTrace(tuple(events), seed), victims, quota=quota, delays=delays)


def play(
    arm: Arm,
    size: Size,
    trace: FaultTrace,
    victims: Sequence[str],
    *,
    quota: float | None = None,
    delays: TaskFaults | None = None,
    settle: bool = True,
    afterwards: Callable[[EmulatedCluster, Client, Any], Any] | None = None,
) -> Outcome:
    """The products of one arm under a trace.

    With `settle` the operand is ready, and two products were computed, before the trace begins;
    without, the trace begins first, and the first product waits for all of that.
    """
    expected = expected_products(size)
    with (
        EmulatedCluster(
            size.workers,
            quota=quota,
            worker_preload=("_product_delays",) if delays else (),
            **arm.options,
        ) as cluster,
        cluster.client() as client,
    ):
        workers = size.workers
        if arm.without_victim:
            for victim in victims:
                cluster.kill(victim)
            workers -= len(victims)
            trace = FaultTrace((), trace.seed)
        for name in cluster.workers if delays else ():
            cluster.inject(name, delays)
        matrix = size.matrix(arm.parts(workers))
        if settle:
            prepared = arm.prepare(matrix)
            # Every share: a product would do without those that are still on their way.
            wait(futures_of(prepared))
            # Connections and imports are not what is measured.
            arm.product(prepared, size.operands()[0])
            arm.product(prepared, size.operands()[0])
        with trace.play(cluster) as playback:
            begin = time.monotonic()
            if trace.events and trace.events[0].after is None and settle:
                playback.wait(1)
            if not settle:
                prepared = arm.prepare(matrix)
            outcome = _products(arm, prepared, size, cluster, expected, begin)
            struck = [
                played.done for played in playback.record if played.event.kind in ("freeze", "kill")
            ]
        used, moved, peak = cost(cluster, client)
        found = None if afterwards is None else afterwards(cluster, client, prepared)
        return Outcome(
            **outcome,
            worker_seconds=used,
            moved=moved,
            peak=peak,
            struck=max(struck, default=None),
            afterwards=found,
        )


def _products(
    arm: Arm,
    prepared: Any,
    size: Size,
    cluster: EmulatedCluster,
    expected: np.ndarray,
    begin: float,
) -> dict[str, Any]:
    seconds: list[float] = []
    started: list[float] = []
    error, hung, failed = 0.0, False, ""
    for x, y in zip(size.operands(), expected, strict=True):
        cluster.signal("product-started")
        start = time.monotonic()
        try:
            result = within(size.patience, arm.product, prepared, x)
        except TimeoutError:
            hung = True
        except Exception as exception:
            failed = f"{type(exception).__name__}: {exception}"
        else:
            error = max(error, float(np.abs(result - y).max() / np.abs(y).max()))
        seconds.append(time.monotonic() - start)
        started.append(start - begin)
        if hung or failed:
            break
    return {
        "seconds": tuple(seconds),
        "started": tuple(started),
        "error": error,
        "hung": hung,
        "failed": failed,
    }


def cost(cluster: EmulatedCluster, client: Client) -> tuple[float, int, int]:
    """Worker-seconds of processor time, bytes sent between workers, largest memory of a worker.

    Of the workers that are up and answer; what a killed one did is lost with it.
    """
    workers = cluster.workers
    try:
        moved = within(10.0, lambda: client.run(_bytes_sent, on_error="ignore"))
    except (TimeoutError, OSError):
        moved = {}
    peaks = [_peak_memory(worker.pid) for worker in workers.values()]
    used = sum(cluster.cpu_seconds(name) for name in workers)
    return used, sum(moved.values()), max(peaks, default=0)


def _bytes_sent(dask_worker: Any = None) -> int:
    return int(dask_worker.transfer_outgoing_bytes_total)


def _peak_memory(pid: int) -> int:
    """Largest resident size so far, bytes; 0 where ``/proc`` does not tell."""
    status = Path(f"/proc/{pid}/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return 0
