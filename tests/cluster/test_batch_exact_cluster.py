"""Exact batches, and mixtures that codewords have in common, on real worker processes.

Nothing is thawed before the results are there: if they come at all, nobody waited for the frozen.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import dask.array as da
import numpy as np
import pytest
from distributed import Client, Event

from dask_coded.array import coded_matmul_batch, plan_matmul_batch
from dask_coded.codes import (
    AbstractCode,
    CrossSubspaceAlignment,
    FlexibleCSA,
    GeneralizedCSA,
    Lagrange,
)
from dask_coded.errors import FieldRangeError
from dask_coded.fields import PrimeField
from dask_coded.testing import EmulatedCluster, assert_clean

pytestmark = pytest.mark.cluster

M31, M61 = PrimeField(2**31 - 1), PrimeField(2**61 - 1)
CYCLE = [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (0, 2)]
CODED: list[tuple[list[tuple[int, int]], AbstractCode]] = [
    ([(0, 0), (0, 1)], GeneralizedCSA(11, size=2, p=2)),
    ([(0, 0), (1, 0)], GeneralizedCSA(16, size=2, m=2, n=2, field=M61)),
    (CYCLE, FlexibleCSA.for_pairs(CYCLE, 4, field=M31)),
    (CYCLE, CrossSubspaceAlignment(12, size=2, groups=3, field=M61)),
    ([(0, 0), (1, 1), (2, 2)], Lagrange(9, k=3, degree=2, field=M31)),
]


def hang_in_products(dask_worker: Any) -> None:
    """Let products of this worker say that they have begun, and wait."""
    import operator

    from distributed import Event

    from dask_coded.cluster import _slices

    def hanging(a: Any, b: Any, multiply: Any = operator.matmul) -> Any:
        Event("hanging").set()
        Event("go on").wait()
        return multiply(a, b)

    _slices.sliced_matmul = hanging


def batch(edges: list[tuple[int, int]]) -> tuple[list[Any], list[np.ndarray]]:
    """Pairs of 2 x 2 chunks each, and their products by NumPy."""
    stream = np.random.default_rng(0)
    left = [stream.integers(-1000, 1000, (60, 80)) for _ in range(3)]
    right = [stream.integers(-1000, 1000, (80, 40)) for _ in range(3)]
    lefts = [da.from_array(x, chunks=(30, 40)) for x in left]
    rights = [da.from_array(x, chunks=(40, 20)) for x in right]
    return [(lefts[i], rights[j]) for i, j in edges], [left[i] @ right[j] for i, j in edges]


def check(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for value, product in zip(found, expected, strict=True):
        assert value.dtype == product.dtype
        np.testing.assert_array_equal(value, product)


@pytest.fixture
def cluster() -> Iterator[tuple[EmulatedCluster, Client]]:
    with EmulatedCluster(8) as cluster, cluster.client() as client:
        yield cluster, client
        for name in cluster.workers:
            cluster.thaw(name)
        Event("go on").set()
        assert_clean(client)


def test_one_worker_frozen_and_one_killed(cluster: tuple[EmulatedCluster, Client]) -> None:
    """Every exact code while a worker hangs in its shares, then frozen, then with one killed."""
    nodes, client = cluster
    for edges, code in CODED:
        pairs, expected = batch(edges)
        check(client.gather(client.compute(coded_matmul_batch(pairs, code=code))), expected)
    client.run(hang_in_products, workers=[nodes.workers["w1"].address])
    pairs, expected = batch(CODED[0][0])
    futures = client.compute(coded_matmul_batch(pairs, code=CODED[0][1]))
    Event("hanging").wait()
    nodes.freeze("w1")
    check(client.gather(futures), expected)
    del futures
    for number, (edges, code) in enumerate(CODED):
        pairs, expected = batch(edges)
        futures = client.compute(coded_matmul_batch(pairs, code=code))
        if number == 0:
            nodes.kill("w2")
        check(client.gather(futures), expected)
        del futures


def test_products_out_of_range_are_an_error(cluster: tuple[EmulatedCluster, Client]) -> None:
    _, client = cluster
    large = da.full((4, 4), 2**40, chunks=2, dtype="int64")
    outputs = coded_matmul_batch([(large, large)], code=GeneralizedCSA(6, size=1, p=2, field=M61))
    (future,) = client.compute(outputs)
    # Not raised here: its traceback would hold the future.
    error = future.exception()
    assert isinstance(error, FieldRangeError)
    assert "high and low digits" in str(error)
    del future


@pytest.mark.parametrize("parity", [1, 2])
def test_one_worker_hangs_in_codewords_with_common_mixtures(
    cluster: tuple[EmulatedCluster, Client], parity: int
) -> None:
    """What a worker made for several codewords, or should have, costs none of them its parity."""
    nodes, client = cluster
    stream = np.random.default_rng(0)
    operands = [stream.standard_normal((300, 300)) for _ in range(8)]
    arrays = [da.from_array(x, chunks=300) for x in operands]
    plan = plan_matmul_batch(itertools.product(arrays[:4], arrays[4:]), parity=parity)
    assert len(plan.codewords) > 1
    client.run(hang_in_products, workers=[nodes.workers["w1"].address])
    futures = client.compute(plan.build())
    found = client.gather(futures)
    for value, (x, y) in zip(found, itertools.product(operands[:4], operands[4:]), strict=True):
        np.testing.assert_allclose(value, x @ y, rtol=0, atol=1e-8)
    del futures


def test_mixtures_outlive_the_codeword_that_is_given_up(
    cluster: tuple[EmulatedCluster, Client],
) -> None:
    """Four codewords of all pairs; half are cancelled while a worker hangs, the others come."""
    nodes, client = cluster
    stream = np.random.default_rng(0)
    left, right = ([stream.standard_normal((300, 300)) for _ in range(4)] for _ in range(2))
    lefts, rights = ([da.from_array(x, chunks=300) for x in each] for each in (left, right))
    edges = list(itertools.product(range(4), range(4)))
    plan = plan_matmul_batch([(lefts[i], rights[j]) for i, j in edges], parity=2)
    assert len(plan.codewords) > 1
    outputs = plan.build()
    keys = {str(key[0]) for key in outputs[0].__dask_graph__() if isinstance(key, tuple)}
    shared = {key for key in keys if key.startswith("coded-batch-encode")}
    other = {str(key[0]) for key in outputs[2].__dask_graph__() if isinstance(key, tuple)}
    assert shared & other
    client.run(hang_in_products, workers=[nodes.workers["w1"].address])
    futures = client.compute(outputs)
    Event("hanging").wait()
    kept = [number for number, (_, j) in enumerate(edges) if j in (2, 3)]
    held = [futures[number] for number in kept]
    del futures
    found = client.gather(held)
    for number, value in zip(kept, found, strict=True):
        i, j = edges[number]
        np.testing.assert_allclose(value, left[i] @ right[j], rtol=0, atol=1e-8)
    del held
