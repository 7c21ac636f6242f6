"""Clients that gather from workers themselves, while the worker that holds a result is frozen."""

import dask.array as da
import numpy as np
import pytest
from distributed import futures_of, wait

from dask_coded import coded_matmul, enable
from dask_coded.testing import EmulatedCluster, assert_clean

pytestmark = pytest.mark.cluster

A = np.random.default_rng(0).normal(size=(80, 30))
B = np.random.default_rng(1).normal(size=(30, 20))


@pytest.mark.parametrize("connected", [False, True])
def test_direct_client(connected: bool) -> None:
    """The scheduler cannot break the client's connection off, so the client does when told."""
    with EmulatedCluster(5) as cluster, cluster.client(direct_to_workers=True) as client:
        enable(client)
        if connected:
            addresses = [worker.address for worker in cluster.workers.values()]
            client.gather([client.submit(lambda: 1, workers=[a], pure=False) for a in addresses])
        product = coded_matmul(da.from_array(A, chunks=(20, 30)), B, parity=1).persist()
        futures = futures_of(product)
        wait(futures)
        names = {worker.address: name for name, worker in cluster.workers.items()}
        holders = client.who_has(futures).values()
        cluster.freeze(names[next(iter(holders))[0]])
        for _ in range(2):
            np.testing.assert_allclose(np.concatenate(client.gather(futures)), A @ B)
        product = coded_matmul(da.from_array(A + 1, chunks=(20, 30)), B, parity=1).persist()
        np.testing.assert_allclose(np.concatenate(client.gather(futures_of(product))), (A + 1) @ B)
        del product, futures
        for name in cluster.workers:
            cluster.thaw(name)
        assert_clean(client)
