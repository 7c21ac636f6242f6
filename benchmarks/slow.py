"""One worker ten times as slow as the others, or none: the median product and the tail.

    python benchmarks/slow.py [--regime latency,cpu] [--seeds 3] [--products 40] [--quick]

Two regimes, never mixed:

latency-bound
    Every product task takes 0.2 s of doing nothing; on the slow worker 2 s.
CPU-bound
    Every worker has a quota of processor time; the slow one has a tenth of it, so that its event
    loop and its transfers are slow too. Operands are blocks of vectors, for there to be work.

The operand is encoded, and two products were computed, before anything is timed. Which worker is
slow depends on the seed. The oracle never had that worker.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from _arms import (
    BACKUP,
    CODED,
    FULL,
    HEALTHY,
    HEALTHY_LATENCY,
    ORACLE,
    PARITY,
    PLAIN,
    QUICK,
    REPLICATION,
    SLOW,
    SLOW_LATENCY,
    Arm,
    Outcome,
    Size,
    chosen,
    run,
)
from _goals import Goals, machine, options, quantiles
from tqdm import tqdm

MIB = 1 << 20
REGIMES = {"latency": (HEALTHY_LATENCY, SLOW_LATENCY), "cpu": (HEALTHY, SLOW)}
HEADER = (
    f"{'arm':30} {'':8} {'p50 s':>8} {'p95 s':>8} {'p99 s':>8} {'worst s':>8} {'/healthy':>8} "
    f"{'CPU s':>7} {'moved':>7} {'hung':>5} {'failed':>6} {'error':>8}"
)


def seconds_of(outcomes: Sequence[Outcome]) -> np.ndarray:
    return np.concatenate([outcome.seconds for outcome in outcomes])


def line(arm: Arm, slow: bool, outcomes: Sequence[Outcome], healthy: float) -> str:
    seconds = seconds_of(outcomes)
    return (
        f"{arm.name:30} {'one slow' if slow else 'healthy':8} {quantiles(seconds)} "
        f"{np.median(seconds) / healthy:8.2f} "
        f"{np.mean([o.worker_seconds for o in outcomes]):7.1f} "
        f"{np.mean([o.moved for o in outcomes]) / MIB:7.1f} {sum(o.hung for o in outcomes):5} "
        f"{sum(bool(o.failed) for o in outcomes):6} {max(o.error for o in outcomes):8.1e}"
    )


def measure(regime: str, size: Size, args: Any, goals: Goals) -> None:
    print(f"\n{regime}-bound, operand {size.columns} x {size.width}; /healthy: of the same arm")
    print(HEADER, flush=True)
    found: dict[tuple[str, bool], np.ndarray] = {}
    for arm in args.arms:
        for slow, scenario in enumerate(REGIMES[regime]):
            if arm is ORACLE and not slow:
                continue
            label = f"{regime}: {arm.name}{', one slow' if slow else ''}"
            seeds = tqdm(range(args.seeds), desc=label, leave=False, disable=None)
            outcomes = [run(arm, scenario, size, seed) for seed in seeds]
            found[arm.name, bool(slow)] = seconds = seconds_of(outcomes)
            healthy = found.get((arm.name, False), seconds)
            print(line(arm, bool(slow), outcomes, float(np.median(healthy))), flush=True)
            for seed, outcome in enumerate(outcomes):
                if outcome.failed:
                    print(f"  seed {seed}: {outcome.failed[:160]}")
            goals.raw[f"{regime}/{arm.name}/{'slow' if slow else 'healthy'}"] = [
                vars(outcome) for outcome in outcomes
            ]
    reach(regime, size, found, goals)


def reach(regime: str, size: Size, found: dict[tuple[str, bool], np.ndarray], goals: Goals) -> None:
    median = {place: float(np.median(seconds)) for place, seconds in found.items()}
    p99 = {place: float(np.quantile(seconds, 0.99)) for place, seconds in found.items()}
    coded, plain = CODED.name, PLAIN.name
    if (coded, True) in median:
        bound = 1.15 if regime == "latency" else 1.5
        ratio = median[coded, True] / median[coded, False]
        goals.at_most(f"{regime}: one slow, median / healthy median", ratio, bound)
    if {(coded, True), (plain, True)} <= median.keys():
        ratio = median[plain, True] / median[coded, True]
        goals.at_least(f"{regime}: one slow, times faster than plain Dask", ratio, 5.0)
        fair = size.workers / (size.workers - PARITY)
        bound = 1.15 if regime == "latency" else 1.10 * fair
        ratio = median[coded, False] / median[plain, False]
        goals.at_most(f"{regime}: healthy, median / plain Dask's", ratio, bound)
    for other in (REPLICATION, BACKUP):
        if {(coded, True), (other.name, True)} <= p99.keys():
            ratio = p99[coded, True] / p99[other.name, True]
            goals.at_most(f"{regime}: one slow, p99 / that of {other.name}", ratio, 1.0)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--regime", default="latency,cpu", help="latency, cpu or both")
    parser.add_argument("--seeds", type=int, default=3, help="runs per arm, healthy and slow")
    parser.add_argument("--products", type=int, default=40, help="products of each run")
    parser.add_argument("--width", type=int, default=64, help="vectors at once when CPU-bound")
    parser.add_argument(
        "--arms", type=chosen, default=chosen("coded,plain,ttl,replication,backup,oracle")
    )
    args = parser.parse_args()
    size = replace(FULL, products=args.products)
    if args.quick:
        size, args.seeds, args.width = replace(QUICK, latency=0.1), 1, 4
        args.arms = [arm for arm in args.arms if arm in (CODED, BACKUP)]
    print(machine())
    print(f"{size.workers} workers, {size.rows} x {size.columns} float64, {args.seeds} seeds")
    goals = Goals()
    for regime in args.regime.split(","):
        width = 1 if regime == "latency" else args.width
        measure(regime, replace(size, width=width), args, goals)
    goals.print()
    goals.write(args.json)


if __name__ == "__main__":
    main()
