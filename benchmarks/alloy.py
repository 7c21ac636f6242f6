"""How many results usually decode, how many are sure to, and what not waiting for those saves.

    python benchmarks/alloy.py [--products 30] [--quick]

All codes have 21 shares of an eighth of the product's work (24 for copies, 8 without a code), but
cut it differently: the last two columns say what a share takes and gives.

thresholds
    `formula` is the recovery threshold that the family states; `measured` is one more than the
    largest set found that does not decode (NumPy's rank), among random sets, runs and sets that
    grow greedily while they do not decode. `rank` is how many leading shares decode. `typical` is
    the least number of results that decode with 99%, if the order is random, and if each share is
    lost with 10%. `mean` is the expected number in random order.
time to resolve
    Order statistics: each share has a worker of its own and takes a random time. `early` resolves
    when the arrived shares decode, `worst case` when as many have arrived as are sure to.
digits
    Amplification of the first decodable set of a random order, and with two more shares.
real workers
    Whole products on an emulated cluster on which every share's task is held up at random, the
    same for all arms. `counted` submits the same shares as plain tasks, and waits for the
    threshold.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
from _goals import Goals, machine, options, quantiles
from _threshold import largest_undecodable
from distributed import Client, as_completed
from tqdm import tqdm

from dask_coded import coded_matmul, typical_recovery_threshold
from dask_coded.cluster import report
from dask_coded.codes import (
    MDS,
    AbstractCode,
    AbstractLinearCode,
    Alloy,
    Entangled,
    Polynomial,
    Replication,
    Uncoded,
)
from dask_coded.testing import EmulatedCluster, ParetoDelay, ShiftedExponential, TaskFaults

CODES: dict[str, AbstractCode] = {
    "alloy, grouped Strassen": Alloy(21),
    "alloy, global Strassen": Alloy(21, mixing="global"),
    "alloy, outer product": Alloy(21, m=2, n=4, levels=0),
    "alloy, outer, all random": Alloy(21, m=2, n=4, levels=0, local="random"),
    "polynomial 2 x 4": Polynomial(21, m=2, n=4),
    "entangled 2 x 2 x 2": Entangled(21, m=2, p=2, n=2),
    "MDS, 8 row blocks": MDS(21, k=8),
    "replication, three each": Replication(24, k=8),
    "uncoded": Uncoded(8),
}
#: Two more, whose shares are smaller: a thirty-second, and a sixty-fourth of the work.
FINER: dict[str, AbstractCode] = {
    "alloy, grouped, 2 x 2 inside": Alloy(56, m=2, n=2),
    "alloy, grouped, two levels": Alloy(147, levels=2),
}


def splits(code: AbstractCode) -> tuple[int, int, int]:
    if isinstance(code, AbstractLinearCode):
        return code.k, 1, 1
    (m, p), (_, n) = code.operand_grids
    return m, p, n


def thresholds(codes: dict[str, AbstractCode], tries: int, goals: Goals) -> None:
    print("\nresults that decode, out of N shares; sizes as parts of A, B and C")
    print(
        f"{'code':30} {'N':>4} {'work':>6} {'rank':>5} {'formula':>8} {'measured':>9} "
        f"{'typical':>8} {'10% lost':>9} {'mean':>7} {'takes of A, B':>14} {'gives of C':>11}"
    )
    for name, code in codes.items():
        m, p, n = splits(code)
        at_random = typical_recovery_threshold(code, 1.0, samples=200)
        few_lost = typical_recovery_threshold(code, 0.1, samples=200)
        rank = typical_recovery_threshold(code, 0.0).results
        mark = "" if at_random.method == "exact" else "~"
        measured = largest_undecodable(code, tries) + 1
        goals.note(
            "thresholds",
            code=name,
            shares=code.n_shares,
            rank=rank,
            formula=code.recovery_threshold,
            measured=measured,
            typical=at_random.results,
            few_lost=few_lost.results,
            mean=at_random.mean,
        )
        print(
            f"{name:30} {code.n_shares:4} {f'1/{m * p * n}':>6} {rank:5} "
            f"{code.recovery_threshold:8} {measured:9} "
            f"{mark + str(at_random.results):>8} {few_lost.results:9} {at_random.mean:7.2f} "
            f"{f'1/{m * p}, 1/{p * n}':>14} {f'1/{m * n}':>11}",
            flush=True,
        )
    print("~ from 200 random orders; the others are counted")


def draws(code: AbstractCode, delay: Any, count: int) -> Iterator[tuple[float, float, int]]:
    """Seconds until decodable, until the threshold, and results by then, for random times."""
    stream = np.random.default_rng(1)
    for _ in range(count):
        times = np.array([delay.sample(stream) for _ in range(code.n_shares)])
        order = np.argsort(times).tolist()
        needed = next(r for r in range(1, len(order) + 1) if code.is_decodable(order[:r]))
        last = order[code.recovery_threshold - 1]
        yield times[order[needed - 1]], times[last], needed


def simulated(delay: Any, count: int, goals: Goals) -> None:
    print(f"\ntime to resolve, order statistics of {count} draws of {delay}")
    print(
        f"{'code':30} {'p50 s':>8} {'p95 s':>8} {'p99 s':>8} {'worst s':>8}   "
        f"{'worst case: p50':>15} {'p99':>7} {'saved p50':>9} {'p99':>6} {'results':>8}"
    )
    for name, code in CODES.items():
        early, sure, needed = np.array(list(draws(code, delay, count))).T
        goals.note(
            "simulated", code=name, delay=str(delay), seconds=early.tolist(), sure=sure.tolist()
        )
        (p50, p99), (sure50, sure99) = (np.quantile(x, [0.5, 0.99]) for x in (early, sure))
        print(
            f"{name:30} {quantiles(early)}   {sure50:15.3f} {sure99:7.3f} "
            f"{1 - p50 / sure50:9.0%} {1 - p99 / sure99:6.0%} {needed.mean():8.2f}",
            flush=True,
        )


def digits(count: int, goals: Goals) -> None:
    print(f"\namplification over {count} random orders: at the first set that decodes, and two on")
    print(
        f"{'code':30} {'p50':>9} {'p95':>9} {'p99':>9} {'worst':>9}   {'two on: p50':>11} "
        f"{'worst':>9}"
    )
    for name, code in {**CODES, **FINER}.items():
        stream = np.random.default_rng(2)
        first, later = [], []
        for _ in range(count):
            order = stream.permutation(code.n_shares).tolist()
            needed = next(r for r in range(1, len(order) + 1) if code.is_decodable(order[:r]))
            first.append(code.decoder(order[:needed]).amplification)
            later.append(code.decoder(order[: needed + 2]).amplification)
        goals.note("digits", code=name, first=first, two_on=later)
        marks = [*np.quantile(first, [0.5, 0.95, 0.99]), max(first)]
        print(
            f"{name:30} {' '.join(f'{mark:9.1f}' for mark in marks)}   "
            f"{np.median(later):11.1f} {max(later):9.1f}",
            flush=True,
        )


@dataclass(frozen=True)
class Size:
    workers: int
    threads: int
    products: int
    side: int
    delay: ShiftedExponential


FULL = Size(14, 1, 30, 480, ShiftedExponential(0.2, 0.4))
QUICK = Size(7, 2, 2, 48, ShiftedExponential(0.05, 0.1))
SHARES = 14
#: Beginning of the keys of plain Dask's block products, after fusion; sums of them have others.
PLAIN_PRODUCTS = "('chunk_sum-"


def chunked(x: np.ndarray, rows: int, columns: int) -> da.Array:
    return da.from_array(x, chunks=(x.shape[0] // rows, x.shape[1] // columns))


def by_code(code: AbstractCode) -> Callable[..., tuple[np.ndarray, int]]:
    m, p, n = splits(code)

    def product(client: Client, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, int]:
        found = coded_matmul(chunked(x, m, p), chunked(y, p, n), code=code).compute()
        return found, len(report(client).groups[-1]["arrived"])

    return product


def plain(client: Client, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, int]:
    return (chunked(x, 2, 2) @ chunked(y, 2, 2)).compute(), 8


def counted(code: AbstractCode) -> Callable[..., tuple[np.ndarray, int]]:
    """The worst case waited for: shares as plain tasks, until the threshold has arrived."""
    m, p, n = splits(code)

    def product(client: Client, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, int]:
        a = x.reshape(m, len(x) // m, p, -1).swapaxes(1, 2).reshape(m * p, len(x) // m, -1)
        b = y.reshape(p, len(y) // p, n, -1).swapaxes(1, 2).reshape(p * n, len(y) // p, -1)
        left, right = np.tensordot(code.generator(0), a, 1), np.tensordot(code.generator(1), b, 1)
        keys = [f"matmul-share-{share}-{time.monotonic_ns()}" for share in range(code.n_shares)]
        futures = {
            client.submit(np.matmul, left[share], right[share], key=key): share
            for share, key in enumerate(keys)
        }
        arrived = {}
        for future, result in as_completed(futures, with_results=True):
            arrived[futures[future]] = result
            if len(arrived) == code.recovery_threshold:
                break
        decoder = code.decoder(list(arrived))
        results = np.stack([arrived[share] for share in decoder.shares])
        blocks = np.tensordot(decoder.weights, results, 1)
        client.cancel(list(futures), force=True)
        whole = blocks.reshape(m, n, *blocks.shape[1:]).swapaxes(1, 2)
        return whole.reshape(len(x), -1), len(arrived)

    return product


def real(size: Size, goals: Goals) -> None:
    arms: dict[str, Callable[..., tuple[np.ndarray, int]]] = {
        "plain Dask, 8 products": plain,
        "alloy, grouped Strassen": by_code(Alloy(SHARES)),
        "  counted to 13": counted(Alloy(SHARES)),
        "alloy, global Strassen": by_code(Alloy(SHARES, mixing="global")),
        "entangled 2 x 2 x 2": by_code(Entangled(SHARES, m=2, p=2, n=2)),
        "polynomial 2 x 4": by_code(Polynomial(SHARES, m=2, n=4)),
        "MDS, 8 row blocks": by_code(MDS(SHARES, k=8)),
    }
    print(
        f"\nreal workers: {size.workers} processes of {size.threads} threads, {size.products} "
        f"products of {size.side} x {size.side}, {SHARES} shares, each held up by {size.delay}"
    )
    print(
        f"{'arm':30} {'p50 s':>8} {'p95 s':>8} {'p99 s':>8} {'worst s':>8} {'/plain':>7} "
        f"{'results':>8} {'error':>8}"
    )
    base = 0.0
    for name, product in arms.items():
        stream = np.random.default_rng(3)
        seconds, arrived, errors = [], [], []
        with (
            EmulatedCluster(
                size.workers, threads=size.threads, worker_preload=("_product_delays",)
            ) as cluster,
            cluster.client() as client,
        ):
            operands = stream.standard_normal((size.products + 1, 2, size.side, size.side))
            product(client, *operands[-1])
            match = PLAIN_PRODUCTS if product is plain else "matmul"
            faults = TaskFaults(seed=5, delay=size.delay, match=match, interruptible=True)
            for worker in cluster.workers:
                cluster.inject(worker, faults)
            for x, y in tqdm(operands[:-1], desc=name, leave=False, disable=None):
                began = time.perf_counter()
                found, results = product(client, x, y)
                seconds.append(time.perf_counter() - began)
                arrived.append(results)
                errors.append(np.abs(found - x @ y).max() / np.abs(x @ y).max())
        base = base or float(np.median(seconds))
        goals.note("real workers", arm=name, seconds=seconds, results=arrived, errors=errors)
        print(
            f"{name:30} {quantiles(seconds)} {np.median(seconds) / base:7.2f} "
            f"{np.mean(arrived):8.2f} {max(errors):8.1e}",
            flush=True,
        )


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--products", type=int, default=None, help="products on real workers")
    args = parser.parse_args()
    print(machine())
    goals = Goals()
    thresholds({**CODES, **FINER} if not args.quick else CODES, 400 if args.quick else 6000, goals)
    count = 50 if args.quick else 1000
    simulated(ShiftedExponential(0.2, 0.4), count, goals)
    simulated(ParetoDelay(0.2, 1.5), count, goals)
    digits(20 if args.quick else 300, goals)
    size = QUICK if args.quick else FULL
    real(Size(**{**vars(size), "products": args.products or size.products}), goals)
    goals.write(args.json)


if __name__ == "__main__":
    main()
