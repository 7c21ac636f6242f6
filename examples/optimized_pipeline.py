"""A computation that knows nothing of codes, on a cluster of which one worker is frozen.

Scores of a small neural network, written with Dask's own operators. Inside `optimize` its products
are coded where they stand; `explain` says by which code, and what it leaves and why. To have that
for good, set it in the configuration: `dask.config.set(array_optimize=dask_coded.optimize_graph)`.
"""

import time

import dask.array as da
import numpy as np

from dask_coded import explain, optimize
from dask_coded.testing import EmulatedCluster

N_ROWS, N_FEATURES, N_HIDDEN = 12_000, 400, 50


def scores(features, first, second):
    hidden = da.maximum((features - features.mean(axis=0)) @ first, 0)
    return (hidden @ second).sum(axis=1)


def main():
    stream = np.random.default_rng(0)
    first = stream.standard_normal((N_FEATURES, N_HIDDEN))
    second = stream.standard_normal((N_HIDDEN, 3))
    with EmulatedCluster(6) as cluster, cluster.client():
        made = da.random.default_rng(0).standard_normal(
            (N_ROWS, N_FEATURES), chunks=(N_ROWS // 4, N_FEATURES)
        )
        features = made.persist()
        values = features.compute()
        lazy = scores(features, first, second)
        print(explain(lazy, parity=2))
        with optimize(parity=2):
            lazy.compute()  # the first one finds out how long things take
            cluster.freeze("w2")
            began = time.perf_counter()
            found = lazy.compute()
            seconds = time.perf_counter() - began
        expected = np.maximum((values - values.mean(axis=0)) @ first, 0) @ second
        error = np.abs(found - expected.sum(axis=1)).max()
        assert error < 1e-8
        print(f"with one of six workers frozen: {seconds:.2f} s, right to {error:.1e}")


if __name__ == "__main__":
    main()
