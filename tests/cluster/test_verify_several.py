"""Several workers that err at once, on real processes: as many as surplus results can locate."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from distributed import Client, wait
from harming import cure, home, patch, spoil
from watching import FIXED

from dask_coded import encode
from dask_coded.array import EncodedArray
from dask_coded.cluster import enable, report
from dask_coded.errors import WrongResultError, WrongResultWarning
from dask_coded.testing import EmulatedCluster, assert_clean

pytestmark = pytest.mark.cluster

RNG = np.random.default_rng(5)
A, B = RNG.normal(size=(360, 80)), RNG.normal(size=(80, 20))


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmulatedCluster]:
    with EmulatedCluster(8, config=FIXED) as made:
        yield made


@pytest.fixture
def client(cluster: EmulatedCluster) -> Iterator[Client]:
    with cluster.client() as made:
        enable(made)
        yield made
        cure(made)
        assert_clean(made)


def kept(verify: Any) -> EncodedArray:
    """Four blocks and four parities, one to each worker; 3 waits for the results of all."""
    encoded = encode(A, parity=4, verify=verify).persist()
    wait(encoded)
    return encoded


def addresses(
    cluster: EmulatedCluster, client: Client, encoded: EncodedArray, shares: tuple[int, ...]
) -> set[str]:
    names = [home(cluster, client, encoded, share) for share in shares]
    return {str(cluster.workers[name].address) for name in names}


def product(encoded: EncodedArray) -> Any:
    with warnings.catch_warnings(action="ignore", category=WrongResultWarning):
        return (encoded @ B).compute()


def named(client: Client, before: int) -> set[str]:
    groups = report(client).groups[before:]
    return {worker for group in groups for worker in group["wrong"].values()}


@pytest.mark.parametrize("shares", [(0, 1, 2), (1, 4, 7), (5, 6, 7)])
def test_independent_errors_of_as_many_as_are_surplus_less_one(
    cluster: EmulatedCluster, client: Client, shares: tuple[int, ...]
) -> None:
    encoded = kept(3)
    before = len(report(client).groups)
    who = spoil(cluster, client, encoded, [home(cluster, client, encoded, s) for s in shares])
    np.testing.assert_allclose(product(encoded), A @ B, rtol=1e-9, atol=1e-9)
    assert named(client, before) == who
    del encoded


@pytest.mark.parametrize("shares", [(0, 3), (2, 6), (1, 2, 5)])
def test_errors_that_are_alike_of_half_as_many_as_are_surplus(
    cluster: EmulatedCluster, client: Client, shares: tuple[int, ...]
) -> None:
    """Of more nothing is passed on, and nobody is accused."""
    encoded = kept(3)
    before = len(report(client).groups)
    who = addresses(cluster, client, encoded, shares)
    patch(client, who, "matmul", lambda plain, *args: plain(*args) + 1.0)
    if len(shares) <= 2:
        np.testing.assert_allclose(product(encoded), A @ B, rtol=1e-9, atol=1e-9)
        assert named(client, before) == who
    else:
        with pytest.raises(WrongResultError, match="cannot be told"):
            product(encoded)
        assert named(client, before) == set()
    del encoded


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_an_erasure(
    cluster: EmulatedCluster, client: Client, value: float
) -> None:
    """It accuses nobody, and beside it others are still located."""
    encoded = kept(3)
    before = len(report(client).groups)
    sick = addresses(cluster, client, encoded, (0, 5))

    def spoiled(plain: Any, *args: Any) -> Any:
        result = np.array(plain(*args))
        result[3, 4] = value
        return result

    patch(client, sick, "matmul", spoiled)
    np.testing.assert_allclose(product(encoded), A @ B, rtol=1e-9, atol=1e-9)
    assert named(client, before) == set()
    who = spoil(cluster, client, encoded, [home(cluster, client, encoded, 2)])
    np.testing.assert_allclose(product(encoded), A @ B, rtol=1e-9, atol=1e-9)
    assert named(client, before) == who
    del encoded
