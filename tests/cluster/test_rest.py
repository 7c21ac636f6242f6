"""Shares at rest on real workers: one to a worker again, whatever happened meanwhile."""

from typing import Any

import dask.array as da
import numpy as np
import pytest
from distributed import Client, futures_of, wait
from watching import TRUSTING, one_to_a_worker, wait_until

from dask_coded.array import EncodedArray, encode
from dask_coded.cluster import report
from dask_coded.codes import MDS
from dask_coded.errors import UnsupportedOperationError
from dask_coded.testing import EmulatedCluster, assert_clean

pytestmark = pytest.mark.cluster


def holders(client: Client, encoded: EncodedArray) -> list[tuple[str, ...]]:
    held = client.who_has(futures_of(encoded))
    return [tuple(workers) for workers in held.values()]


def all_are_held(client: Client, encoded: EncodedArray) -> bool:
    return all(holders(client, encoded))


def known_at_home(client: Client, encoded: EncodedArray) -> bool:
    """Whether the scheduler knows which worker each share lives on now."""

    def homes(dask_scheduler: Any) -> dict[Any, str]:
        groups = dask_scheduler.plugins["dask-coded"].conductor.groups.values()
        return {key: home for group in groups for key, home in group.home.items()}

    found = client.run_on_scheduler(homes)
    held = client.who_has(futures_of(encoded))
    return all((found.get(key),) == tuple(workers) for key, workers in held.items())


def test_a_rebuilt_share_moves_to_a_worker_of_its_own() -> None:
    data = np.random.default_rng(0).normal(size=(40, 3))
    with EmulatedCluster(6, config=TRUSTING) as cluster, cluster.client() as client:
        encoded = encode(da.from_array(data, chunks=(10, 3)), parity=2).persist()
        wait(encoded)
        wait_until(one_to_a_worker, client, encoded)
        cluster.kill("w1")
        cluster.kill("w4")
        wait_until(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == 4)
        # Rebuilt on the four that are left, which hold more than one then.
        wait_until(all_are_held, client, encoded)
        cluster.replace("w1")
        cluster.replace("w4")
        wait_until(one_to_a_worker, client, encoded)
        wait_until(known_at_home, client, encoded)
        np.testing.assert_allclose((encoded @ np.ones(3)).compute(), data @ np.ones(3))
        del encoded
        assert_clean(client)


def test_more_shares_out_of_reach_than_may_be_lost_are_made_again() -> None:
    data = np.random.default_rng(0).normal(size=(40, 3))
    with EmulatedCluster(6) as cluster, cluster.client() as client:
        encoded = encode(da.from_array(data, chunks=(10, 3)), parity=2).persist()
        wait(encoded)
        wait_until(one_to_a_worker, client, encoded)
        for name in ("w0", "w2", "w5"):
            cluster.freeze(name)
        np.testing.assert_allclose((encoded @ np.ones(3)).compute(), data @ np.ones(3))
        for name in ("w0", "w2", "w5"):
            cluster.thaw(name)
        wait_until(one_to_a_worker, client, encoded)
        del encoded
        assert_clean(client)


def test_a_lost_tile_that_cannot_be_decoded_is_named() -> None:
    """Nothing is said of what is left: a client keeps what it raised for good, futures and all."""
    data = np.random.default_rng(0).normal(size=(40, 3))
    data[3, 1] = np.nan
    # With more suspects than may be lost it would be made again from its source.
    with EmulatedCluster(6, config=TRUSTING) as cluster, cluster.client() as client:
        encoded = encode(da.from_array(data, chunks=(10, 3)), parity=2).persist()
        wait(encoded)
        wait_until(one_to_a_worker, client, encoded)
        (address,) = client.who_has(futures_of(encoded))[encoded.rows.tiles(0)[0]]
        (name,) = (name for name, w in cluster.workers.items() if w.address == address)
        cluster.kill(name)
        with pytest.raises(UnsupportedOperationError, match="nothing can be decoded from this"):
            (encoded @ np.ones(3)).compute()


def test_a_share_that_decoding_would_blur_is_made_of_its_source() -> None:
    """No decoding is as accurate as was asked for here; what is made again is the same."""
    data = np.random.default_rng(0).normal(size=(40, 3))
    with EmulatedCluster(6) as cluster, cluster.client() as client:
        source = da.from_array(data, chunks=(10, 3))
        encoded = encode(source, code=MDS(6, k=4), tolerance=1e-20).persist()
        wait(encoded)
        wait_until(one_to_a_worker, client, encoded)
        before = client.gather(futures_of(encoded))
        cluster.kill("w1")
        cluster.kill("w4")
        wait_until(all_are_held, client, encoded)
        after = client.gather(futures_of(encoded))
        for old, new in zip(before, after, strict=True):
            np.testing.assert_array_equal(old, new)
        del encoded, source
        assert_clean(client)


def test_a_rebuilt_share_stands_in_the_report() -> None:
    data = np.random.default_rng(0).normal(size=(40, 3))
    with EmulatedCluster(6) as cluster, cluster.client() as client:
        encoded = encode(da.from_array(data, chunks=(10, 3)), parity=2).persist()
        wait(encoded)
        wait_until(one_to_a_worker, client, encoded)
        (before,) = report(client).groups
        assert before["amplification"] is None
        cluster.kill("w1")
        wait_until(all_are_held, client, encoded)
        wait_until(lambda: report(client).groups[0]["decoded"] == 1)
        (after,) = report(client).groups
        assert after["amplification"] >= 1
        assert after["resolve_seconds"] == before["resolve_seconds"]
        del encoded
        assert_clean(client)
