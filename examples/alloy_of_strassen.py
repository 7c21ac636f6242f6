"""Seven products instead of eight, and no fixed number of results to wait for.

Strassen's algorithm multiplies matrices of two by two blocks with seven products of combined
blocks. An alloy code gives each of the seven to several workers. How many results are needed then
depends on which they are: with three copies of each, seven may do, and nineteen of 21 are sure to.
The runtime does not count results but asks whether they decode, so that it takes what luck offers.
"""

import dask.array as da
import numpy as np

from dask_coded import Alloy, coded_matmul, typical_recovery_threshold
from dask_coded.cluster import report
from dask_coded.testing import EmulatedCluster, ShiftedExponential, TaskFaults

N_PRODUCTS = 8


def main():
    code = Alloy(21)
    print(f"{code.n_shares} shares of {code.rank} products")
    print(f"sure to decode:              any {code.recovery_threshold} results")
    typical = typical_recovery_threshold(code, loss_probability=1.0, confidence=0.99)
    print(f"decode with 99%:             {typical.results} results in random order")
    print(f"on average:                  {typical.mean:.1f} results in random order")
    for loss in (0.0, 0.01, 0.1):
        typical = typical_recovery_threshold(code, loss, confidence=0.99)
        print(f"in order, {loss:4.0%} of them late: {typical.results} results decode with 99%")

    stream = np.random.default_rng(0)
    late = TaskFaults(
        seed=1, delay=ShiftedExponential(0.05, 0.1), match="coded-matmul", interruptible=True
    )
    with EmulatedCluster(7, threads=3) as cluster, cluster.client() as client:
        for worker in cluster.workers:
            cluster.inject(worker, late)
        for number in range(N_PRODUCTS):
            if number == N_PRODUCTS // 2:
                cluster.freeze("w3")
                print("worker w3 is frozen from here on")
            x, y = stream.standard_normal((2, 600, 600))
            product = coded_matmul(
                da.from_array(x, chunks=(300, 300)), da.from_array(y, chunks=(300, 300)), code=code
            )
            error = np.abs(product.compute() - x @ y).max()
            arrived = len(report(client).groups[-1]["arrived"])
            print(f"product {number + 1}: {arrived:2d} results, off by {error:.0e} at most")
            assert error < 1e-9


if __name__ == "__main__":
    main()
