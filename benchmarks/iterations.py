"""One iteration ``A.T @ (A @ V)`` with a tall matrix, four ways: seconds, and bytes that travel.

    python benchmarks/iterations.py [--workers 10] [--rows 265000] [--products 10] [--quick]
        [--json FILE]

coded
    One encoding: terms ``A_b.T @ (A_b @ V)`` where the rows are; a late one is recovered from the
    other shares.
two encodings
    ``A`` and ``A.T`` are encoded alike, so that all of ``A @ V`` goes to every worker.
MatDot
    Shares are mixtures ``S_i`` of longer blocks, and a result is ``S_i.T @ (S_i @ V)``: nothing is
    recovered, any ``2 p - 1`` of the results suffice, and each costs as much as more plain ones.
plain Dask
    ``a.T @ (a @ V)`` without any redundancy.

Each worker has a quota of processor time. Then one worker becomes ten times slower, then it is
frozen (plain Dask would wait for ever, and is not asked). `stored` and `work` are in matrices and
in plain iterations; `moved` is what workers received in an iteration.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
from _goals import Goals, machine, options
from distributed import Client, as_completed, futures_of, wait

from dask_coded import MatDot, combine
from dask_coded.array import encode
from dask_coded.testing import EmulatedCluster

PARITY = 2
WIDTH = 12
COLUMNS = 192
#: An iteration that takes longer is given up, s.
PATIENCE = 60.0

Iterate = Callable[[np.ndarray], np.ndarray]


class Rows:
    """A matrix of random numbers that makes rows when asked, the same in any chunks."""

    dtype = np.dtype("float32")
    ndim = 2
    piece = 1000

    def __init__(self, rows: int) -> None:
        self.shape = (rows, COLUMNS)

    def __getitem__(self, index: tuple[slice, slice]) -> np.ndarray:
        start, stop, _ = index[0].indices(self.shape[0])
        first = start // self.piece
        made = [
            np.random.default_rng(number).standard_normal((self.piece, COLUMNS), self.dtype)
            for number in range(first, -(-stop // self.piece))
        ]
        offset = start - first * self.piece
        return np.concatenate(made)[offset : offset + stop - start, index[1]]


@dataclass(frozen=True)
class Size:
    workers: int
    rows: int
    products: int

    def matrix(self, blocks: int) -> da.Array:
        size, longer = divmod(self.rows, blocks)
        heights = (size + 1,) * longer + (size,) * (blocks - longer)
        return da.from_array(
            Rows(self.rows),
            chunks=(heights, COLUMNS),
            inline_array=True,
            meta=np.empty((0, 0), Rows.dtype),
        )


def coded(client: Client, size: Size) -> tuple[Iterate, float, Any]:
    A = encode(size.matrix(size.workers - PARITY), parity=PARITY, adjoint=True).persist()
    wait(A)
    return _lazily(client, lambda V: A.T @ (A @ V)), A.nbytes, A


def two_encodings(client: Client, size: Size) -> tuple[Iterate, float, Any]:
    a = size.matrix(size.workers - PARITY)
    A, B = encode(a, parity=PARITY).persist(), encode(a.T, parity=PARITY).persist()
    wait([A, B])
    return _lazily(client, lambda V: B @ (A @ V)), A.nbytes + B.nbytes, (A, B)


def plain(client: Client, size: Size) -> tuple[Iterate, float, Any]:
    a = size.matrix(size.workers).persist()
    wait(a)
    return _lazily(client, lambda V: a.T @ (a @ V)), a.nbytes, a


def _lazily(client: Client, gram: Callable[[np.ndarray], Any]) -> Iterate:
    return lambda V: client.compute(gram(V)).result(timeout=PATIENCE)


def matdot(client: Client, size: Size) -> tuple[Iterate, float, Any]:
    code = MatDot(size.workers, (size.workers - PARITY + 1) // 2)
    blocks = futures_of(size.matrix(code.p).persist())
    workers = list(client.scheduler_info(n_workers=-1)["workers"])
    shares = [
        client.submit(_mixture, row, blocks, workers=[worker], key=f"matdot-share-{i}")
        for i, (row, worker) in enumerate(zip(code.generator(), workers, strict=True))
    ]
    wait(shares)
    nbytes = size.workers * -(-size.rows // code.p) * COLUMNS * 4
    del blocks

    def iterate(V: np.ndarray) -> np.ndarray:
        futures = {
            client.submit(_quadratic, share, V, workers=[worker], pure=False): i
            for i, (share, worker) in enumerate(zip(shares, workers, strict=True))
        }
        results: dict[int, np.ndarray] = {}
        for future, result in as_completed(list(futures), with_results=True, timeout=PATIENCE):
            results[futures[future]] = result
            if code.is_decodable(results):
                break
        client.cancel(list(futures))
        decoder = code.decoder(results)
        (product,) = combine(decoder.weights, [results[i] for i in decoder.shares])
        return product

    return iterate, nbytes, shares


def _mixture(row: np.ndarray, blocks: list[np.ndarray]) -> np.ndarray:
    rows = max(map(len, blocks))
    padded = [np.pad(block, [(0, rows - len(block)), (0, 0)]) for block in blocks]
    return combine(row[None], padded)[0]


def _quadratic(share: np.ndarray, V: np.ndarray) -> np.ndarray:
    return share.T @ (share @ V)


ARMS = {
    "coded": coded,
    "two encodings": two_encodings,
    "MatDot": matdot,
    "plain Dask": plain,
}


def received(dask_worker: Any) -> int:
    return sum(entry["total"] for entry in dask_worker.transfer_incoming_log)


def moved(client: Client, without: str | None) -> int:
    workers = [w for w in client.scheduler_info(n_workers=-1)["workers"] if w != without]
    return sum(client.run(received, workers=workers).values())


def home(client: Client, future: Any) -> str:
    """The one worker that holds a share of data."""
    while len(holders := next(iter(client.who_has([future]).values()))) != 1:
        time.sleep(0.05)  # copies that parity was made of are on their way out
    return str(holders[0])


Found = tuple[list[float], float] | None
"""Seconds of each iteration, and MiB that one moved; None where patience ended."""


def phase(
    client: Client, iterate: Iterate, size: Size, expected: Any, without: str | None
) -> Found:
    """Some iterations, after one that is not counted."""
    seconds = []
    stream = np.random.default_rng(1)
    before = 0
    for number in range(size.products + 1):
        if number == 1:
            before = moved(client, without)
        V = stream.standard_normal((COLUMNS, WIDTH)).astype("float32")
        began = time.perf_counter()
        try:
            product = iterate(V)
        except TimeoutError:
            return None
        seconds.append(time.perf_counter() - began)
        error = np.abs(product - expected @ V).max() / np.abs(expected @ V).max()
        assert error < 1e-3, f"relative error {error:.1e}"
    mib = (moved(client, without) - before) / size.products / 2**20
    return seconds[1:], mib


def cell(found: Found) -> str:
    """Median seconds, and what was moved."""
    if found is None:
        return f"{'> ' + format(PATIENCE, '.0f'):>9} {'':>8}"
    seconds, mib = found
    return f"{statistics.median(seconds):9.3f} {mib:8.1f}"


def measure(name: str, size: Size, expected: Any, goals: Goals) -> str:
    with EmulatedCluster(size.workers, quota=1.0) as cluster, cluster.client() as client:
        began = time.perf_counter()
        iterate, nbytes, kept = ARMS[name](client, size)
        ready = time.perf_counter() - began
        stored = nbytes / (size.rows * COLUMNS * 4)
        found = {"well": phase(client, iterate, size, expected, None)}
        address = home(client, futures_of(kept)[0])
        victim = next(n for n, worker in cluster.workers.items() if worker.address == address)
        cluster.slow(victim, 10)
        found["slow"] = phase(client, iterate, size, expected, address)
        if name != "plain Dask":
            cluster.restore(victim)
            cluster.freeze(victim)
            found["frozen"] = phase(client, iterate, size, expected, address)
            cluster.thaw(victim)
        del iterate, kept
    goals.note("iterations", arm=name, stored=stored, ready=ready, **found)
    return " ".join([f"{name:14} {stored:7.2f} {ready:8.1f}", *map(cell, found.values())])


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--rows", type=int, default=265_000)
    parser.add_argument("--products", type=int, default=10, help="iterations of each phase")
    args = parser.parse_args()
    print(machine())
    goals = Goals()
    size = Size(5, 4_000, 2) if args.quick else Size(args.workers, args.rows, args.products)
    y = size.rows * WIDTH * 4 / 2**20
    k = size.workers - PARITY
    print(
        f"A {size.rows:,} x {COLUMNS}, float32, on {size.workers} workers; A @ V is {y:.1f} MiB\n"
        f"moved, by count: two encodings {size.workers * y:.0f} MiB always; coded nothing, and "
        f"{2 * y:.0f} MiB for each of {k} terms that is late\n"
    )
    print(
        f"{'':14} {'stored':>7} {'ready s':>8} {'well s':>9} {'moved':>8} {'slow s':>9} "
        f"{'moved':>8} {'frozen s':>9} {'moved':>8}"
    )
    a = Rows(size.rows)[:, :]
    expected = (a.T @ a).astype(np.float64)
    for name in ARMS:
        print(measure(name, size, expected, goals), flush=True)
    goals.write(args.json)


if __name__ == "__main__":
    main()
