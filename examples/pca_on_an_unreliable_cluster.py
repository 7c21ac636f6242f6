"""Principal components on a cluster of which one worker stops answering in the middle.

Ten worker processes hold an encoded matrix, one share each; any eight of the shares are enough for
a product. Half way through the iteration one process is stopped, as if its machine were swapping
or had lost its network. The iteration goes on, and finds what LAPACK finds.

``python -m dask_coded demo`` does the same with photographs, beside plain Dask, and draws it.
"""

import time

import dask.array as da
import numpy as np

from dask_coded.array import encode
from dask_coded.cluster import report
from dask_coded.testing import EmulatedCluster

N_ROWS, N_COLUMNS, N_COMPONENTS = 20_000, 100, 4
N_ITERATIONS = 12


def main():
    rng = np.random.default_rng(0)
    blocks = da.random.default_rng(0).standard_normal((N_ROWS, N_COLUMNS), chunks=(2_500, -1))
    a = blocks * 0.8 ** np.arange(N_COLUMNS)
    V = np.linalg.qr(rng.standard_normal((N_COLUMNS, 2 * N_COMPONENTS))).Q

    with EmulatedCluster(10) as cluster, cluster.client() as client:
        A = encode(a, parity=2, adjoint=True).persist()
        print(A, end="\n\n")
        for iteration in range(N_ITERATIONS):
            if iteration == N_ITERATIONS // 2:
                cluster.freeze("w3")
                print("worker w3 is frozen from here on")
            began = time.perf_counter()
            product = (A.T @ (A @ V)).compute()
            print(f"iteration {iteration + 1:2d}: {time.perf_counter() - began:.2f} s")
            V = np.linalg.qr(product).Q
        print(f"\n{report(client)}\n")

    a = a.compute()
    found = np.linalg.svd(a @ V, compute_uv=False)[:N_COMPONENTS]
    expected = np.linalg.svd(a, compute_uv=False)[:N_COMPONENTS]
    error = np.abs(found / expected - 1).max()
    print(f"{N_COMPONENTS} leading singular values, off by {error:.1e} at most:", found.round(2))
    assert error < 1e-4


if __name__ == "__main__":
    main()
