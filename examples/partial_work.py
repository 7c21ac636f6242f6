"""A slow worker is not a lost one: what it has finished counts.

Of five workers one has half of the speed of the others and one a fifth. With one large share each,
a product waits for four of the five shares, so at least for the worker of half speed. With four
small shares each it waits for sixteen of twenty, whoever made them; the slow ones give what they
can. `parity=1` means the same in both: any one worker may be lost.
"""

import time
from collections import Counter

import dask.array as da
import numpy as np

from dask_coded import coded_matmul, plan_matmul
from dask_coded.cluster import report
from dask_coded.testing import EmulatedCluster

N_PRODUCTS = 2
SIZE = 1920
SLOWER = {"w3": 2, "w4": 5}


def main():
    stream = da.random.default_rng(0)
    with EmulatedCluster(5, quota=1.0) as cluster, cluster.client() as client:
        names = {worker.address: name for name, worker in cluster.workers.items()}
        for worker, factor in SLOWER.items():
            cluster.slow(worker, factor)
        for each in (1, 4):
            rows = SIZE // (4 * each)
            right = stream.standard_normal((SIZE, SIZE), chunks=-1).persist()
            b = right.compute()
            for number in range(N_PRODUCTS):
                left = stream.standard_normal((SIZE, SIZE), chunks=(rows, SIZE)).persist()
                a = left.compute()
                options = {"parity": 1, "shares_per_worker": each}
                if number == 0:
                    print(f"\n{each} for each worker: {plan_matmul(left, right, **options).code}")
                began = time.perf_counter()
                found = coded_matmul(left, right, **options).compute()
                seconds = time.perf_counter() - began
                error = np.abs(found - a @ b).max()
                assert error < 1e-8
                group = report(client).groups[-1]
                done = Counter(names[group["workers"][str(share)]] for share in group["arrived"])
                finished = ", ".join(f"{name} {done[name]}" for name in sorted(names.values()))
                print(f"product {number + 1}: {seconds:.2f} s; results of {finished}")


if __name__ == "__main__":
    main()
