"""Frozen workers under products that were written without a thought of codes."""

from collections.abc import Iterator
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client

import dask_coded
from dask_coded.testing import EmulatedCluster, TaskFaults, assert_clean

pytestmark = pytest.mark.cluster

A = np.random.default_rng(0).normal(size=(80, 30))
B = np.random.default_rng(1).normal(size=(30, 20))


@pytest.fixture
def cluster() -> Iterator[EmulatedCluster]:
    with EmulatedCluster(5) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: EmulatedCluster) -> Iterator[Client]:
    with cluster.client() as client:
        dask_coded.enable(client)
        yield client
        for name in cluster.workers:
            cluster.thaw(name)
        assert_clean(client)


def operands() -> tuple[da.Array, da.Array]:
    return da.from_array(A, chunks=(20, 30)), da.from_array(B, chunks=(30, 20))


@pytest.mark.parametrize("moment", ["before", "during"])
@pytest.mark.parametrize("way", ["context", "option"])
def test_hook_with_a_frozen_worker(
    cluster: EmulatedCluster, client: Client, way: str, moment: str
) -> None:
    a, b = operands()
    if moment == "before":
        cluster.freeze("w1")
    else:
        cluster.inject("w1", TaskFaults(seed=0, announce="task"))
    if way == "context":
        hook: Any = dask_coded.optimize(parity=1)
    else:
        hook = dask.config.set(array_optimize=dask_coded.optimize_graph)
    with hook:
        future = client.compute(a @ b)
        if moment == "during":
            cluster.points.wait("task-started@w1", timeout=90)
            cluster.freeze("w1")
        np.testing.assert_allclose(future.result(), A @ B)
        np.testing.assert_allclose(((a + 1) @ b).sum(axis=1).compute(), ((A + 1) @ B).sum(axis=1))
    del future
    assert dask_coded.report(client).totals["groups"] >= 2
