"""Workers that return wrong results, on a real cluster: corrected, or said; and who it was."""

import pickle
import re
import warnings
from collections.abc import Iterator
from typing import Any

import dask.array as da
import numpy as np
import pytest
from distributed import Client, Scheduler, Worker, futures_of, wait
from distributed.utils_test import gen_cluster
from watching import FIXED, on_workers, one_to_a_worker, wait_until

from dask_coded import coded_matmul, encode
from dask_coded.cluster import GroupView, Policy, enable, report
from dask_coded.codes import MDS, Replication
from dask_coded.errors import (
    AmplificationWarning,
    UnverifiableError,
    WrongResultError,
    WrongResultWarning,
)
from dask_coded.graph import spec_of
from dask_coded.testing import EmulatedCluster, TaskFaults, assert_clean

pytestmark = pytest.mark.cluster

RNG = np.random.default_rng(3)
A, B = RNG.normal(size=(600, 80)), RNG.normal(size=(80, 20))
#: Shares of verified products, and nothing that comes after them.
SHARES = "-parity',"


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmulatedCluster]:
    with EmulatedCluster(7, config=FIXED) as made:
        yield made


@pytest.fixture
def client(cluster: EmulatedCluster) -> Iterator[Client]:
    with cluster.client() as made:
        enable(made)
        yield made
        for name in cluster.workers:
            cluster.inject(name, None)
        assert_clean(made)


def corrupting(seed: int, rate: float = 1.0) -> TaskFaults:
    return TaskFaults(seed=seed, corrupt_rate=rate, match=SHARES)


def at_rest(client: Client, matrix: Any, **options: Any) -> Any:
    """A matrix that is encoded, one share to a worker unless there are more than seven."""
    encoded = encode(matrix, **options).persist()
    wait(encoded)
    if len(futures_of(encoded)) <= 7:
        wait_until(one_to_a_worker, client, encoded)
    return encoded


def operands() -> tuple[da.Array, da.Array]:
    return da.from_array(A, chunks=(100, 80)), da.from_array(B, chunks=-1)


def wrong_since(client: Client, before: int) -> list[Any]:
    """Workers named in groups after the first `before` ones."""
    groups = report(client).groups[before:]
    return [worker for group in groups for worker in group["wrong"].values()]


def test_wrong_results_are_corrected_and_named(cluster: EmulatedCluster, client: Client) -> None:
    """One share to each worker: whatever bits are flipped, one result of seven is wrong."""
    encoded = at_rest(client, A, parity=2, verify="correct")
    before = len(report(client).groups)
    for seed in range(10):
        cluster.inject("w2", corrupting(seed))
        with warnings.catch_warnings(action="ignore", category=WrongResultWarning):
            found = (encoded @ B[:, seed]).compute()
        np.testing.assert_allclose(found, A @ B[:, seed], rtol=1e-9, atol=1e-9)
    workers = wrong_since(client, before)
    assert set(workers) == {cluster.workers["w2"].address}
    # Two in three flipped bits are worth the name of an error.
    assert len(workers) >= 5
    assert cluster.workers["w2"].address in report(client).totals["wrong_by"]
    assert "wrong results" in repr(report(client))
    del encoded


@pytest.mark.parametrize("verify", ["correct", 2])
def test_products_without_encoding(cluster: EmulatedCluster, client: Client, verify: Any) -> None:
    """Dask places these shares: several on one worker may be wrong. Right outputs, or none."""
    a, b = operands()
    before = len(report(client).groups)
    for seed in range(4):
        cluster.inject("w2", corrupting(seed, rate=0.5))
        with warnings.catch_warnings(action="ignore", category=WrongResultWarning):
            try:
                found = coded_matmul(a, b, verify=verify).compute()
            except WrongResultError:
                continue
        np.testing.assert_allclose(found, A @ B, rtol=1e-9, atol=1e-9)
    assert set(wrong_since(client, before)) <= {cluster.workers["w2"].address}


def test_clients_are_warned(cluster: EmulatedCluster, client: Client) -> None:
    address = cluster.workers["w2"].address
    cluster.inject("w2", corrupting(2))
    x = np.arange(1, 81)
    integers = at_rest(client, (100 * A).astype(np.int64), verify="correct")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = (integers @ x).compute()
        # The warning comes by another way than the result.
        wait_until(lambda: any(w.category is WrongResultWarning for w in caught))
    said = [str(w.message) for w in caught if w.category is WrongResultWarning]
    assert re.search(f"share .* by {re.escape(address)}", said[0])
    np.testing.assert_array_equal(found, (100 * A).astype(np.int64) @ x)
    del integers


@pytest.mark.parametrize("parity", [1, 2])
def test_detected_errors_are_raised(cluster: EmulatedCluster, client: Client, parity: int) -> None:
    """One surplus result tells that something is wrong, two tell what."""
    integers = (100 * A).astype(np.int64)
    encoded = at_rest(client, integers, parity=parity, verify="detect")
    before = len(report(client).groups)
    cluster.inject("w3", corrupting(0))
    with pytest.raises(WrongResultError, match="disagree"):
        (encoded @ np.ones(80, np.int64)).compute()
    named = set(wrong_since(client, before))
    # Of a block with two wrong copies of three, all are named.
    assert cluster.workers["w3"].address in named or not named
    assert parity == 2 or not named
    cluster.inject("w3", None)
    again = (encoded @ np.ones(80, np.int64)).compute()
    np.testing.assert_array_equal(again, integers @ np.ones(80, np.int64))
    del encoded


def test_too_many_are_an_error(cluster: EmulatedCluster, client: Client) -> None:
    for seed, name in enumerate(cluster.workers):
        cluster.inject(name, corrupting(seed))
    integers = da.from_array((100 * A).astype(np.int64), chunks=(100, 80))
    with pytest.raises(WrongResultError):
        coded_matmul(integers, np.ones(80, np.int64), verify="correct").compute()


def test_encoded_products_with_a_worker_that_errs(cluster: EmulatedCluster, client: Client) -> None:
    encoded = at_rest(client, da.from_array(A, chunks=(120, 80)), parity=2, verify="correct")
    before = len(report(client).groups)
    cluster.inject("w4", corrupting(5, rate=0.5))
    v = RNG.normal(size=(80, 3))
    with warnings.catch_warnings(action="ignore", category=WrongResultWarning):
        for _ in range(12):
            found = (encoded @ v).compute()
            np.testing.assert_allclose(found, A @ v, rtol=1e-9, atol=1e-9)
            v = np.linalg.qr(A.T @ found).Q
    assert set(wrong_since(client, before)) == {cluster.workers["w4"].address}
    del encoded


def test_frozen_and_wrong_at_once() -> None:
    """Of any three of seven shares; one result is wrong, one does not come, and one may be late."""
    with EmulatedCluster(7) as cluster, cluster.client() as client:
        encoded = at_rest(client, da.from_array(A, chunks=(200, 80)), parity=4, verify="correct")
        cluster.inject("w5", corrupting(1))
        cluster.freeze("w1")
        with warnings.catch_warnings(action="ignore", category=WrongResultWarning):
            for _ in range(3):
                found = (encoded @ B).compute()
                np.testing.assert_allclose(found, A @ B, rtol=1e-9, atol=1e-9)
        cluster.thaw("w1")
        del encoded
        assert_clean(client)


def test_exceptions_are_erasures_that_are_done_without(
    cluster: EmulatedCluster, client: Client
) -> None:
    a, b = operands()
    cluster.inject("w2", TaskFaults(seed=0, raise_rate=1.0, match=SHARES))
    found = coded_matmul(a, b, parity=3, verify="detect").compute()
    np.testing.assert_allclose(found, A @ B, rtol=1e-9, atol=1e-9)


def test_nothing_to_compare_with_is_an_error(cluster: EmulatedCluster, client: Client) -> None:
    holes = A.copy()
    holes[0, 0] = np.nan
    product = coded_matmul(da.from_array(holes, chunks=(100, 80)), B, verify="detect")
    with pytest.raises(UnverifiableError, match="NaN"):
        product.compute()


@gen_cluster(**on_workers(6))
async def test_on_a_validating_scheduler(c: Client, s: Scheduler, *workers: Worker) -> None:
    await enable(c)
    a, b = operands()
    for verify in ("detect", "correct"):
        future = c.compute(coded_matmul(a, b, parity=3, verify=verify))
        np.testing.assert_allclose(await future, A @ B, rtol=1e-9, atol=1e-9)
        s.validate_state()
        del future
    entries = (await report(c)).groups
    assert all(entry["wrong"] == {} for entry in entries)
    assert all(entry["amplification"] is not None for entry in entries)


@gen_cluster(**on_workers(4))
async def test_without_the_runtime(c: Client, s: Scheduler, *workers: Worker) -> None:
    a, b = operands()
    found = await c.compute(coded_matmul(a, b, parity=2, verify="correct"))
    np.testing.assert_allclose(found, A @ B, rtol=1e-9, atol=1e-9)


def garbled(task: Any, seed: int) -> Any:
    """The task of a share that gives nonsense."""

    def nonsense(*args: Any, **kwargs: Any) -> Any:
        array, *lengths = task.func(*args, **kwargs)
        return (np.random.default_rng(seed).normal(size=array.shape), *lengths)

    return type(task)(task.key, nonsense, *task.args, **task.kwargs)


def view(code: Any, usable: set[int], running: set[int], wrong: int | None) -> GroupView:
    return GroupView(
        code=code,
        usable=frozenset(usable),
        running={share: f"w{share}" for share in running},
        stalled={},
        erased=frozenset(),
        idle=frozenset(),
        missing={0: None},
        wrong=wrong,
        decodable_since=0.0,
    )


@pytest.mark.parametrize(
    ("usable", "wrong", "decides"),
    [
        ({0, 1, 2}, None, True),
        ({0, 1, 2}, 0, False),
        ({0, 1, 2, 4}, 0, True),
        ({0, 1, 2, 4}, 1, False),
        ({0, 1, 2, 3, 4}, 1, True),
    ],
)
def test_policy_waits_for_surplus_results(usable: set[int], wrong: Any, decides: bool) -> None:
    running = set(range(6)) - usable
    decision = Policy().decide(view(MDS(6, 3), usable, running, wrong), now=9.0)
    assert (decision.decode_from is not None) == decides
    if decides:
        assert decision.decode_from == tuple(sorted(usable))


def test_policy_compares_as_far_as_results_can_come() -> None:
    """Two surplus results were asked for; one, or none, is all that is to be had."""
    for usable in ({0, 1, 2, 5}, {0, 1, 5}):
        decision = Policy().decide(view(MDS(6, 3), usable, set(), 1), now=9.0)
        assert decision.decode_from == tuple(sorted(usable))


def test_policy_waits_for_both_copies() -> None:
    """One copy of block 2 has nothing to be compared with."""
    code = Replication(6, 3)
    assert Policy().decide(view(code, {0, 1, 2, 3, 4}, {5}, 0), now=9.0).decode_from is None
    assert Policy().decide(view(code, set(range(6)), set(), 0), now=9.0).decode_from is not None


def test_policy_gives_late_results_a_moment() -> None:
    soon = view(MDS(6, 3), {0, 1, 2, 3}, {4, 5}, 0)
    assert Policy().decide(soon, now=0.001).wake_at is not None


@gen_cluster(**on_workers(3))
async def test_digits_lost_without_wrong_results_are_told(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    """All shares together lose none; without the wrong ones, and only then, it takes a warning."""
    await enable(c)
    code, wrong = MDS(14, 9, parity="gaussian"), range(5, 9)
    amplification = code.decoder(set(range(14)) - set(wrong)).amplification
    tolerance = 0.5 * amplification * float(np.finfo(float).eps)
    for scale, hits in ((1.0, range(0)), (2.0, wrong)):
        a, b = da.from_array(scale * A, chunks=(67, 80)), da.from_array(B, chunks=-1)
        product = coded_matmul(a, b, code=code, verify=4, tolerance=tolerance)
        graph = dict(product.__dask_graph__())
        (spec,) = [spec for task in graph.values() if (spec := spec_of(task)) is not None]
        for share in hits:
            key = spec.share_keys[share]
            graph[key] = garbled(graph[key], share)
        future = c.get(graph, product.__dask_keys__()[0][0], sync=False)
        with warnings.catch_warnings(action="ignore"):
            found = await future
        np.testing.assert_allclose(found, scale * A[:67] @ B, rtol=1e-9, atol=1e-9)
        told = [pickle.loads(event["category"]) for _, event in s.get_events("warn")]
        entry = (await report(c)).groups[-1]
        assert sorted(map(int, entry["wrong"])) == list(hits)
        expected = amplification if hits else code.decoder(range(14)).amplification
        assert entry["amplification"] == pytest.approx(expected)
        assert (AmplificationWarning in told) == bool(hits)
        del future
