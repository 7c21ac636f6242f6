"""Is anything left after a thousand groups with faults?

    python benchmarks/leaks.py [--groups 1000] [--quick]

Products one after the other while share tasks are late at random on every worker and fail on one
after the other, and one worker after the other is frozen, killed or replaced. At intervals the
resident memory of the scheduler, and of the largest worker that was there from the start, is
printed. In the end no task may be known to scheduler or workers, and the runtime may hold no group.

Dask's scheduler keeps a span of every computation for good, so that its memory grows anyway;
as many plain products, without a fault, say by how much.
"""

import gc
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import dask
import numpy as np
import psutil
from _arms import PARITY, Size, within
from _goals import Goals, machine, options
from tqdm import tqdm

from dask_coded.array import encode
from dask_coded.cluster import CodedSchedulerPlugin, report
from dask_coded.errors import EmulationError
from dask_coded.testing import (
    EmulatedCluster,
    FaultTrace,
    ShiftedExponential,
    TaskFaults,
    assert_clean,
)

MIB = 1 << 20
SIZE = Size(workers=6, rows=1_200, columns=400, products=1, hold=3.0, latency=0.0)
PATIENCE = 60.0
#: The runtime remembers so many groups for its report; it is full long before the end.
REMEMBERED = 100
#: Growth of memory that is put down to the allocator, of what there was when it had settled.
GROWTH = 0.05


def held(dask_scheduler: Any) -> dict[str, int]:
    """What the runtime holds besides its report."""
    conductor = dask_scheduler.plugins[CodedSchedulerPlugin.name].conductor
    return {
        name: len(value)
        for name, value in vars(conductor).items()
        if isinstance(value, (dict, set, list)) and name not in ("_suspects", "_slow") and value
    }


def _product(prepared: Any, x: np.ndarray) -> np.ndarray:
    return (prepared @ x).compute()


def resident(pid: int) -> float:
    """MiB; none where the process was killed just now."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).memory_info().rss / MIB
    return 0.0


def faults_of(seed: int, groups: int, cluster: EmulatedCluster) -> FaultTrace:
    """A worker frozen or killed every three seconds or so, put right after three more."""
    return FaultTrace.random(
        seed,
        list(cluster.workers),
        kinds=("freeze", "kill"),
        duration=float(groups),
        rate=0.3,
        hold=SIZE.hold,
    )


def measure(groups: int, seed: int, goals: Goals) -> None:
    late = TaskFaults(seed, delay=ShiftedExponential(0.0, 0.01), match="coded-matmul")
    # On one worker at a time: no more than the parity bears, with one that is frozen.
    failing = replace(late, raise_rate=0.3)
    plain = plain_growth(groups)
    operand = np.random.default_rng(seed).normal(size=SIZE.columns)
    samples: list[tuple[int, float, float]] = []
    worst, wrong = 0.0, 0
    failed: list[str] = []
    with (
        dask.config.set({"coded.history": REMEMBERED}),
        EmulatedCluster(SIZE.workers, worker_preload=("_product_delays",)) as cluster,
        cluster.client() as client,
    ):
        matrix = SIZE.matrix(SIZE.workers - PARITY)
        truth = matrix.compute(scheduler="sync")
        prepared = encode(matrix, parity=PARITY).persist()
        print(f"{'groups':>7} {'scheduler MiB':>14} {'a worker MiB':>13} {'state held':>11}")
        with faults_of(seed, groups, cluster).play(cluster) as playback:
            for number in tqdm(range(groups), leave=False, disable=None):
                for place, name in enumerate(cluster.workers):
                    with suppress(EmulationError):  # killed just now
                        cluster.inject(name, failing if number % SIZE.workers == place else late)
                x = operand + number
                start = time.monotonic()
                try:
                    found = within(PATIENCE, _product, prepared, x)
                except Exception as error:
                    failed.append(f"group {number}: {type(error).__name__}: {error}"[:200])
                    continue
                worst = max(worst, time.monotonic() - start)
                wrong += not np.allclose(found, truth @ x, rtol=1e-9, atol=1e-9)
                if (number + 1) % every(groups) == 0:
                    state = sum(client.run_on_scheduler(held).values())
                    largest = max(map(resident, [w.pid for w in cluster.workers.values()]))
                    samples.append((number + 1, resident(cluster.scheduler_pid), largest))
                    print("{:7} {:14.1f} {:13.1f} {:11}".format(*samples[-1], state), flush=True)
            struck = len(playback.record)
        for name in cluster.workers:
            cluster.inject(name, None)
        totals = report(client).totals
        del prepared
        gc.collect()  # tracebacks of failures refer to futures
        left = ""
        try:
            silent = assert_clean(client)
        except AssertionError as error:
            left, silent = str(error), []
        state = client.run_on_scheduler(held)
    print(
        f"{struck} faults of workers; of the last {totals['groups']} groups {totals['erased']} "
        f"shares failed, {totals['cancelled']} were cancelled, {totals['decoded']} outputs decoded"
    )
    print(f"slowest product {worst:.2f} s; held in the end: {state or 'nothing'}; {left}")
    if silent:
        print(f"workers that could not be asked: {silent}")
    for text in failed:
        print(f"  failed: {text}")
    goals.raw |= {"samples": samples, "failed": failed, "left": left, "state": state}
    goals.at_most("products that failed or hung", len(failed), 0)
    goals.at_most("products that were wrong", wrong, 0)
    goals.at_most("tasks left", left.count("\n"), 0)
    goals.at_most("state left in the runtime", sum(state.values()), 0)
    reach(np.asarray([sample[1:] for sample in samples]), plain, goals)


def plain_growth(groups: int) -> np.ndarray:
    """Resident memory of a scheduler, MiB, while it computes as many products of plain Dask."""
    found: list[float] = []
    operand = np.ones(SIZE.columns)
    with EmulatedCluster(SIZE.workers) as cluster, cluster.client():
        matrix = SIZE.matrix(SIZE.workers).persist()
        for number in tqdm(range(groups), desc="plain Dask", leave=False, disable=None):
            _product(matrix, operand + number)
            if (number + 1) % every(groups) == 0:
                found.append(resident(cluster.scheduler_pid))
    return np.asarray(found)


def every(groups: int) -> int:
    """So many products from one sample of memory to the next."""
    return max(groups // 20, 5)


def reach(coded: np.ndarray, plain: np.ndarray, goals: Goals) -> None:
    """Memory of the last quarter against that of the second."""
    quarter = len(plain) // 4
    if not quarter or len(coded) != len(plain):
        return  # too short, or products failed where memory was to be looked at

    def grown(values: np.ndarray) -> np.ndarray:
        early, late = values[quarter : 2 * quarter], values[-quarter:]
        return np.asarray(late.mean(axis=0) - early.mean(axis=0))

    scheduler, worker = grown(coded) / coded[quarter : 2 * quarter].mean(axis=0)
    usual = float(grown(plain) / plain[quarter : 2 * quarter].mean())
    print(f"scheduler's growth over the second half: {scheduler:.3f}, of plain Dask {usual:.3f}")
    goals.at_most("scheduler's growth, above plain Dask's", float(scheduler) - usual, GROWTH)
    goals.at_most("largest worker's memory, growth", float(worker), GROWTH)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--groups", type=int, default=1_000, help="products")
    parser.add_argument("--seed", type=int, default=0, help="of all faults")
    args = parser.parse_args()
    if args.quick:
        args.groups = 20
    print(machine())
    goals = Goals()
    measure(args.groups, args.seed, goals)
    goals.print()
    goals.write(args.json)


if __name__ == "__main__":
    main()
