"""Ctrl-C, and clients that leave in the middle: the cluster goes on, and nothing is left on it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import dask.array as da
import numpy as np
import pytest
from distributed import Client

from dask_coded import coded_matmul, report
from dask_coded.testing import ConstantDelay, EmulatedCluster, TaskFaults, assert_clean

pytestmark = pytest.mark.cluster

A = np.random.default_rng(0).normal(size=(80, 30))
B = np.random.default_rng(1).normal(size=(30, 20))

#: What a user runs; says how it ended.
SCRIPT = """
import sys
import dask.array as da
import numpy as np
from distributed import Client
from dask_coded import coded_matmul, encode

client = Client(sys.argv[1])
a = da.from_array(np.ones((80, 30)), chunks=(20, 30))
try:
    if sys.argv[2] == "encoded":
        product = encode(a, parity=1).persist() @ np.ones((30, 2))
    else:
        product = coded_matmul(a, np.ones((30, 2)), parity=1)
    print("computing", flush=True)
    product.compute()
except KeyboardInterrupt:
    print("interrupted", flush=True)
    if sys.argv[3] == "stays":
        try:
            del product
            print("again", float(coded_matmul(a, np.ones((30, 2)), parity=1).sum().compute()))
        finally:
            client.close()
"""


@pytest.fixture
def cluster() -> Iterator[EmulatedCluster]:
    with EmulatedCluster(5) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: EmulatedCluster) -> Iterator[Client]:
    with cluster.client() as client:
        yield client
        check_products(client)
        assert_clean(client)


def check_products(client: Client) -> None:
    product = coded_matmul(da.from_array(A, chunks=(20, 30)), B, parity=1)
    np.testing.assert_allclose(product.compute(), A @ B)
    assert report(client).totals["groups"]


def hold_products(cluster: EmulatedCluster) -> None:
    """Products take too long for any test, until nobody wants them."""
    faults = TaskFaults(
        0, ConstantDelay(600.0), match="coded-matmul", interruptible=True, announce="product"
    )
    for name in cluster.workers:
        cluster.inject(name, faults)


def release_products(cluster: EmulatedCluster) -> None:
    for name in cluster.workers:
        cluster.inject(name, None)


def listen_to_interrupts() -> None:
    """What runs in the background of a shell ignores Ctrl-C, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("after", ["leaves", "stays"])
@pytest.mark.parametrize("kind", ["matmul", "encoded"])
def test_interrupted_client(
    cluster: EmulatedCluster, client: Client, kind: str, after: str
) -> None:
    hold_products(cluster)
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, cluster.scheduler_address, kind, after],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
        preexec_fn=listen_to_interrupts,
    ) as process:
        assert cluster.points.wait("product-started", timeout=90)
        # Released first, it might be done before it is interrupted.
        process.send_signal(signal.SIGINT)
        release_products(cluster)
        output, _ = process.communicate(timeout=90)
    assert "interrupted" in output
    assert process.returncode == 0
    if after == "stays":
        assert "again 4800.0" in output


def test_killed_client(cluster: EmulatedCluster, client: Client) -> None:
    hold_products(cluster)
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, cluster.scheduler_address, "matmul", ""],
        stdout=subprocess.PIPE,
    ) as process:
        assert cluster.points.wait("product-started", timeout=90)
        release_products(cluster)
        process.kill()


def test_client_closed_in_the_middle(cluster: EmulatedCluster, client: Client) -> None:
    hold_products(cluster)
    with cluster.client(set_as_default=False) as other:
        future = other.compute(coded_matmul(da.from_array(A, chunks=(20, 30)), B, parity=1))
        assert cluster.points.wait("product-started", timeout=90)
        release_products(cluster)
    assert future.status == "cancelled"
