"""Fewer workers than shares: each holds several, and a lost worker is several lost shares."""

from collections.abc import Iterator

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client

from dask_coded import MDS, coded_matmul, encode
from dask_coded.testing import EmulatedCluster, assert_clean

pytestmark = pytest.mark.cluster

A = np.random.default_rng(0).normal(size=(80, 30))
B = np.random.default_rng(1).normal(size=(30, 20))
CODE = MDS(6, k=4)


@pytest.fixture
def cluster() -> Iterator[EmulatedCluster]:
    with EmulatedCluster(3) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: EmulatedCluster) -> Iterator[Client]:
    with cluster.client() as client:
        yield client
        for name in cluster.workers:
            cluster.thaw(name)
        assert_clean(client)


def matrix(shift: float = 0.0) -> da.Array:
    return da.from_array(A + shift, chunks=(20, 30))


@pytest.mark.parametrize("fault", ["freeze", "kill"])
def test_products_with_one_worker_of_three_out(
    cluster: EmulatedCluster, client: Client, fault: str
) -> None:
    """Two of six shares are lost at once, and two may be."""
    encoded = encode(matrix(), code=CODE).persist()
    np.testing.assert_allclose((encoded @ B).compute(), A @ B)
    getattr(cluster, fault)("w1")
    for i in range(2):
        product = coded_matmul(matrix(i), B, code=CODE)
        np.testing.assert_allclose(product.compute(), (A + i) @ B)
        np.testing.assert_allclose((encoded @ (B + i)).compute(), A @ (B + i))
    del encoded


def test_one_worker_left(cluster: EmulatedCluster, client: Client) -> None:
    product = coded_matmul(matrix(), B, code=CODE).persist()
    for name in ("w0", "w1"):
        cluster.kill(name)
    np.testing.assert_allclose(product.compute(), A @ B)
    np.testing.assert_allclose(coded_matmul(matrix(1), B, code=CODE).compute(), (A + 1) @ B)
    del product


def test_two_groups_share_an_operand_on_a_frozen_worker(
    cluster: EmulatedCluster, client: Client
) -> None:
    b = da.from_array(B, chunks=(30, 20)).map_blocks(np.copy)
    first, second = (coded_matmul(matrix(i), b, code=CODE) for i in range(2))
    cluster.freeze("w2")
    for got, shift in zip(dask.compute(first, second), (0, 1), strict=True):
        np.testing.assert_allclose(got, (A + shift) @ B)
