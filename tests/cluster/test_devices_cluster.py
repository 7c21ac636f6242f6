"""Device chunks on real worker processes, some of which have no device.

Chunks are made where they live, by ``map_blocks``, and are of a stand-in for CuPy's type that
raises wherever CuPy would (``tests/array/device_arrays.py``).
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask._task_spec import convert_legacy_task
from distributed import Client, Scheduler, Worker, futures_of, wait
from distributed.utils_test import gen_cluster
from watching import on_workers, until

from dask_coded.array import coded_matmul, coded_matmul_batch, encode, optimize
from dask_coded.cluster._placement import unequipped
from dask_coded.cluster._scheduler_state import SchedulerState
from dask_coded.errors import DeviceError
from dask_coded.testing import EmulatedCluster, assert_clean

MODULE = Path(__file__).parents[1] / "array" / "device_arrays.py"
sys.path.insert(0, str(MODULE.parent))

import device_arrays  # noqa: E402

pytestmark = pytest.mark.cluster

RNG = np.random.default_rng(8)
A = RNG.standard_normal((120, 30))
B = RNG.standard_normal((30, 20))
Y = RNG.standard_normal((120, 3))


@contextmanager
def device_cluster(n_workers: int) -> Iterator[tuple[EmulatedCluster, Client]]:
    preload = [str(MODULE)]
    with (
        EmulatedCluster(n_workers, preload=preload, worker_preload=preload) as cluster,
        cluster.client() as client,
    ):
        yield cluster, client
        for name in cluster.workers:
            cluster.thaw(name)
        assert_clean(client)


def on_device(host: Any, chunks: Any) -> da.Array:
    """Chunks that are sent to a device by whoever computes them."""
    meta = device_arrays.asarray(np.empty((0,) * host.ndim))
    return da.from_array(host, chunks=chunks).map_blocks(device_arrays.asarray, meta=meta)


def check(value: Any, expected: Any) -> None:
    assert type(value) is device_arrays.DeviceArray
    np.testing.assert_allclose(value.get(), expected, rtol=1e-9, atol=1e-9)


async def equip(dask_worker: Any) -> None:
    await dask_worker.set_resources(GPU=1)


def take_device_away() -> None:
    import device_arrays

    device_arrays.counts.absent = True


def refused() -> int:
    import device_arrays

    return device_arrays.counts.refused


def mix(cluster: EmulatedCluster, client: Client, without: list[str]) -> None:
    """Some workers and the scheduler without a device; the other workers say that they have one."""
    client.run_on_scheduler(take_device_away)
    bare = [cluster.workers[name].address for name in without]
    client.run(take_device_away, workers=bare)
    client.run(
        equip, workers=[w.address for w in cluster.workers.values() if w.address not in bare]
    )


def test_every_verb_with_a_frozen_worker() -> None:
    with device_cluster(5) as (cluster, _client):
        a, b = on_device(A, (30, 30)), on_device(B, (30, 20))
        encoded = encode(on_device(A, (40, 30)), parity=2, adjoint=True).persist()
        wait(encoded)
        cluster.freeze("w1")
        check(coded_matmul(a, b, parity=2).compute(), A @ B)
        with optimize(parity=1):
            check((a @ b).compute(), A @ B)
        first, second = coded_matmul_batch([(a.T, a), (a.T, on_device(Y, (30, 3)))], parity=1)
        check(first.compute(), A.T @ A)
        check(second.compute(), A.T @ Y)
        check((encoded @ b).compute(), A @ B)
        check((encoded @ device_arrays.asarray(B)).compute(), A @ B)
        check((encoded.H @ on_device(Y, (30, 3))).compute(), A.T @ Y)
        check(encoded.compute(), A)
        del encoded


def test_workers_without_a_device_are_left_out_where_resources_say_so() -> None:
    with device_cluster(6) as (cluster, client):
        mix(cluster, client, without=["w0", "w3"])
        with dask.annotate(resources={"GPU": 1}):
            a, b = on_device(A, (40, 30)), on_device(B, (30, 20))
            product = coded_matmul(a, b, parity=1)
            cluster.freeze("w1")
            product = product.persist()
            wait(product, timeout=90)
            check(client.compute(product).result(timeout=90), A @ B)
        bare = {cluster.workers[name].address for name in ("w0", "w3")}
        held = client.who_has(futures_of(product))
        assert len(held) == 3
        assert not bare & {address for addresses in held.values() for address in addresses}
        cluster.thaw("w1")
        assert not any(client.run(refused).values())
        del product


def test_rewritten_products_and_batches_keep_to_resources_too() -> None:
    with device_cluster(5) as (cluster, client):
        mix(cluster, client, without=["w2"])
        with dask.annotate(resources={"GPU": 1}):
            a, b = on_device(A, (40, 30)), on_device(B, (30, 20))
            cluster.freeze("w1")
            with optimize(parity=1):
                check(client.compute(a @ b).result(timeout=90), A @ B)
            first, second = coded_matmul_batch([(a, b), (a, b[:, ::-1])], parity=1)
            check(client.compute(first).result(timeout=90), A @ B)
            check(client.compute(second).result(timeout=90), A @ B[:, ::-1])
        cluster.thaw("w1")
        assert not any(client.run(refused).values())


def test_a_lost_share_is_rebuilt_where_there_is_a_device() -> None:
    with device_cluster(5) as (cluster, client):
        mix(cluster, client, without=["w2"])
        with dask.annotate(resources={"GPU": 1}):
            encoded = encode(on_device(A, (30, 30)), parity=1).persist()
        wait(encoded)
        keys = futures_of(encoded)
        bare = cluster.workers["w2"].address
        lost = next(
            name
            for name, w in cluster.workers.items()
            if name != "w2" and client.has_what()[w.address]
        )
        cluster.kill(lost)
        wait(encoded)
        assert all(bare not in holders for holders in client.who_has(keys).values())
        with dask.annotate(resources={"GPU": 1}):
            check((encoded @ device_arrays.asarray(B)).compute(), A @ B)
        del encoded, keys


def test_outputs_that_are_lost_again_come_back_where_there_is_a_device() -> None:
    with device_cluster(6) as (cluster, client):
        mix(cluster, client, without=["w5"])
        with dask.annotate(resources={"GPU": 1}):
            product = coded_matmul(on_device(A, (40, 30)), on_device(B, (30, 20)), parity=1)
            cluster.freeze("w1")
            product = product.persist()
            wait(product, timeout=90)
            held = client.who_has(futures_of(product)).values()
            holders = {address for addresses in held for address in addresses}
            names = {w.address: name for name, w in cluster.workers.items()}
            # One after the other, whoever decoded among them.
            for address in sorted(holders)[:2]:
                cluster.kill(names[address])
                check(client.compute(product).result(timeout=90), A @ B)
        cluster.thaw("w1")
        assert not any(client.run(refused).values())
        del product


@gen_cluster(**on_workers([("127.0.0.1", 1, {"resources": {"GPU": 1}}), ("127.0.0.1", 1)]))
async def test_workers_that_lack_a_resource_are_told(
    c: Client, s: Scheduler, a: Worker, b: Worker
) -> None:
    futures = [
        c.submit(int, n, key=key, resources={"GPU": n}) for n, key in ((1, "one"), (2, "two"))
    ]
    futures.append(c.submit(int, 3, key="free"))
    await until(lambda: len(s.tasks) == 3)
    assert unequipped(s, [s.tasks["free"]]) == frozenset()
    assert unequipped(s, [s.tasks["one"], s.tasks["free"]]) == {b.address}
    assert unequipped(s, [s.tasks["one"], s.tasks["two"]]) == {a.address, b.address}


@gen_cluster(**on_workers([("127.0.0.1", 1, {"resources": {"GPU": 1}}), ("127.0.0.1", 1)]))
async def test_a_decode_never_runs_where_a_resource_is_lacking(
    c: Client, s: Scheduler, a: Worker, b: Worker
) -> None:
    # Until now nobody has enough of it, so that all of this waits.
    futures = [c.submit(int, n, key=f"output-{n}", resources={"GPU": 2}) for n in range(3)]
    await until(lambda: len(s.unrunnable) == 3)
    state = SchedulerState(s)
    await a.set_resources(GPU=2)
    wished = {
        "output-0": (b.address,),
        "output-1": (a.address, b.address),
        "output-2": (a.address,),
    }
    state.rewrite({key: seven(key) for key in wished}, wished)
    assert await c.gather(futures) == [7, 7, 7]
    assert {key for key in wished if key in a.data} == wished.keys()
    assert not b.data


def seven(key: str) -> Any:
    return convert_legacy_task(key, (int, 7), set())


def test_without_resources_the_error_says_what_is_missing() -> None:
    with device_cluster(4) as (cluster, client):
        mix(cluster, client, without=["w0", "w1", "w2"])
        product = coded_matmul(on_device(A, (40, 30)), on_device(B, (30, 20)), parity=1)
        with pytest.raises(RuntimeError, match="no CUDA-capable device"):
            product.compute()


def test_operands_in_memory_need_a_device_where_they_are_read() -> None:
    with device_cluster(3) as (cluster, client):
        mix(cluster, client, without=list(cluster.workers))
        operands = [device_arrays.asarray(x) for x in (A, B)]
        with pytest.raises(DeviceError, match="an operand of a device was sent to a process"):
            coded_matmul(*operands).compute()
