"""Private data on real clusters stays on trusted workers, whatever is tried."""

import threading
from collections.abc import Iterator
from typing import Any

import dask.array as da
import numpy as np
import pytest
from distributed import Client, Event, wait
from memory import found, marks

from dask_coded import private
from dask_coded.cluster import confined, enable
from dask_coded.errors import BlockShapeError, TrustError, UnsupportedOperationError
from dask_coded.testing import EmulatedCluster, assert_clean

pytestmark = pytest.mark.cluster

TRUSTED = ["w0", "w1"]
B = np.random.default_rng(1).integers(-99, 99, (40, 6))


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[EmulatedCluster, Client]]:
    config = {
        "distributed.scheduler.validate": True,
        # It looks for copies that nobody needs, and would drop those that the tests ask for.
        "distributed.scheduler.active-memory-manager.start": False,
    }
    with EmulatedCluster(7, config=config) as cluster, cluster.client() as client:
        enable(client)
        yield cluster, client


@pytest.fixture
def cluster(shared: tuple[EmulatedCluster, Client]) -> Iterator[EmulatedCluster]:
    cluster, client = shared
    yield cluster
    Event("go", client=client).set()
    assert_clean(client)
    assert not client.run_on_scheduler(guarded), "the scheduler has its own methods back"


@pytest.fixture
def client(shared: tuple[EmulatedCluster, Client], cluster: EmulatedCluster) -> Client:
    Event("go", client=shared[1]).clear()
    return shared[1]


def guarded(dask_scheduler: Any) -> list[str]:
    names = ("send_all", "worker_send", "request_acquire_replicas", "gather_on_worker")
    return [name for name in names if name in vars(dask_scheduler)]


def addresses(cluster: EmulatedCluster) -> list[str]:
    return [cluster.workers[name].address for name in TRUSTED]


def operand(seed: int = 0) -> da.Array:
    """Made by tasks; its values are known to nobody before."""
    return da.random.default_rng(seed).integers(-99, 99, (60, 40), chunks=(20, 25))


def whereabouts(client: Client, x: Any) -> set[str]:
    return {address for holders in client.who_has(x).values() for address in holders}


def inside(cluster: EmulatedCluster, client: Client) -> da.Array:
    """Private data at rest."""
    with confined(addresses(cluster)):
        x = client.persist(operand())
    wait(x)
    return x


def test_products_of_arrays_on_the_cluster(cluster: EmulatedCluster, client: Client) -> None:
    x = operand()
    product = private.matmul(x, B, 1, trusted=TRUSTED)
    assert isinstance(product, da.Array)
    assert product.chunks == ((20, 20, 20), (6,))
    assert product.dtype == np.int64
    np.testing.assert_array_equal(product.compute(), x.compute(scheduler="sync") @ B)
    assert whereabouts(client, product) <= set(addresses(cluster))


@pytest.mark.parametrize("which", ["left", "right", "both"])
def test_either_side_may_be_there(cluster: EmulatedCluster, client: Client, which: str) -> None:
    x, y = operand(), da.random.default_rng(3).integers(0, 9, (40, 30), chunks=(25, 20))
    left = x if which != "right" else x.compute(scheduler="sync")
    right = y if which != "left" else y.compute(scheduler="sync")
    product = private.matmul(left, right, 1, trusted=TRUSTED)
    expected = x.compute(scheduler="sync") @ y.compute(scheduler="sync")
    np.testing.assert_array_equal(product.compute(), expected)


def test_source_blocks_are_in_no_other_memory(cluster: EmulatedCluster, client: Client) -> None:
    """Of all processes only the trusted have the numbers of a source, or of the scattered side."""
    x = da.random.default_rng(5).standard_normal((64, 48), chunks=(32, 48))
    y = np.random.default_rng(6).standard_normal((48, 16))
    with confined(addresses(cluster)):
        x = client.persist(x)
    product = private.matmul(x, y, 1, trusted=TRUSTED, fraction_bits=20)
    wait(product)
    again = da.random.default_rng(5).standard_normal((64, 48), chunks=(32, 48))
    source = marks(again.compute(scheduler="sync"))
    secrets = [*source, *marks(y)]
    trusted = [found(cluster.workers[name].pid, source) for name in TRUSTED]
    assert set.union(*trusted) == set(source), "the search finds what is there"
    assert not found(cluster.workers["w4"].pid, secrets)
    assert not found(cluster.scheduler_pid, secrets)


def test_what_is_made_of_private_data_is_private(cluster: EmulatedCluster, client: Client) -> None:
    x = inside(cluster, client)
    y = client.persist((x + 1).sum(axis=0).rechunk(10))
    wait(y)
    assert whereabouts(client, y) <= set(addresses(cluster))
    z = client.persist(y * 2)
    wait(z)
    assert whereabouts(client, z) <= set(addresses(cluster))


def test_a_task_that_belongs_elsewhere_is_refused(cluster: EmulatedCluster, client: Client) -> None:
    block = client.futures_of(inside(cluster, client))[0]
    future = client.submit(np.sum, block, workers=["w4"], allow_other_workers=False)
    with pytest.raises(TrustError, match="which only"):
        future.result(timeout=30)
    preferring = client.submit(np.max, block, workers=["w4"], allow_other_workers=True)
    wait(preferring)
    assert whereabouts(client, [preferring]) <= set(addresses(cluster))
    future.release()


def test_copies_are_refused(cluster: EmulatedCluster, client: Client) -> None:
    x = inside(cluster, client)
    with pytest.raises(TrustError, match="cannot be replicated"):
        client.replicate(x)
    with pytest.raises(TrustError, match="cannot be replicated"):
        client.replicate(x, n=1, workers=[cluster.workers["w3"].address])
    client.replicate(x, workers=addresses(cluster))
    assert whereabouts(client, x) == set(addresses(cluster))
    public = client.scatter(np.ones(9))
    client.replicate([public])
    assert len(client.who_has([public])[public.key]) == 7


def test_rebalancing_moves_nothing_out(cluster: EmulatedCluster, client: Client) -> None:
    x = inside(cluster, client)
    keys = [future.key for future in client.futures_of(x)]

    async def move(keys: list[Any], targets: list[str], dask_scheduler: Any) -> set[Any]:
        """What rebalancing decides here is in no test's hand; this is what it then does."""
        who_has = {k: [ws.address for ws in dask_scheduler.tasks[k].who_has] for k in keys}
        return await dask_scheduler.gather_on_worker(targets[0], who_has)

    target = [cluster.workers["w5"].address]
    assert client.run_on_scheduler(move, keys, target) == set(keys)
    client.rebalance()
    assert whereabouts(client, x) <= set(addresses(cluster))


def test_the_memory_manager_copies_to_trusted_workers(
    cluster: EmulatedCluster, client: Client
) -> None:
    x = inside(cluster, client)
    keys = [future.key for future in client.futures_of(x)]

    def acquire(keys: list[Any], target: str, dask_scheduler: Any) -> None:
        dask_scheduler.request_acquire_replicas(target, keys, stimulus_id="test")

    client.run_on_scheduler(acquire, keys, cluster.workers["w5"].address)
    while not all(len(holders) == 2 for holders in client.who_has(x).values()):
        pass
    assert whereabouts(client, x) == set(addresses(cluster))


def test_stealing_and_loosening(cluster: EmulatedCluster, client: Client) -> None:
    """Many tasks wait on two workers while five are idle; restrictions are taken away besides."""

    def gate(block: np.ndarray) -> np.ndarray:
        from distributed import Event

        Event("go").wait()
        return block

    with confined(addresses(cluster)):
        x = client.persist(da.ones((64, 4), chunks=(2, 4)).map_blocks(gate, meta=np.empty((0, 0))))
    keys = [future.key for future in client.futures_of(x)]

    def loosen(keys: list[Any], dask_scheduler: Any) -> int:
        if not dask_scheduler.tasks.keys() >= set(keys):
            return 0
        steal = dask_scheduler.extensions["stealing"]
        dask_scheduler.set_restrictions(dict.fromkeys(keys))
        for key in keys:
            dask_scheduler.tasks[key].loose_restrictions = True
        steal.balance()
        return len(keys)

    while not client.run_on_scheduler(loosen, keys):
        pass
    Event("go").set()
    wait(x)
    assert whereabouts(client, x) <= set(addresses(cluster))
    failed = [future for future in client.futures_of(x) if future.status == "error"]
    for future in failed:
        assert isinstance(future.exception(), TrustError)


def test_an_order_for_another_worker_is_not_sent(cluster: EmulatedCluster, client: Client) -> None:
    """The last line: a scheduler that sends a private task to the wrong worker all the same."""

    def gate() -> int:
        from distributed import Event

        Event("go").wait()
        return 1

    def send(key: str, address: str, dask_scheduler: Any) -> None:
        ts, ws = dask_scheduler.tasks[key], dask_scheduler.workers[address]
        ts.processing_on.remove_from_processing(ts)
        ts.processing_on = ws
        ws.add_to_processing(ts)
        dask_scheduler.send_task_to_worker(address, ts)

    def computed(key: str, dask_worker: Any) -> bool:
        return key in dask_worker.state.tasks

    with confined(addresses(cluster)):
        future = client.submit(gate, key="private-gate")
    while not any(client.run(computed, "private-gate").values()):
        pass
    address = cluster.workers["w6"].address
    client.run_on_scheduler(send, "private-gate", address)
    with pytest.raises(TrustError, match="about to be sent to"):
        future.result(timeout=30)
    assert not client.run(computed, "private-gate", workers=[address])[address]
    Event("go").set()
    future.release()


def test_arrays_that_were_elsewhere_are_refused(cluster: EmulatedCluster, client: Client) -> None:
    public = client.persist(operand(7), workers=[cluster.workers["w4"].address])
    wait(public)
    with pytest.raises(TrustError, match="has seen it"):
        private.matmul(public, B, 1, trusted=TRUSTED)
    with pytest.raises(TrustError, match="carry it through the scheduler"):
        private.matmul(da.from_array(np.ones((8, 40)), chunks=4), B, 1, trusted=TRUSTED)
    # One number is no less of a secret.
    with pytest.raises(TrustError, match="carry it through the scheduler"):
        private.matmul(da.from_array(np.ones((1, 1))), B[:1], 1, trusted=TRUSTED)
    trusted = set(addresses(cluster))
    held = client.who_has(client.futures_of(public))
    (seen, *_) = (f for f in client.futures_of(public) if not trusted.issuperset(held[f.key]))
    with confined(addresses(cluster)):
        late = client.submit(np.sum, seen)
    with pytest.raises(TrustError, match="Load it on trusted workers"):
        late.result(timeout=30)
    late.release()
    with pytest.raises(UnsupportedOperationError, match="batches on trusted workers"):
        private.matmul(da.ones((2, 4, 4)), da.ones((2, 4, 4)), 1, trusted=TRUSTED)
    unknown = operand()
    with pytest.raises(BlockShapeError, match="compute_chunk_sizes"):
        private.matmul(unknown[unknown[:, 0] > 0], B, 1, trusted=TRUSTED)


def test_numpy_operands_stay_in_this_process(cluster: EmulatedCluster, client: Client) -> None:
    a = np.arange(80).reshape(2, 40)
    found_now = private.matmul(a, B, 1, trusted=TRUSTED)
    assert isinstance(found_now, np.ndarray)
    np.testing.assert_array_equal(found_now, a @ B)


def test_a_trusted_worker_dies() -> None:
    """The other goes on with fresh noise; when it dies too, the error says so."""

    def gate(block: np.ndarray) -> np.ndarray:
        from distributed import Event

        Event("go").wait()
        return block

    with EmulatedCluster(7) as cluster, cluster.client() as client:
        x = operand().map_blocks(gate, meta=np.empty((0, 0), int))
        product = private.matmul(x, B, 1, trusted=TRUSTED)
        cluster.kill("w0")
        Event("go").set()
        np.testing.assert_array_equal(product.compute(), operand().compute(scheduler="sync") @ B)
        survivor = cluster.workers["w1"].address
        assert whereabouts(client, product) == {survivor}
        Event("go").clear()
        gated = operand(1).map_blocks(gate, meta=np.empty((0, 0), int))
        waiting = private.matmul(gated, operand(2)[:40], 1, trusted=["w1"])
        cluster.kill("w1")
        with pytest.raises(TrustError, match=f"none of its trusted workers {survivor}"):
            client.gather(client.futures_of(waiting))
        held = {a: d for a, d in client.run(lambda dask_worker: len(dask_worker.data)).items() if d}
        assert held == {}


def test_a_trusted_worker_is_frozen_and_thawed() -> None:
    """Nothing spills to others while the only trusted worker is silent."""
    with EmulatedCluster(6) as cluster, cluster.client() as client:
        enable(client)
        with confined([cluster.workers["w0"].address]):
            x = client.persist(operand())
        wait(x)
        cluster.freeze("w0")
        done: list[Any] = []

        def product() -> None:
            product = private.matmul(x, B, 1, trusted=["w0"], client=client)
            done.append(client.compute(product).result())

        thread = threading.Thread(target=product)
        thread.start()
        thread.join(2.0)
        assert not done
        others = [w.address for name, w in cluster.workers.items() if name != "w0"]
        assert set(
            client.run(lambda dask_worker: len(dask_worker.data), workers=others).values()
        ) == {0}
        cluster.thaw("w0")
        thread.join(60)
        np.testing.assert_array_equal(done[0], operand().compute(scheduler="sync") @ B)


def test_retirement_moves_private_data_to_a_trusted_worker() -> None:
    with EmulatedCluster(4) as cluster, cluster.client() as client:
        enable(client)
        x = inside(cluster, client)
        left, right = addresses(cluster)
        client.retire_workers([left])
        assert whereabouts(client, x) == {right}
        np.testing.assert_array_equal(x.compute(), operand().compute(scheduler="sync"))
