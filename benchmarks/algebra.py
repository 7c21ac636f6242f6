"""What the algebra costs while a computation waits for it: deciding and solving, no data.

python benchmarks/algebra.py [--quick]

MatDot has to be factorised, 95 x 95, and on a busy machine BLAS threads wait for each other for
longer than that takes: OPENBLAS_NUM_THREADS=1, which Dask sets for its workers, measures the work.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from dask_coded.codes import LT, MDS, AbstractCode, MatDot, Polynomial, Product
from dask_coded.codes._algebra import algebra


def seconds(actions: Sequence[Callable[[], object]]) -> float:
    """Median time of a call."""
    taken = []
    for action in actions:
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    repeats = 5 if parser.parse_args().quick else 30
    codes: list[AbstractCode] = [
        MDS(100, 90),
        MDS(100, 96),
        Polynomial(100, 9, 10),
        MatDot(100, 48),
        Product(MDS(10, 8), MDS(10, 8)),
        LT(100, 60),
    ]
    print(
        f"{'100 shares':12} {'first use':>10} {'cold decoder':>13} {'cached':>9} "
        f"{'is_decodable, one survivor at a time':>38}"
    )
    print(f"{'':12} {'ms':>10} {'ms':>13} {'us':>9} {'mean us':>28} {'worst us':>9}")
    for code in codes:
        algebra.cache_clear()
        start = time.perf_counter()
        code.decoder(range(100))
        first = time.perf_counter() - start
        stream = np.random.default_rng(0)
        spare = max(1, 100 - code.recovery_threshold)

        def lose(count: int, stream: np.random.Generator = stream) -> list[int]:
            lost = set(stream.choice(100, count, replace=False).tolist())
            return [share for share in range(100) if share not in lost]

        tries = [lose(spare) for _ in range(repeats)]
        tries = [survivors for survivors in tries if code.is_decodable(survivors)]
        cold = seconds([partial(code.decoder, survivors) for survivors in tries])
        cached = seconds([partial(code.decoder, tries[0])] * 200)
        each = np.empty((repeats, 100))
        for repeat in range(repeats):
            order = stream.permutation(100).tolist()
            for count in range(1, 101):
                start = time.perf_counter()
                code.is_decodable(order[:count])
                each[repeat, count - 1] = time.perf_counter() - start
        # Of each arrival the median over the repeats, which leaves out what else the machine did.
        arrivals = np.median(each, axis=0)
        print(
            f"{code.name:12} {first * 1e3:10.1f} {cold * 1e3:13.2f} {cached * 1e6:9.1f} "
            f"{arrivals.mean() * 1e6:28.1f} {arrivals.max() * 1e6:9.1f}",
            flush=True,
        )
    print("goals: cold < 10 ms, cached < 20 us, is_decodable < 50 us each")


if __name__ == "__main__":
    main()
