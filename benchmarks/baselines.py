"""What plain Dask does when a worker is frozen, killed or slow: the bar for everything coded.

    python benchmarks/baselines.py [--quick] [--seeds N]

Products of one persisted matrix, a chunk per worker, with one vector after the other. Each scenario
hits one random worker at a random moment; every arm meets the same faults. Times are per product.
"""

import argparse
import os
import platform
from collections.abc import Sequence

import dask
import distributed
import numpy as np
from _arms import FULL, ORACLE, PLAIN, QUICK, SCENARIOS, TTL, Arm, Outcome, Scenario, Size, run

MIB = 1 << 20
HEADER = (
    f"{'scenario':30} {'arm':30} {'p50':>7} {'p95':>7} {'p99':>7} {'worst':>7} {'/plain':>7}"
    f" {'CPU s':>7} {'moved':>7} {'peak':>7} {'error':>8}"
)


def arms(scenario: Scenario, size: Size) -> list[Arm]:
    """Those to run: without a victim there is none to leave out, and nannies start slowly."""
    everybody = [PLAIN, TTL] if scenario.name.startswith("healthy") else [PLAIN, TTL, ORACLE]
    return [arm for arm in everybody if size is FULL or arm is not TTL]


def row(scenario: Scenario, arm: Arm, outcomes: Sequence[Outcome], healthy: float) -> str:
    """One line; `healthy` is the median product of plain Dask in the same regime, s."""
    seconds = np.concatenate([outcome.seconds for outcome in outcomes])
    p50, p95, p99 = np.quantile(seconds, [0.5, 0.95, 0.99])
    return (
        f"{scenario.name:30} {arm.name:30} {p50:7.3f} {p95:7.3f} {p99:7.3f} {seconds.max():7.2f}"
        f" {p50 / healthy:7.2f} {np.mean([o.worker_seconds for o in outcomes]):7.1f}"
        f" {np.mean([o.moved for o in outcomes]) / MIB:7.1f}"
        f" {max(o.peak for o in outcomes) / MIB:7.0f} {max(o.error for o in outcomes):8.1e}"
    )


def measure(size: Size, seeds: int) -> None:
    print(
        f"{size.workers} workers of one emulated core, {size.rows} x {size.columns} float64, "
        f"{size.products} products, frozen for {size.hold:g} s, {seeds} seeds"
    )
    print("p50 .. worst: s per product; /plain: p50 over that of healthy plain Dask;")
    print("CPU s: of all workers; moved: MiB sent between workers; peak: MiB of one worker\n")
    print(HEADER)
    healthy = {}
    for scenario in SCENARIOS:
        for arm in arms(scenario, size):
            outcomes = [run(arm, scenario, size, seed) for seed in range(seeds)]
            if scenario.latency_bound not in healthy:
                median = np.median([second for o in outcomes for second in o.seconds])
                healthy[scenario.latency_bound] = float(median)
            print(row(scenario, arm, outcomes, healthy[scenario.latency_bound]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--seeds", type=int, default=None, help="runs per arm and scenario")
    options = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python "
        f"{platform.python_version()}, dask {dask.__version__}, distributed "
        f"{distributed.__version__}, NumPy {np.__version__}"
    )
    measure(QUICK if options.quick else FULL, options.seeds or (1 if options.quick else 3))


if __name__ == "__main__":
    main()
