"""One worker of ten, or two, is frozen or killed at any moment: does a product notice?

    python benchmarks/frozen.py [--kind frozen,killed] [--victims 1] [--seeds 100] [--quick]

Twenty products of a 16,000 x 4,000 float64 matrix, coded 8+2, one after the other. The matrix is
made, and encoded, when the first product asks for it. A fault strikes at a random moment of the
run: every fourth before encoding has ended, the others after the start of a random product, so
that tasks, decoding and gathering of results are hit alike. A frozen worker stays so for 30 s.
All arms meet the same faults; those that hang for so long get fewer seeds.
"""

import functools
import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from _arms import CODED, FULL, ORACLE, PLAIN, QUICK, Arm, Outcome, Size, chosen, play, victims_of
from _goals import Goals, machine, options, quantiles
from distributed import futures_of
from tqdm import tqdm

from dask_coded.array import EncodedArray
from dask_coded.testing import FaultEvent, FaultTrace

#: A worker that is silent for longer than this is certainly suspect: three heartbeats and a look.
SUSPECTED = 2.0
RETURN = 60.0


def trace_of(size: Size, kind: str, seed: int, victims: Sequence[str], times: Any) -> FaultTrace:
    """The faults of one seed, in the time that a healthy run takes."""
    rng = np.random.default_rng([seed, 1])
    first, later = times
    events = []
    for victim in victims:
        early = seed % 4 == 0
        at = float(rng.uniform(0.0, first if early else 1.1 * later))
        occurrence = 1 if early else int(rng.integers(2, size.products + 1))
        moment = {"after": "product-started", "occurrence": occurrence}
        if kind == "killed":
            events.append(FaultEvent("kill", victim, at=at, **moment))
        else:
            events.append(FaultEvent("freeze", victim, at=at, **moment))
            events.append(FaultEvent("thaw", victim, at=at + size.hold, **moment))
    return FaultTrace(tuple(events), seed)


def tolerance(prepared: EncodedArray, who_has: Any, most: int) -> int:
    """How many workers, whichever they are, may be lost now."""
    holders = [set(who_has.get(key, ())) for key in prepared.rows.tiles(0)]
    workers = sorted(set().union(*holders))
    for lost in range(most + 1):
        for gone in itertools.combinations(workers, lost):
            left = [share for share, names in enumerate(holders) if names - set(gone)]
            if not prepared.code.is_decodable(left):
                return lost - 1
    return most


class Return:
    """After the products: replace who was killed, and time until as many may be lost as before."""

    def __init__(self, victims: Sequence[str]) -> None:
        self._victims = victims

    def __call__(self, cluster: Any, client: Any, prepared: Any) -> float | None:
        if not isinstance(prepared, EncodedArray):
            return None
        before = prepared.code.n_shares - prepared.code.recovery_threshold
        for victim in self._victims:
            cluster.replace(victim)
        start = time.monotonic()
        while time.monotonic() - start < RETURN:
            held = client.who_has(futures_of(prepared))
            if tolerance(prepared, held, before) == before:
                return time.monotonic() - start
            time.sleep(0.05)
        return float("inf")


HEADER = (
    f"{'arm':30} {'runs':>5} {'p50 s':>8} {'p95 s':>8} {'p99 s':>8} {'worst s':>8} {'excess s':>9} "
    f"{'suspected':>9} {'hung':>5} {'failed':>6} {'error':>8}"
)


def excess(outcome: Outcome, times: tuple[float, float]) -> float:
    """By how much the worst product exceeds a healthy one; the first waits for encoding too."""
    first, later = times
    rest = [second - later for second in outcome.seconds[1:]]
    return max([outcome.seconds[0] - first, *rest])


def suspected(outcomes: Sequence[Outcome]) -> list[float]:
    """Products that began when their silent worker was certainly known to be so."""
    return [
        second
        for outcome in outcomes
        for second, started in zip(outcome.seconds[1:], outcome.started[1:], strict=True)
        if outcome.struck is not None and started > outcome.struck + SUSPECTED
    ]


def line(arm: Arm, outcomes: Sequence[Outcome], times: tuple[float, float]) -> str:
    seconds = [second for outcome in outcomes for second in outcome.seconds[1:]]
    known = suspected(outcomes)
    return (
        f"{arm.name:30} {len(outcomes):5} {quantiles(seconds)} "
        f"{max(excess(o, times) for o in outcomes):9.2f} "
        f"{np.median(known) if known else float('nan'):9.3f} "
        f"{sum(o.hung for o in outcomes):5} {sum(bool(o.failed) for o in outcomes):6} "
        f"{max(o.error for o in outcomes):8.1e}"
    )


@functools.cache
def calm(arm: Arm, size: Size, runs: int) -> tuple[float, float]:
    """Median first and later product of an arm when nothing goes wrong."""
    outcomes = [play(arm, size, FaultTrace(()), (), settle=False) for _ in range(runs)]
    first = np.median([outcome.seconds[0] for outcome in outcomes])
    later = np.median([second for outcome in outcomes for second in outcome.seconds[1:]])
    return float(first), float(later)


def measure(kind: str, size: Size, args: Any, goals: Goals) -> None:
    base = calm(CODED, size, args.calm)
    print(f"\n{args.victims} {kind} of {size.workers} workers")
    print(f"healthy, coded: first product (with encoding) {base[0]:.3f} s, later {base[1]:.3f} s")
    print(HEADER, flush=True)
    for arm in args.arms:
        times = base if arm is CODED else calm(arm, size, 1)
        outcomes = []
        count = args.seeds if arm in (CODED, ORACLE) else args.others
        for seed in tqdm(range(count), desc=f"{kind}: {arm.name}", leave=False, disable=None):
            victims = victims_of(size, seed, args.victims)
            trace = trace_of(size, kind, seed, victims, base)
            back = Return(victims) if kind == "killed" else None
            outcomes.append(play(arm, size, trace, victims, settle=False, afterwards=back))
        print(line(arm, outcomes, times), flush=True)
        for seed, outcome in enumerate(outcomes):
            if outcome.failed or outcome.hung:
                what = outcome.failed or "hung"
                print(f"  seed {seed}, product {len(outcome.seconds)}: {what[:160]}")
        returned = [o.afterwards for o in outcomes if o.afterwards is not None]
        if returned:
            print(f"  tolerance back, s after a replacement joined: {quantiles(returned)}")
        goals.raw[f"{kind}/{args.victims}/{arm.name}"] = {
            "healthy": times,
            "runs": [vars(outcome) for outcome in outcomes],
        }
        if arm is CODED:
            reach(kind, args.victims, outcomes, times, goals)


def reach(
    kind: str, victims: int, outcomes: Sequence[Outcome], times: tuple[float, float], goals: Goals
) -> None:
    name = f"{victims} {kind}:"
    goals.at_most(f"{name} relative error", max(o.error for o in outcomes), 1e-10)
    goals.at_most(f"{name} runs that hung", sum(o.hung for o in outcomes), 0)
    goals.at_most(f"{name} runs that failed", sum(bool(o.failed) for o in outcomes), 0)
    worst = max(excess(outcome, times) for outcome in outcomes)
    goals.at_most(f"{name} worst product, above healthy", worst, 3.0, " s")
    if known := suspected(outcomes):
        ratio = float(np.median(known)) / times[1]
        goals.at_most(f"{name} median once suspected / healthy", ratio, 1.2)
    returned = [o.afterwards for o in outcomes if o.afterwards is not None]
    if returned:
        goals.at_most(f"{name} tolerance back after replacement", max(returned), 10.0, " s")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--kind", default="frozen,killed", help="frozen, killed or both")
    parser.add_argument("--victims", type=int, default=1, help="workers hit in each run")
    parser.add_argument("--seeds", type=int, default=100, help="runs of the coded arm")
    parser.add_argument("--others", type=int, default=5, help="runs of each other arm")
    parser.add_argument("--calm", type=int, default=3, help="healthy runs to compare with")
    parser.add_argument(
        "--arms", type=chosen, default=chosen("coded,plain,ttl,replication,backup,oracle")
    )
    args = parser.parse_args()
    size = FULL
    if args.quick:
        size, args.seeds, args.others, args.calm = QUICK, 1, 1, 1
        args.arms = [arm for arm in args.arms if arm in (CODED, PLAIN)]
    print(machine())
    print(
        f"{size.workers} workers, {size.rows} x {size.columns} float64, {size.products} products; "
        "columns: s per product but the first; worst above healthy; median once suspected"
    )
    goals = Goals()
    for kind in args.kind.split(","):
        measure(kind, size, args, goals)
    goals.print()
    goals.write(args.json)


if __name__ == "__main__":
    main()
