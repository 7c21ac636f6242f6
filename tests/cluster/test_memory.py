"""Workers that run out of memory: the nanny ends the process, and with it all that it held."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
from distributed import Client, KilledWorker
from watching import DEADLINE

from dask_coded import coded_matmul, encode
from dask_coded.testing import EmulatedCluster, assert_clean, signal

pytestmark = pytest.mark.cluster

#: A bare worker takes about a quarter of it.
LIMIT = "600MB"
A = np.random.default_rng(0).normal(size=(60, 30))
B = np.random.default_rng(1).normal(size=(30, 20))
#: Tasks that lose their worker are tried elsewhere once, so that the tests need not wait long.
CONFIGURATION = {
    "distributed.scheduler.allowed-failures": 1,
    "distributed.worker.memory.monitor-interval": "20ms",
    "distributed.worker.memory.terminate": 0.9,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.target": False,
}


def make_greedy() -> Callable[..., Any]:
    """A function that travels whole: workers cannot import what a graph has from these tests."""

    def greedy(block: Any, gate: str, always: bool) -> Any:
        """Takes more memory than the worker has: the first time, or every time."""
        if always or not Path(gate).exists():
            Path(gate).touch()
            signal("greedy", pid=os.getpid())
            hoard = []
            while True:  # until the nanny ends it
                hoard.append(np.ones(2**20))
        return block

    return greedy


greedy = make_greedy()


def operand(gate: Any, *, always: bool) -> Any:
    """Three chunks, of which the second is greedy."""
    a = da.from_array(A, chunks=(20, 30))
    options = {"gate": str(gate), "always": always, "meta": np.empty((0, 0))}
    return da.concatenate([a[:20], a[20:40].map_blocks(greedy, **options), a[40:]])


@pytest.fixture
def cluster() -> Iterator[EmulatedCluster]:
    options = {"nanny": True, "memory_limit": LIMIT, "config": CONFIGURATION}
    with EmulatedCluster(4, **options) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: EmulatedCluster) -> Iterator[Client]:
    with cluster.client() as client:
        yield client
        assert_clean(client)


def test_a_share_that_breaks_its_worker_once(
    cluster: EmulatedCluster, client: Client, tmp_path: Path
) -> None:
    a = operand(tmp_path / "gate", always=False)
    np.testing.assert_allclose(coded_matmul(a, B, parity=1).compute(), A @ B)
    assert cluster.points.wait("greedy", timeout=DEADLINE)


def test_an_operand_that_breaks_every_worker(cluster: EmulatedCluster, client: Client) -> None:
    """Parity is made of it too, so that nothing can stand in: Dask's own error comes out."""
    # A client keeps an exception for good once it was raised.
    with cluster.client(set_as_default=False) as other:
        product = coded_matmul(operand("", always=True), B, parity=1)
        with pytest.raises(KilledWorker, match="greedy"):
            other.compute(product, sync=True)
    product = coded_matmul(da.from_array(A, chunks=(20, 30)), B, parity=1)
    np.testing.assert_allclose(product.compute(), A @ B)


def break_products(dask_worker: Any) -> None:
    """Let the next product on this worker take all its memory."""
    from dask_coded.graph import PlainArithmetic

    PlainArithmetic.multiply = lambda self, a, b: greedy(a, "", True)


def test_products_that_break_a_worker(cluster: EmulatedCluster, client: Client) -> None:
    """A worker that holds a share at rest is lost with it, while it multiplies."""
    encoded = encode(da.from_array(A, chunks=(15, 30)), parity=1).persist()
    np.testing.assert_allclose((encoded @ B).compute(), A @ B)
    for i, name in enumerate(("w1", "w3")):
        client.run(break_products, workers=[cluster.workers[name].address])
        np.testing.assert_allclose((encoded @ (B + i)).compute(), A @ (B + i))
        cluster.points.wait("greedy", i + 1, timeout=90)
        client.wait_for_workers(4)
    np.testing.assert_allclose((encoded @ B).compute(), A @ B)
