"""A batch of products on real worker processes, one of which is frozen and one killed.

Nothing is thawed before the results are there: if they come at all, nobody waited for the frozen.
"""

from collections.abc import Iterator
from typing import Any

import dask.array as da
import numpy as np
import pytest
from distributed import Client, Event
from watching import TRUSTING

from dask_coded.array import coded_matmul_batch, plan_matmul_batch
from dask_coded.cluster import report
from dask_coded.codes import CrossSubspaceAlignment, FlexibleCSA, GeneralizedCSA, Lagrange
from dask_coded.fields import REAL
from dask_coded.testing import EmulatedCluster, assert_clean

pytestmark = pytest.mark.cluster

CYCLE = [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (0, 2)]
STAR = [(0, j) for j in range(4)]


def hang_in_products(dask_worker: Any) -> None:
    """Let products of this worker say that they have begun, and wait."""
    from distributed import Event

    from dask_coded.cluster import _slices

    def hanging(a: Any, b: Any) -> Any:
        Event("hanging").set()
        Event("go on").wait()
        return a @ b

    _slices.sliced_matmul = hanging


def wait_in_products(dask_worker: Any) -> None:
    """Let products of this worker wait for one that hangs, which might come too late otherwise."""
    from distributed import Event

    from dask_coded.cluster import _slices

    def waiting(a: Any, b: Any) -> Any:
        Event("hanging").wait()
        return a @ b

    _slices.sliced_matmul = waiting


def hang(nodes: EmulatedCluster, client: Client, name: str) -> None:
    """From now on products of a worker hang, and no other is done before one of them does."""
    for each, worker in nodes.workers.items():
        deed = hang_in_products if each == name else wait_in_products
        client.run(deed, workers=[worker.address])


def values(shape: tuple[int, int], dtype: str, seed: int) -> np.ndarray:
    stream = np.random.default_rng(seed)
    if np.dtype(dtype).kind in "iu":
        return stream.integers(-1000, 1000, shape).astype(dtype)
    drawn = stream.standard_normal((2, *shape))
    return (drawn[0] + 1j * drawn[1] if np.dtype(dtype).kind == "c" else drawn[0]).astype(dtype)


def batch(edges: list[tuple[int, int]], dtype: str) -> tuple[list[Any], list[np.ndarray]]:
    """Pairs of 2 x 2 chunks each, and their products by NumPy."""
    left = [values((60, 80), dtype, seed) for seed in range(3)]
    right = [values((80, 40), dtype, 10 + seed) for seed in range(4)]
    lefts = [da.from_array(x, chunks=(30, 40)) for x in left]
    rights = [da.from_array(x, chunks=(40, 20)) for x in right]
    return [(lefts[i], rights[j]) for i, j in edges], [left[i] @ right[j] for i, j in edges]


def check(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for value, product in zip(found, expected, strict=True):
        assert value.dtype == product.dtype
        if product.dtype.kind in "iu":
            np.testing.assert_array_equal(value, product)
        else:
            eps = np.finfo(product.dtype).eps
            assert np.abs(value - product).max() <= 1e4 * eps * np.abs(product).max()


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[tuple[EmulatedCluster, Client]]:
    config = getattr(request, "param", None)
    with EmulatedCluster(8, config=config) as cluster, cluster.client() as client:
        yield cluster, client
        for name in cluster.workers:
            cluster.thaw(name)
        Event("go on").set()
        assert_clean(client)


def decoded(client: Client) -> int:
    return int(report(client).totals["decoded"])


def test_one_worker_frozen_and_one_killed(cluster: tuple[EmulatedCluster, Client]) -> None:
    """Every dtype while a worker hangs in its shares, then frozen, then with another one killed."""
    nodes, client = cluster
    coded = [
        (CYCLE, "float64", {"code": FlexibleCSA.for_pairs(CYCLE, 3)}),
        (CYCLE, "float32", {"code": FlexibleCSA.for_pairs(CYCLE, 3, apart=True)}),
        (CYCLE, "complex128", {"code": Lagrange(14, k=6, degree=2)}),
        (CYCLE, "float64", {"code": CrossSubspaceAlignment(10, size=2, groups=3)}),
        ([(0, 0), (0, 1)], "float64", {"code": GeneralizedCSA(8, size=2, m=2, field=REAL)}),
        (STAR, "int64", {"parity": 1}),
    ]
    for edges, dtype, options in coded:
        pairs, expected = batch(edges, dtype)
        check(client.gather(client.compute(coded_matmul_batch(pairs, **options))), expected)
    hang(nodes, client, "w1")
    pairs, expected = batch(CYCLE, "float64")
    futures = client.compute(coded_matmul_batch(pairs, **coded[0][2]))
    # Unless others were given its shares, because it was slow to take them.
    Event("hanging").wait(timeout=20)
    nodes.freeze("w1")
    Event("hanging").set()
    check(client.gather(futures), expected)
    del futures
    for number, (edges, dtype, options) in enumerate(coded):
        pairs, expected = batch(edges, dtype)
        futures = client.compute(coded_matmul_batch(pairs, **options))
        if number == 0:
            nodes.kill("w2")
        check(client.gather(futures), expected)
        del futures


@pytest.mark.parametrize("cluster", [TRUSTING], indirect=True, ids=["trusting"])
def test_late_shares_are_decoded(cluster: tuple[EmulatedCluster, Client]) -> None:
    """What a worker hangs in is decoded from parity, though the worker is in good health."""
    nodes, client = cluster
    pairs, expected = batch(CYCLE, "float64")
    outputs = coded_matmul_batch(pairs, code=FlexibleCSA.for_pairs(CYCLE, 2))
    hang(nodes, client, "w1")
    futures = client.compute(outputs)
    check(client.gather(futures), expected)
    assert decoded(client) > 0
    Event("go on").set()
    del futures


def test_the_plan_sees_the_workers(cluster: tuple[EmulatedCluster, Client]) -> None:
    """Nobody says how much parity, of products of one chunk each that share operands."""
    _, client = cluster
    left, right = ([values((300, 300), "float64", s + side) for s in range(3)] for side in (0, 9))
    lefts, rights = ([da.from_array(x, chunks=300) for x in each] for each in (left, right))
    edges = [(i, j) for i in range(3) for j in range(3) if i != j]
    pairs = [(lefts[i], rights[j]) for i, j in edges]
    plan = plan_matmul_batch(pairs)
    assert plan.codewords
    assert not plan.plain
    for codeword, _, _ in plan.codewords:
        assert codeword.code.n_shares <= 8
        assert codeword.code.tolerated_workers(8) >= 2
    found = client.gather(client.compute(coded_matmul_batch(pairs)))
    check(found, [left[i] @ right[j] for i, j in edges])
