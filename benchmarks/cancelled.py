"""How long does a share that nobody needs any more keep its worker busy?

    python benchmarks/cancelled.py [--products 40] [--quick]

Blocks of 2,000 x 4,000 float64, times 4,000 x 500: 8 GFLOP each, 8 data shares and 2 of parity on
ten workers. The two that hold parity begin when the others are half done, so that their shares are
cancelled in the middle of a product, as soon as all others have arrived. Nobody is waited for
(``coded.patience`` is zero). Two figures for each cancelled share:

* what the runtime reports: from the decision to the worker's word that the slot is free;
* what a user sees: after the result is there, how long until another task has run on every worker.
"""

import time
from typing import Any

import dask
import dask.array as da
import numpy as np
from _arms import PARITY, Size
from _goals import Goals, machine, options, quantiles
from distributed import wait
from tqdm import tqdm

from dask_coded.array import encode
from dask_coded.cluster import CodedSchedulerPlugin, report
from dask_coded.testing import ConstantDelay, EmulatedCluster, TaskFaults

FREE_WITHIN = 0.1
FULL = Size(workers=10, rows=16_000, columns=4_000, products=40, hold=0, latency=0, width=500)
QUICK = Size(workers=6, rows=1_600, columns=1_000, products=5, hold=0, latency=0, width=500)
NOBODY_IS_WAITED_FOR = {
    "coded.patience.factor": 0.0,
    "coded.patience.slow-factor": 0.0,
    "coded.patience.minimum": "0s",
    "coded.history": 10_000,
}


def probe(client: Any, cluster: EmulatedCluster) -> float:
    """Seconds until a task has run on every worker."""
    start = time.monotonic()
    wait(
        [
            client.submit(time.monotonic, workers=[worker.address], pure=False, priority=10)
            for worker in cluster.workers.values()
        ]
    )
    return time.monotonic() - start


def held_up(seconds: float) -> TaskFaults:
    """A worker that begins its product so much later than the others."""
    delay = ConstantDelay(seconds)
    return TaskFaults(seed=0, delay=delay, match="coded-matmul", interruptible=True)


def _products(dask_scheduler: Any = None) -> int:
    """How many groups of products the runtime knows."""
    groups = dask_scheduler.plugins[CodedSchedulerPlugin.name].conductor.groups.values()
    return sum(not group.spec.at_rest for group in groups)


def measure(size: Size, goals: Goals) -> None:
    taken: list[float] = []
    busy: list[float] = []
    with (
        dask.config.set(NOBODY_IS_WAITED_FOR),
        EmulatedCluster(size.workers, worker_preload=("_product_delays",)) as cluster,
        cluster.client() as client,
    ):
        prepared = encode(size.matrix(size.workers - PARITY), parity=PARITY).persist()
        wait(client.futures_of(prepared))
        x = client.scatter(size.operands()[0], broadcast=True)
        operand = da.from_delayed(x, (size.columns, size.width), dtype=float)
        idle = [probe(client, cluster) for _ in range(20)]
        parity = client.futures_of(prepared)[-PARITY:]
        holders = client.who_has(parity).values()
        while any(len(each) != 1 for each in holders):
            time.sleep(0.05)  # copies that parity was made of are on their way out
            holders = client.who_has(parity).values()
        names = {worker.address: name for name, worker in cluster.workers.items()}
        usual = 0.0
        for number in tqdm(range(1 + size.products), desc="products", leave=False, disable=None):
            for (address,) in holders:
                cluster.inject(names[address], held_up(usual / 2))
            start = time.monotonic()
            futures = client.compute((prepared @ operand).to_delayed().ravel().tolist())
            wait(futures)
            usual = usual or time.monotonic() - start
            if number:
                taken.append(time.monotonic() - start)
                busy.append(probe(client, cluster))
            del futures
            # Or the next product would find this one's outputs instead of computing them.
            while client.run_on_scheduler(_products):
                time.sleep(0.01)
        groups = [
            group
            for group in report(client).groups
            if group["resolve_seconds"] is not None and group["cancelled"]
        ]
    free = [seconds for group in groups for seconds in group["free_seconds"].values()]
    cancelled = sum(len(group["cancelled"]) for group in groups)
    print(f"{'seconds':42} {'p50':>8} {'p95':>8} {'p99':>8} {'worst':>8}")
    print(f"{'product':42} {quantiles(taken)}")
    print(f"{'slot of a cancelled share free, reported':42} {quantiles(free)}")
    print(f"{'a task on every worker after a product':42} {quantiles(busy)}")
    print(f"{'the same, on an idle cluster':42} {quantiles(idle)}")
    print(
        f"{cancelled} shares were cancelled, {len(free)} of them in the middle of their product; "
        "the others had ended, or not begun"
    )
    goals.raw |= {"product": taken, "free": free, "probe": busy, "idle": idle}
    goals.raw["cancelled"] = cancelled
    if free:
        part = float(np.mean(np.asarray(free) <= FREE_WITHIN))
        goals.at_least("part of slots free within 0.1 s, reported", part, 0.95)
        goals.at_most("p95 of slot free, reported", float(np.quantile(free, 0.95)), 0.1, " s")
    goals.at_most("p95 of a task on every worker", float(np.quantile(busy, 0.95)), 0.1, " s")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--products", type=int, default=None, help="how many products")
    args = parser.parse_args()
    size = QUICK if args.quick else FULL
    if args.products is not None:
        size = Size(**(vars(size) | {"products": args.products}))
    print(machine())
    goals = Goals()
    measure(size, goals)
    goals.print()
    goals.write(args.json)


if __name__ == "__main__":
    main()
