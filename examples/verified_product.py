"""A worker whose memory flips bits, and products that do not notice, or do.

Nothing crashes and nothing is late: one of seven workers just returns a wrong number now and then.
Plain Dask takes it. With ``verify="correct"`` surplus results tell which result is wrong, the
product is decoded without it, and the report names the worker.

    python examples/verified_product.py
"""

import warnings

import dask.array as da
import numpy as np

from dask_coded import encode
from dask_coded.cluster import report
from dask_coded.errors import WrongResultWarning
from dask_coded.testing import EmulatedCluster, TaskFaults

N_PRODUCTS = 30


def wrong_products(matrix, exact):
    """How many of some products are wrong, and by how much at most."""
    errors = []
    for seed in range(N_PRODUCTS):
        x = np.random.default_rng(seed).normal(size=exact.shape[1])
        expected = exact @ x
        with np.errstate(all="ignore"):
            error = np.abs((matrix @ x).compute() - expected).max() / np.abs(expected).max()
        errors.append(error)
    wrong = [error for error in errors if not error < 1e-9]
    return f"{len(wrong):2d} of {N_PRODUCTS} wrong, relative error up to {max(errors):.1e}"


def main():
    exact = np.random.default_rng(0).normal(size=(700, 300))
    chunked = da.from_array(exact, chunks=(100, 300))

    with EmulatedCluster(7) as cluster, cluster.client() as client:
        names = {worker.address: name for name, worker in cluster.workers.items()}
        plain = chunked.persist()
        coded = encode(chunked, parity=2, verify="correct").persist()

        # From now on every third product that w3 computes for somebody has one bit flipped.
        cluster.inject("w3", TaskFaults(seed=4, corrupt_rate=0.33, match="matmul"))
        print(f"products of a {exact.shape} matrix while worker w3 flips bits of its results")
        print("plain Dask:       ", wrong_products(plain, exact))

        # The shares of verified products have keys like ('coded-matmul-...-parity', group, share).
        cluster.inject("w3", TaskFaults(seed=4, corrupt_rate=0.33, match="-parity',"))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", WrongResultWarning)
            print("verify='correct': ", wrong_products(coded, exact))
        warned = sum(warning.category is WrongResultWarning for warning in caught)

        print(f"\n{warned} warnings; wrong results by worker:")
        for address, count in report(client).totals["wrong_by"].items():
            print(f"  {count:2d} by {names[address]}")


if __name__ == "__main__":
    main()
