"""What the unfinished work of slow workers is worth: several small shares to a worker, or one.

    python benchmarks/partial.py [--workers 10] [--draws 400] [--products 9] [--quick]
        [--json FILE]

Workers have the speeds 1 : 0.5 : 0.2, four parts, three parts and three parts of them; or are all
healthy. All codes bear the loss of three workers in ten.

thresholds
    `formula` is the recovery threshold that the family states. The other columns are the least,
    median and largest number of results from which the outputs were first determined (NumPy's
    rank of the responses) when workers of random speeds finish their shares in order; a largest
    one above the formula would be wrong. `sent` is what one worker is sent, half of it the part of
    A and half of it that of B.
order statistics
    No cluster: a share takes its part of the work over the speed of its worker, times a random
    factor, plus a fixed cost given in parts of a large share's work. Times are relative to
    `perfect`, all of the work at the speed of all workers together; `unused` is work that was begun
    and not needed, relative to the work of the product.
real workers
    Whole products on emulated workers, whose products wait as long as their part of the work takes
    at their speed, and stop when they are cancelled. Everything else is real: encoding, transfers,
    decisions and decoding. `used` is how many results the runtime had when it resolved. `busy` is
    how many seconds all workers together multiplied for one product, what was cancelled included,
    and `work` what they would have finished in that time, relative to the work of the product;
    `/ one each` beside it compares that with one share to a worker.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any

import dask.array as da
import numpy as np
from _goals import Goals, machine, options
from distributed import Client
from tqdm import tqdm

from dask_coded import coded_matmul
from dask_coded.cluster import report
from dask_coded.codes import LT, MDS, AbstractCode, AbstractLinearCode, Bivariate, Uncoded
from dask_coded.fields import PAIRED
from dask_coded.testing import EmulatedCluster

SPEEDS = (1.0, 0.5, 0.2)
EACH = 4


def codes(workers: int) -> dict[str, AbstractCode]:
    """Seven tenths of the shares suffice, except of LT codes, which have no such number."""
    least = workers - 3 * workers // 10
    k = EACH * least
    return {
        "uncoded, one each": Uncoded(workers),
        "uncoded, four each": Uncoded(EACH * workers),
        "MDS, one each": MDS(workers, k=least, field=PAIRED),
        "MDS, four each": MDS(EACH * workers, k=k, field=PAIRED),
        "LT, five each": first_decodable(workers * (EACH + 1), k),
        "bivariate, 1 A and 4 B": Bivariate(EACH * workers, m=EACH, n=least, b_shares=EACH),
        "bivariate, 2 A and all B": Bivariate(
            EACH * workers, m=2 * least, n=2, a_shares=2, b_shares=2
        ),
    }


def first_decodable(n_shares: int, k: int) -> LT:
    """The LT code of the first seed whose shares determine all blocks."""
    for seed in itertools.count():
        try:
            return LT(n_shares, k=k, seed=seed)
        except ValueError:
            continue
    raise AssertionError


def speeds_of(workers: int, healthy: bool, stream: np.random.Generator | None = None) -> np.ndarray:
    """The speed of each worker, shuffled by `stream`."""
    slower = 3 * workers // 10
    counts = (workers - 2 * slower, slower, slower)
    speeds = np.ones(workers) if healthy else np.repeat(SPEEDS, counts)
    return speeds if stream is None else stream.permutation(speeds)


def blocks(code: AbstractCode) -> tuple[int, int]:
    """Cuts of the rows of A and of the columns of B."""
    if isinstance(code, AbstractLinearCode):
        return code.k, 1
    return code.output_grid


# Without a cluster


def arrivals(
    code: AbstractCode, speeds: np.ndarray, stream: np.random.Generator, fixed: float
) -> tuple[np.ndarray, np.ndarray]:
    """When each share of each worker begins and ends, in units of all work at speed 1."""
    work = 1 / np.prod(blocks(code))
    large = 1 / (0.7 * len(speeds))
    begins, ends = np.empty(code.n_shares), np.empty(code.n_shares)
    for speed, shares in zip(speeds, code.placement(len(speeds)), strict=True):
        now = 0.0
        for share in shares:
            begins[share] = now
            now += fixed * large + work * stream.uniform(0.9, 1.1) / speed
            ends[share] = now
    return begins, ends


def first_determined(code: AbstractCode, order: Sequence[int]) -> int:
    """How many results of this order determine the outputs: a bisection, as none turns back."""
    low, high = 1, len(order)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if code.is_decodable(order[:middle]) else (middle + 1, high)
    return low


def by_rank(code: AbstractCode, order: Sequence[int]) -> int:
    """The same for codes whose unknowns are all wanted, by NumPy's rank."""
    responses = np.asarray(code.responses())[list(order)]
    unknowns = responses.shape[1]
    ranks = ((count, np.linalg.matrix_rank(responses[:count])) for count in range(len(order) + 1))
    return next(count for count, rank in ranks if rank == unknowns)


def thresholds(workers: int, draws: int, goals: Goals) -> None:
    print(f"\nthresholds, {workers} workers")
    print(
        f"{'code':26} {'shares':>6} {'formula':>7} {'least':>6} {'median':>6} {'most':>6} "
        f"{'sent':>6}"
    )
    for name, code in codes(workers).items():
        stream = np.random.default_rng(0)
        found = []
        for _ in range(draws):
            _, ends = arrivals(code, speeds_of(workers, False, stream), stream, 0.0)
            found.append(by_rank(code, np.argsort(ends).tolist()))
        rows, columns = blocks(code)
        each = code.n_shares // workers
        if isinstance(code, Bivariate):
            a, b = code.a_shares / rows, code.b_shares / columns
        else:
            a, b = each / rows, 1.0
        goals.note(
            "thresholds",
            code=name,
            shares=code.n_shares,
            formula=code.recovery_threshold,
            determined_at=found,
            sent=(a + b) / 2,
        )
        print(
            f"{name:26} {code.n_shares:6} {code.recovery_threshold:7} {min(found):6} "
            f"{np.median(found):6.0f} {max(found):6} {(a + b) / 2:6.2f}"
        )


def order_statistics(workers: int, draws: int, goals: Goals) -> None:
    for healthy, fixed in itertools.product((False, True), (0.0, 0.02, 0.1)):
        mix = "all healthy" if healthy else "1 : 0.5 : 0.2"
        print(f"\norder statistics, {workers} workers, {mix}, fixed cost of a share {fixed:.0%}")
        print(f"{'code':26} {'median':>7} {'95%':>7} {'/ one each':>10} {'unused':>7}")
        one = None
        for name, code in codes(workers).items():
            stream = np.random.default_rng(1)
            times, unused = [], []
            for _ in range(draws):
                speeds = speeds_of(workers, healthy, stream)
                begins, ends = arrivals(code, speeds, stream, fixed)
                order = np.argsort(ends)
                end = ends[order[first_determined(code, order.tolist()) - 1]]
                if None not in code.direct():
                    # Where nothing is lost there is nothing to decode.
                    end = min(end, ends[list(code.direct())].max())
                times.append(end * speeds.sum())
                begun = np.clip((end - begins) / (ends - begins), 0, 1).sum()
                unused.append(begun / np.prod(blocks(code)) - 1)
            median = float(np.median(times))
            if name == "MDS, one each":
                one = median
            goals.note(
                "order statistics", code=name, mix=mix, fixed=fixed, times=times, unused=unused
            )
            print(
                f"{name:26} {median:7.2f} {np.quantile(times, 0.95):7.2f} "
                f"{'' if one is None else f'{median / one:.2f}':>10} {np.mean(unused):7.2f}"
            )


# On workers


def pace(seconds: float, dask_worker: Any) -> None:
    """Let products of this worker take so many seconds for each element of their result."""
    from dask_coded.cluster import _slices

    def paced(a: Any, b: Any) -> Any:
        cancelled = _slices.cancelled_check()
        began = time.monotonic()
        end = began + seconds * a.shape[0] * b.shape[1]
        try:
            while (left := end - time.monotonic()) > 0:
                if cancelled is not None and cancelled():
                    raise _slices.ShareCancelled("paced")
                time.sleep(min(left, 0.005))
        finally:
            # A worker multiplies in one thread.
            dask_worker.busy += time.monotonic() - began
        return a @ b

    dask_worker.busy = 0.0
    _slices.sliced_matmul = paced


def busy(dask_worker: Any) -> float | None:
    """Seconds that this worker has multiplied since it was asked; None while it computes."""
    state = dask_worker.state
    if state.executing or state.ready:
        return None
    spent, dask_worker.busy = dask_worker.busy, 0.0
    return float(spent)


def all_busy(client: Client, addresses: Sequence[str]) -> np.ndarray:
    """Seconds of each worker, once what was cancelled has ended too."""

    def tasks(dask_scheduler: Any) -> int:
        return len(dask_scheduler.tasks)

    while client.run_on_scheduler(tasks):
        time.sleep(0.01)
    found: dict[str, float] = {}
    while len(found) < len(addresses):
        left = [address for address in addresses if address not in found]
        answers = client.run(busy, workers=left)
        found |= {address: spent for address, spent in answers.items() if spent is not None}
    return np.array([found[address] for address in addresses])


def operands(code: AbstractCode, shape: tuple[int, int, int]) -> tuple[da.Array, da.Array]:
    """Matrices cut into the blocks of a code; PAIRED needs even rows."""
    stream = np.random.default_rng(2)
    m, p, n = shape
    rows, columns = blocks(code)
    a, b = stream.normal(size=(m, p)), stream.normal(size=(p, n))
    return da.from_array(a, chunks=(m // rows, p)), da.from_array(b, chunks=(p, n // columns))


def timed(
    client: Client,
    code: AbstractCode,
    shape: tuple[int, int, int],
    products: int,
    addresses: Sequence[str],
) -> Iterator[Any]:
    """Of each product: seconds, results used, blocks decoded, error, seconds of each worker."""
    left, right = operands(code, shape)
    expected = left.compute() @ right.compute()
    for number in range(products + 1):
        product = coded_matmul(left * (number + 1.0), right, code=code)
        began = time.perf_counter()
        found = product.compute()
        seconds = time.perf_counter() - began
        error = np.abs(found / (number + 1.0) - expected).max() / np.abs(expected).max()
        group = report(client).groups[-1]
        del product
        spent = all_busy(client, addresses)
        if number:
            yield seconds, len(group["arrived"]), group["decoded"], error, spent


def real_workers(workers: int, products: int, seconds: float, quick: bool, goals: Goals) -> None:
    """The work of one product is `seconds` of a worker of speed 1."""
    least = workers - 3 * workers // 10
    # Every code's blocks are of one size.
    shape = (int(np.lcm(EACH * least, EACH * workers)) * (1 if quick else 4), 200, 2 * least)
    per_element = seconds / (shape[0] * shape[2])
    for healthy in (False, True):
        mix = "all healthy" if healthy else "1 : 0.5 : 0.2"
        speeds = speeds_of(workers, healthy)
        perfect = seconds / speeds.sum()
        print(f"\nreal workers, {workers} of them, {mix}, perfect {perfect:.2f} s")
        print(
            f"{'code':26} {'median s':>8} {'worst s':>8} {'/ one each':>10} {'/ perfect':>9} "
            f"{'used':>5} {'decoded':>7} {'error':>8} {'busy s':>7} {'work':>5} {'/ one each':>10}"
        )
        one: tuple[float, float] | None = None
        with EmulatedCluster(workers) as nodes, nodes.client() as client:
            coded_matmul(da.ones((4, 2), chunks=(1, 2)), da.ones((2, 2)), parity=1).compute()
            addresses = [worker.address for worker in nodes.workers.values()]
            for address, speed in zip(addresses, speeds, strict=True):
                client.run(pace, per_element / speed, workers=[address])
            for name, code in codes(workers).items():
                if quick and name not in ("MDS, one each", "MDS, four each"):
                    continue
                runs: Iterator[Any] = timed(client, code, shape, products, addresses)
                rows = list(tqdm(runs, desc=name, total=products, leave=False, disable=None))
                times, used, decoded, errors, spent = map(np.array, zip(*rows, strict=True))
                median = float(np.median(times))
                work = float(np.median(spent @ speeds)) / seconds
                if name == "MDS, one each":
                    one = median, work
                beside = (
                    ("", "") if one is None else (f"{median / one[0]:.2f}", f"{work / one[1]:.2f}")
                )
                goals.note(
                    "real workers",
                    code=name,
                    mix=mix,
                    perfect=perfect,
                    seconds=times.tolist(),
                    used=used.tolist(),
                    decoded=decoded.tolist(),
                    errors=errors.tolist(),
                )
                print(
                    f"{name:26} {median:8.2f} {times.max():8.2f} "
                    f"{beside[0]:>10} {median / perfect:9.2f} "
                    f"{np.median(used):5.0f} {np.median(decoded):7.0f} {errors.max():8.1e} "
                    f"{np.median(spent.sum(axis=1)):7.2f} {work:5.2f} {beside[1]:>10}",
                    flush=True,
                )


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--products", type=int, default=9)
    args = parser.parse_args()
    print(machine())
    if args.quick:
        args.workers, args.draws, args.products = 5, 10, 2
    goals = Goals()
    thresholds(args.workers, args.draws, goals)
    order_statistics(args.workers, args.draws, goals)
    real_workers(args.workers, args.products, 0.4 if args.quick else 8.0, args.quick, goals)
    goals.write(args.json)


if __name__ == "__main__":
    main()
