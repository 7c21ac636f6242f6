"""What the benchmarks on emulated clusters share: arms, faults from one seed, and what they cost.

An arm is a way to compute the same products; a scenario is what goes wrong meanwhile. Every arm
meets the same trace of a scenario and seed.
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from distributed import Client

from dask_coded.testing import (
    ConstantDelay,
    EmulatedCluster,
    FaultEvent,
    FaultTrace,
    TaskFaults,
)

SLOWDOWN = 10.0


@dataclass(frozen=True)
class Size:
    """A run: `products` of a ``(rows, columns)`` float64 matrix with a vector.

    A worker is frozen for `hold` seconds; a task of the latency-bound regime takes `latency`.
    """

    workers: int
    rows: int
    columns: int
    products: int
    hold: float
    latency: float

    def matrix(self, seed: int) -> da.Array:
        """One chunk per worker, the same numbers wherever they are drawn."""
        rng = da.random.default_rng(seed)
        shape = (self.rows, self.columns)
        return rng.normal(size=shape, chunks=(self.rows // self.workers, self.columns))

    def vectors(self, seed: int) -> np.ndarray:
        """One operand per product."""
        return np.random.default_rng(seed).normal(size=(self.products, self.columns))


FULL = Size(workers=10, rows=16_000, columns=4_000, products=20, hold=30.0, latency=0.2)
QUICK = Size(workers=3, rows=300, columns=100, products=4, hold=1.0, latency=0.05)


@dataclass(frozen=True)
class Arm:
    """A way to compute the products.

    ``prepare(matrix)`` runs once, before anything goes wrong; ``product(prepared, vector)`` is
    timed. An arm `without_victim` has lost the worker beforehand and knows it.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[da.Array], Any] = lambda matrix: matrix.persist()
    product: Callable[[Any, np.ndarray], np.ndarray] = lambda a, x: (a @ x).compute()
    without_victim: bool = False


PLAIN = Arm("plain Dask")
TTL = Arm("Dask, worker-ttl 3 s", {"ttl": 3.0, "nanny": True})
ORACLE = Arm("plain Dask without the victim", without_victim=True)


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


SCENARIOS = [
    Scenario("healthy, CPU-bound", healthy),
    Scenario("one frozen", frozen),
    Scenario("one killed", killed),
    Scenario("one slow by 10, CPU-bound", slowed),
    Scenario("healthy, latency-bound", healthy, latency_bound=True),
    Scenario("one slow by 10, latency-bound", delayed, latency_bound=True),
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
    worker_seconds: float
    moved: int
    peak: int


@functools.cache
def expected_products(size: Size, seed: int) -> np.ndarray:
    """What every arm has to find, by NumPy; shape ``(products, rows)``."""
    matrix = size.matrix(seed).compute(scheduler="threads")
    return np.stack([matrix @ x for x in size.vectors(seed)])


def run(arm: Arm, scenario: Scenario, size: Size, seed: int) -> Outcome:
    """All products of one arm under the trace of `scenario` and `seed`, on a cluster of its own."""
    rng = np.random.default_rng(seed)
    victim = f"w{rng.integers(size.workers)}"
    events = tuple(scenario.events(size, victim, rng))
    matrix, vectors = size.matrix(seed), size.vectors(seed)
    expected = expected_products(size, seed)
    # Latency-bound work hardly computes, so that nobody waits for a processor: no quota.
    quota = None if scenario.latency_bound else 1.0
    with (
        EmulatedCluster(size.workers, quota=quota, **arm.options) as cluster,
        cluster.client() as client,
    ):
        if arm.without_victim:
            cluster.kill(victim)
            events = ()
        if scenario.latency_bound:
            for name in cluster.workers:
                cluster.inject(name, latency(size))
        prepared = arm.prepare(matrix)
        client.sync(_settled, prepared)
        arm.product(prepared, vectors[0])  # connections and imports are not what is measured
        seconds, error = [], 0.0
        with FaultTrace(events, seed).play(cluster) as playback:
            if events and events[0].after is None:
                playback.wait(1)
            for x, y in zip(vectors, expected, strict=True):
                cluster.signal("product-started")
                start = time.perf_counter()
                result = arm.product(prepared, x)
                seconds.append(time.perf_counter() - start)
                error = max(error, float(np.abs(result - y).max() / np.abs(y).max()))
        return Outcome(tuple(seconds), error, *cost(cluster, client))


async def _settled(prepared: Any) -> None:
    from distributed import futures_of, wait

    await wait(futures_of(prepared))


def cost(cluster: EmulatedCluster, client: Client) -> tuple[float, int, int]:
    """Worker-seconds of processor time, bytes sent between workers, largest memory of a worker.

    Of the workers that are up; what a killed one did is lost with it.
    """
    workers = cluster.workers
    moved = client.run(_bytes_sent, on_error="ignore")
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
