"""Workers come and go because the cluster adapts to its work, while coded products run."""

from typing import Any

import dask.array as da
import numpy as np
import pytest
from distributed import Client, Event, LocalCluster
from watching import wait_until

from dask_coded import coded_matmul, encode, report
from dask_coded.testing import EmulatedCluster, assert_clean

pytestmark = pytest.mark.cluster

RNG = np.random.default_rng(3)
A = RNG.normal(size=(60, 30))
B = RNG.normal(size=(30, 20))


def until_workers(client: Client, enough: Any) -> None:
    wait_until(lambda: enough(len(client.scheduler_info(n_workers=-1)["workers"])))


def held(block: Any, gate: str) -> Any:
    Event(gate).wait()
    return block


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_products_while_workers_come_and_go(processes: bool) -> None:
    """Workers of this process come within no time; those with a process of their own take some."""
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "processes": processes}
    with LocalCluster(n_workers=1, **options) as cluster, Client(cluster) as client:
        check_adapting(cluster, client)


def check_adapting(cluster: LocalCluster, client: Client) -> None:
    cluster.adapt(minimum=1, maximum=4, interval="50ms", wait_count=2, target_duration="10ms")
    for turn in range(2):
        # Work that waits makes the cluster grow: products are submitted on few workers, and
        # finish on more.
        blocker = client.map(held, range(4), gate=f"grow-{turn}", pure=False)
        a = da.from_array(A + turn, chunks=(15, 30))
        x = da.from_array(B, chunks=(30, 20)).map_blocks(held, f"go-{turn}", meta=np.empty((0, 0)))
        products = [coded_matmul(a + i, x, parity=2).persist() for i in range(4)]
        until_workers(client, lambda count: count > 1)
        Event(f"go-{turn}").set()
        Event(f"grow-{turn}").set()
        for i, product in enumerate(products):
            np.testing.assert_allclose(product.compute(), (A + turn + i) @ B)
        # Nothing to do: results of products have to move while workers retire.
        del blocker
        until_workers(client, lambda count: count == 1)
        for i, product in enumerate(products):
            np.testing.assert_allclose(product.compute(), (A + turn + i) @ B)
        del products, product, x
    assert report(client).totals["groups"] >= 8
    assert_clean(client)


def test_an_encoded_matrix_outlives_the_workers_it_was_encoded_on() -> None:
    """Workers that retire give their shares away, and nobody drops what they gave."""
    with EmulatedCluster(5) as cluster, cluster.client() as client:
        encoded = encode(da.from_array(A, chunks=(15, 30)), parity=1).persist()
        np.testing.assert_allclose((encoded @ B).compute(), A @ B)
        for count in (3, 1):
            addresses = [worker.address for worker in cluster.workers.values()]
            client.retire_workers(addresses[count:])
            until_workers(client, lambda now, count=count: now == count)
            np.testing.assert_allclose((encoded @ B).compute(), A @ B)
        for _ in range(3):
            cluster.add()
        np.testing.assert_allclose((encoded @ B).compute(), A @ B)
        del encoded
        assert_clean(client)
