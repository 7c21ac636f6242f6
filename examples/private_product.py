"""A product that eight workers compute without learning what they multiply.

A clinic has measurements of its patients, and rents workers for a product that is too much for its
own machine. Each worker gets one share of each matrix: uniform noise, as far as it can tell, even
together with any other worker. One of them freezes, one returns nonsense; the product is exact to
the bits that were asked for all the same.
"""

import numpy as np

from dask_coded import private
from dask_coded.testing import EmulatedCluster

N_PATIENTS, N_MEASUREMENTS, N_SCORES = 3000, 120, 8


def return_nonsense(dask_worker):
    """Make a worker lie from now on; stands for a bug, a flipped bit, or bad will."""
    from dask_coded.private import _worker

    true = _worker._product

    def wrong(*args):
        return true(*args)[::-1].copy() if dask_worker.name == "w6" else true(*args)

    _worker._product = wrong


def main():
    rng = np.random.default_rng(0)
    measurements = rng.normal(100, 20, (N_PATIENTS, N_MEASUREMENTS))
    weights = rng.normal(0, 1, (N_MEASUREMENTS, N_SCORES))
    expected = measurements @ weights

    with EmulatedCluster(8) as cluster, cluster.client() as client:
        client.run(return_nonsense)
        cluster.freeze("w2")
        scores = private.matmul(measurements, weights, colluding=1, parity=2, fraction_bits=20)

    bound = N_MEASUREMENTS * 2.0**-21 * (np.abs(weights).max() + np.abs(measurements).max() + 1)
    error = np.abs(scores - expected).max()
    print(f"{scores.shape} scores, off by {error:.1e} at most; {bound:.1e} was promised")
    assert error <= bound


if __name__ == "__main__":
    main()
