"""Encoded matrices on real workers, multiplied by operands of another dtype than theirs."""

import warnings
from collections.abc import Iterator
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, futures_of, wait
from watching import TRUSTING, one_to_a_worker, wait_until

from dask_coded.array import EncodedArray, encode
from dask_coded.errors import AmplificationWarning
from dask_coded.testing import EmulatedCluster, assert_clean

pytestmark = pytest.mark.cluster

RNG = np.random.default_rng(5)
IMAGE = RNG.integers(200, 256, (43, 6), dtype=np.uint8)
V, Y = RNG.standard_normal((6, 2)), RNG.standard_normal((43, 2))


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[EmulatedCluster]:
    with EmulatedCluster(5, config=getattr(request, "param", None)) as started:
        yield started


@pytest.fixture
def client(cluster: EmulatedCluster) -> Iterator[Client]:
    with cluster.client() as connected:
        yield connected
        assert_clean(connected)


def home_of(cluster: EmulatedCluster, client: Client, encoded: EncodedArray, share: int) -> str:
    """Name of the one worker that holds a share."""

    names = {worker.address: name for name, worker in cluster.workers.items()}

    def home() -> str | None:
        # The scheduler may not know yet who was killed just now.
        found = [names.get(x) for x in client.who_has(futures_of(encoded))[encoded.name, 0, share]]
        return found[0] if len(found) == 1 else None

    wait_until(lambda: home() is not None)
    return str(home())


def all_are_held(client: Client, encoded: EncodedArray) -> bool:
    return all(client.who_has(futures_of(encoded)).values())


def check(encoded: EncodedArray, step: int) -> None:
    """Both products, with operands of this step: the scheduler may still know an earlier one's."""
    np.testing.assert_allclose((encoded @ (V + step)).compute(), IMAGE @ (V + step))
    np.testing.assert_allclose((encoded.T @ (Y + step)).compute(), IMAGE.T @ (Y + step))


def test_small_integers_whose_shares_are_late_and_lost(
    cluster: EmulatedCluster, client: Client
) -> None:
    encoded = encode(da.from_array(IMAGE, chunks=(9, 6)), parity=1).persist()
    wait(encoded)

    late = home_of(cluster, client, encoded, 1)
    cluster.freeze(late)
    check(encoded, 0)
    cluster.thaw(late)
    for step, share in enumerate((2, 4, 0), start=1):
        # A block, which parity gives back; parity, which is wider; and a block from that.
        cluster.kill(home_of(cluster, client, encoded, share))
        wait_until(all_are_held, client, encoded)
        check(encoded, step)
    np.testing.assert_array_equal(encoded.decode().compute(), IMAGE, strict=True)
    (tiles,) = dask.compute(encoded)
    np.testing.assert_array_equal(tiles, IMAGE, strict=True)
    del encoded


def fail_in_products(dask_worker: Any) -> None:
    from dask_coded.graph import PlainArithmetic

    def failing(self: Any, a: Any, b: Any) -> Any:
        raise ArithmeticError("broken")

    PlainArithmetic.multiply = failing


# The one share whose product fails is made nowhere else, and no other fails.
FIXED = TRUSTING | {"distributed.scheduler.work-stealing": False}


@pytest.mark.parametrize("cluster", [FIXED], indirect=True, ids=["fixed"])
def test_digits_that_the_shares_never_had_are_not_promised(
    cluster: EmulatedCluster, client: Client
) -> None:
    single = IMAGE.astype(np.float32) / 7
    encoded = encode(single, parity=1, tolerance=1e-9).persist()
    wait(encoded)
    wait_until(one_to_a_worker, client, encoded)
    victim = cluster.workers[home_of(cluster, client, encoded, 0)].address
    client.run(fail_in_products, workers=[victim])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        product = (encoded @ V).compute()
        # The warning comes by another way than the result.
        wait_until(lambda: any(w.category is AmplificationWarning for w in caught))
    assert product.dtype == np.float64
    np.testing.assert_allclose(product, single @ V, rtol=1e-4, atol=1e-4)
    del encoded
