"""Several shares to a worker, on real worker processes: what each has finished counts.

Workers are held by events inside a product, never by sleeping, and are not let go before the
results are there.
"""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dask.array as da
import numpy as np
import pytest
from distributed import Client, Event, wait
from watching import TRUSTING, wait_until

from dask_coded import coded_matmul
from dask_coded.cluster import enable, report
from dask_coded.codes import LT, MDS, AbstractCode, Bivariate
from dask_coded.fields import PAIRED
from dask_coded.testing import EmulatedCluster, assert_clean

pytestmark = pytest.mark.cluster

RNG = np.random.default_rng(4)
WORKERS = 5


def hold_after(count: int, dask_worker: Any) -> None:
    """Let this worker finish `count` products; in the next one it says so, and waits."""
    from distributed import Event

    from dask_coded.cluster import _slices

    if not hasattr(_slices, "unheld_matmul"):
        _slices.unheld_matmul = _slices.sliced_matmul  # type: ignore[attr-defined]
    begun = itertools.count()

    def held(a: Any, b: Any) -> Any:
        if next(begun) >= count:
            Event(f"held-{dask_worker.name}").set()
            Event("go on").wait()
        return a @ b

    _slices.sliced_matmul = held


def let_go(dask_worker: Any) -> None:
    """Products of this worker are its own again."""
    from dask_coded.cluster import _slices

    _slices.sliced_matmul = getattr(_slices, "unheld_matmul", _slices.sliced_matmul)


# What is stolen is where it was not dealt.
DEALT = {"distributed.scheduler.work-stealing": False}


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmulatedCluster]:
    # What a suspect was given would be given to others, and counted as theirs.
    with EmulatedCluster(WORKERS, config=DEALT | TRUSTING) as made:
        yield made


@pytest.fixture
def client(cluster: EmulatedCluster) -> Iterator[Client]:
    with connected(cluster) as made:
        yield made


@contextmanager
def connected(cluster: EmulatedCluster) -> Iterator[Client]:
    with cluster.client() as made:
        # Not by a first product: what is left of that would be counted as the next one's.
        enable(made)
        yield made
        Event("go on", client=made).set()
        for name in cluster.workers:
            cluster.thaw(name)
        made.run(let_go)
        assert_clean(made)
        Event("go on", client=made).clear()
        for name in cluster.workers:
            Event(f"held-{name}", client=made).clear()


def hold(cluster: EmulatedCluster, client: Client, counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        client.run(hold_after, count, workers=[cluster.workers[name].address])


def operands(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, da.Array, da.Array]:
    """Two matrices, and the same in so many chunks of rows and of columns."""
    a, b = RNG.normal(size=(rows * 10, 30)), RNG.normal(size=(30, columns * 6))
    return a, b, da.from_array(a, chunks=(10, 30)), da.from_array(b, chunks=(30, 6))


def shares_by_worker(client: Client, cluster: EmulatedCluster) -> dict[str, tuple[set[int], int]]:
    """Of the last group: for each worker the shares it was given, and how many it finished.

    A worker that is slow may not have been given any yet.
    """
    group = report(client).groups[-1]
    names = {worker.address: name for name, worker in cluster.workers.items()}
    given: dict[str, set[int]] = {name: set() for name in cluster.workers}
    for share, address in group["workers"].items():
        given.setdefault(names.get(address, address), set()).add(int(share))
    arrived = set(group["arrived"])
    return {name: (shares, len(shares & arrived)) for name, shares in given.items()}


CODES: list[tuple[AbstractCode, int, int, dict[str, int]]] = [
    # 20 shares, any 14: three workers do all of their 12, two are held after one each.
    (MDS(20, k=14), 14, 1, {"w1": 1, "w3": 1}),
    (MDS(20, k=14, field=PAIRED), 14, 1, {"w1": 1, "w3": 1}),
    (Bivariate(20, m=2, n=7, b_shares=4), 2, 7, {"w1": 1, "w3": 1}),
    # One worker is held after two of its shares at the latest.
    (LT(25, k=12, seed=1), 12, 1, {"w2": 2}),
]


@pytest.mark.parametrize(("code", "rows", "columns", "counts"), CODES, ids=repr)
def test_partial_work_counts(
    cluster: EmulatedCluster,
    client: Client,
    code: AbstractCode,
    rows: int,
    columns: int,
    counts: dict[str, int],
) -> None:
    """The product comes while workers are held in their second or third share."""
    a, b, left, right = operands(rows, columns)
    if isinstance(code, LT):
        # A chunk that no share is may be loaded by the worker that is held.
        left = left.persist()
        wait(left, timeout=90)
    hold(cluster, client, counts)
    before = len(report(client).groups)
    future = client.compute(coded_matmul(left, right, code=code))
    np.testing.assert_allclose(future.result(timeout=90), a @ b, atol=1e-8)
    wait_for_groups(client, before + 1)
    found = shares_by_worker(client, cluster)
    if isinstance(code, LT):
        # The others may have been lucky, and have needed none or one of what was finished here.
        assert all(found[name][1] <= count for name, count in counts.items())
    else:
        # A worker that is held has not begun to encode its last shares.
        dealt = [set(shares) for shares in code.placement(WORKERS)]
        assert all(any(shares <= part for part in dealt) for shares, _ in found.values())
        for name, count in counts.items():
            assert found[name][1] == count
        # Without what the held workers finished there would not be enough.
        held = [found[name][0] for name in counts]
        others = [s for shares, _ in found.values() if shares not in held for s in shares]
        assert not code.is_decodable(others)
        assert sum(done for _, done in found.values()) == code.recovery_threshold
    Event("go on").set()
    del future, left


def wait_for_groups(client: Client, count: int) -> None:
    """The report follows the result by a message."""
    wait_until(lambda: len(report(client).groups) >= count)


def test_workers_may_be_lost_with_all_their_shares(
    cluster: EmulatedCluster, client: Client
) -> None:
    """`parity` counts workers where each has several shares: two of five never answer."""
    a, b, left, right = operands(12, 1)
    hold(cluster, client, {"w0": 0, "w4": 0})
    before = len(report(client).groups)
    future = client.compute(coded_matmul(left, right, parity=2, shares_per_worker=4))
    np.testing.assert_allclose(future.result(timeout=90), a @ b, atol=1e-8)
    wait_for_groups(client, before + 1)
    group = report(client).groups[-1]
    assert "MDS(n_shares=20, k=12" in group["code"]
    found = shares_by_worker(client, cluster)
    assert [found[name][1] for name in ("w0", "w4")] == [0, 0]
    Event("go on").set()
    del future


@pytest.mark.parametrize("fate", ["frozen", "killed"])
def test_what_was_fetched_from_a_lost_worker_counts(fate: str) -> None:
    """A worker is lost in its second share. Its first one counts if it was fetched before.

    Without that one share the others would be too few, and all others are needed. What a worker
    leaves that was killed is run again by Dask, and may come too.
    """
    with EmulatedCluster(WORKERS, config=DEALT) as cluster, connected(cluster) as client:
        check_what_was_fetched(cluster, client, fate)


def check_what_was_fetched(cluster: EmulatedCluster, client: Client, fate: str) -> None:
    code = MDS(20, k=17)
    a, b, left, right = operands(17, 1)
    hold(cluster, client, {"w2": 1})
    product = coded_matmul(left, right, code=code)
    futures = client.compute(list(product.to_delayed().ravel()))
    assert Event("held-w2").wait(timeout=90)
    address = cluster.workers["w2"].address
    outputs = {future.key for future in futures}

    def finished() -> list[Any]:
        return [key for key in client.has_what()[address] if key in outputs]

    # The scheduler hears of the first result after the worker has begun the second.
    wait_until(lambda: bool(finished()))
    (first,) = finished()
    # Somebody else reads it, and so has a copy.
    elsewhere = cluster.workers["w3"].address
    (copied,) = [future for future in futures if future.key == first]
    read = client.submit(np.sum, copied, workers=[elsewhere], pure=False)
    wait(read, timeout=90)
    (cluster.freeze if fate == "frozen" else cluster.kill)("w2")
    found = np.concatenate(client.gather(futures))
    np.testing.assert_allclose(found, a @ b, atol=1e-8)
    # The others may have been done before the worker was lost.
    wait_for_groups(client, 1)
    group = report(client).groups[-1]
    if fate == "frozen":
        theirs = {int(share) for share, worker in group["workers"].items() if worker == address}
        # The client may have asked the frozen one for it, and have made Dask run it again.
        assert theirs & set(group["arrived"]) <= {first[1]} <= set(group["arrived"])
        assert code.is_decodable(group["arrived"])
        cluster.thaw("w2")
    else:
        cluster.replace("w2")
    Event("go on").set()
    del futures, copied, read


def test_each_chunk_is_where_its_share_runs(cluster: EmulatedCluster, client: Client) -> None:
    """No worker gets more shares of a group than its part, whatever the operand is made of."""
    a, b, left, right = operands(14, 1)
    code = MDS(20, k=14)
    for operand in (left, left + 0.0):
        before = len(report(client).groups)
        found = coded_matmul(operand, right, code=code).compute()
        np.testing.assert_allclose(found, a @ b, atol=1e-8)
        wait_for_groups(client, before + 1)
        given = shares_by_worker(client, cluster)
        assert max(len(shares) for shares, _ in given.values()) <= 4
