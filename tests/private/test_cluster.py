"""Private products on real worker processes: exact, in spite of losses, and seen by nobody."""

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import dask.array as da
import numpy as np
import pytest
from distributed import Client, Event
from memory import found, marks

from dask_coded import private
from dask_coded.codes import (
    AbstractPrivateCode,
    MatDot,
    PrivateBivariate,
    PrivateEntangled,
    PrivateLagrange,
)
from dask_coded.errors import (
    BlockShapeError,
    FieldRangeError,
    NotDecodableError,
    ParameterError,
    SharedHostWarning,
    TrustError,
)
from dask_coded.fields import PrimeField
from dask_coded.private import _product
from dask_coded.private._plan import warn_of_shared_hosts
from dask_coded.testing import EmulatedCluster, assert_clean

pytestmark = pytest.mark.cluster

M31 = PrimeField(2**31 - 1)
STREAM = np.random.default_rng(0)
A, B = STREAM.integers(-(2**20), 2**20, (90, 40)), STREAM.integers(-(2**20), 2**20, (40, 24))
PATIENCE = 60
SEVEN: dict[str, Any] = {
    "code": PrivateEntangled(7, 1, 2, 1, colluding=1),
    "workers": [f"w{i}" for i in range(7)],
}


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[EmulatedCluster, Client]]:
    with EmulatedCluster(8) as cluster, cluster.client() as client:
        yield cluster, client


@pytest.fixture
def cluster(shared: tuple[EmulatedCluster, Client]) -> Iterator[EmulatedCluster]:
    cluster, client = shared
    yield cluster
    Event("go", client=client).set()
    for name in cluster.workers:
        cluster.thaw(name)
    client.run(restored)
    # What still was held has had the only thread of its worker before this, and so has ended
    # before anybody is held again.
    addresses = [worker.address for worker in cluster.workers.values()]
    client.gather([client.submit(int, workers=[each], pure=False) for each in addresses])
    assert_clean(client)


@pytest.fixture
def client(shared: tuple[EmulatedCluster, Client], cluster: EmulatedCluster) -> Client:
    Event("go", client=shared[1]).clear()
    return shared[1]


def held_products(dask_worker: Any) -> None:
    """Runs on a worker: remember what products are made of, and wait before each."""
    from distributed import Event

    from dask_coded.private import _worker

    true = getattr(_worker, "_true_product", _worker._product)
    dask_worker.seen = []

    def product(field: Any, left: Any, right: Any, unwanted: Any) -> Any:
        dask_worker.seen.append((left, right))
        Event("go", client=dask_worker.client_of_test).wait()
        return true(field, left, right, unwanted)

    dask_worker.client_of_test = dask_worker._get_client()
    _worker._true_product, _worker._product = true, product


def wait_for_shares(client: Client, n_workers: int) -> None:
    """Until so many workers hold theirs. Only counts pass through the scheduler."""

    def count(dask_worker: Any) -> int:
        return len(dask_worker.seen)

    while sum(map(bool, client.run(count).values())) < n_workers:
        pass


def restored(dask_worker: Any) -> None:
    from dask_coded.private import _worker

    _worker._product = getattr(_worker, "_true_product", _worker._product)
    for name in ("seen", "client_of_test"):
        if hasattr(dask_worker, name):
            delattr(dask_worker, name)


def wrong_products(names: list[str], dask_worker: Any = None) -> None:
    """Runs on a worker: from now on it returns zeros."""
    from dask_coded.private import _worker

    true = getattr(_worker, "_true_product", _worker._product)

    def product(*args: Any) -> Any:
        return true(*args) * (dask_worker.name not in names)

    _worker._true_product, _worker._product = true, product


def failing_products(names: list[str], dask_worker: Any = None) -> None:
    """Runs on a worker: from now on it raises."""
    from dask_coded.private import _worker

    true = getattr(_worker, "_true_product", _worker._product)

    def product(*args: Any) -> Any:
        if dask_worker.name in names:
            raise RuntimeError("the arithmetic unit is on fire")
        return true(*args)

    _worker._true_product, _worker._product = true, product


CODES: list[AbstractPrivateCode] = [
    PrivateEntangled(8, 1, 2, 1, colluding=1),
    PrivateEntangled(8, 2, 1, 1, colluding=2),
    PrivateEntangled(7, 1, 1, 2, colluding=1),
    PrivateBivariate(16, 2, 2, 2, colluding=1),
    PrivateBivariate(15, 1, 3, 3, colluding=2),
]


@pytest.mark.parametrize("code", CODES, ids=repr)
def test_products_are_exact(client: Client, code: AbstractPrivateCode) -> None:
    found = private.matmul(A, B, code.colluding, code=code)
    assert (found == A.astype(object) @ B.astype(object)).all()


def test_small_primes_floats_and_batches(client: Client) -> None:
    a, b = A % 100, B % 100
    np.testing.assert_array_equal(private.matmul(a, b, 1, field=M31), a @ b)
    x, y = STREAM.normal(size=(30, 50)), STREAM.normal(size=(50, 7))
    found = private.matmul(x, y, 2, fraction_bits=24)
    assert np.abs(found - x @ y).max() <= 50 * 2.0**-24 * max(np.abs(x).max(), np.abs(y).max())
    a, b = STREAM.integers(0, 9, (2, 4, 5)), STREAM.integers(0, 9, (2, 5, 3))
    np.testing.assert_array_equal(private.matmul(a, b, 2), a @ b)


def test_dask_operands_are_computed_here(client: Client) -> None:
    threads = set()

    def load(block: np.ndarray) -> np.ndarray:
        threads.add(threading.current_thread().name)
        return block + 1

    x = da.from_array(A, chunks=(40, 20)).map_blocks(load, dtype=A.dtype)
    np.testing.assert_array_equal(private.matmul(x, B, 1), (A + 1) @ B)
    assert threads, "in this process, where the set is"


@pytest.mark.parametrize("how", ["frozen", "killed", "wrong", "failing"])
def test_losses_are_erasures(how: str) -> None:
    """Two workers of seven, of which five are needed; their shares go to nobody else."""
    code = PrivateEntangled(7, 1, 2, 1, colluding=1)
    with EmulatedCluster(7) as cluster, cluster.client() as client:
        names = ["w2", "w5"]
        if how == "frozen":
            for name in names:
                cluster.freeze(name)
        elif how == "killed":
            # Killed while they hold their shares. All are held until then: with the results of
            # the others the product would be there, perhaps before these have been sent theirs.
            client.run(held_products)
            found: list[Any] = []
            thread = threading.Thread(
                target=lambda: found.append(private.matmul(A, B, 1, code=code, client=client))
            )
            thread.start()
            wait_for_shares(client, 7)
            for name in names:
                cluster.kill(name)
            Event("go", client=client).set()
            thread.join(PATIENCE)
            np.testing.assert_array_equal(found[0], A @ B)
            return
        else:
            client.run(wrong_products if how == "wrong" else failing_products, names)
        found_now = private.matmul(A, B, 1, code=code)
        np.testing.assert_array_equal(found_now, A @ B)


def test_too_many_losses(cluster: EmulatedCluster, client: Client) -> None:
    client.run(failing_products, ["w0", "w1", "w2"])
    with pytest.raises(NotDecodableError, match="given to no other worker") as caught:
        private.matmul(A, B, 1, **SEVEN)
    assert "on fire" in str(caught.value.__cause__)
    client.run(wrong_products, ["w0", "w1", "w2"])
    with pytest.raises(NotDecodableError):
        private.matmul(A, B, 1, **SEVEN)


def test_patience_ends(cluster: EmulatedCluster, client: Client) -> None:
    for name in ("w0", "w1", "w2"):
        cluster.freeze(name)
    for timeout in (1.0, 4.0, 16.0):
        with pytest.raises(TimeoutError, match="of 7 results came, any 5 suffice") as caught:
            private.matmul(A, B, 1, timeout=timeout, **SEVEN)
        # On a busy machine those that are well may take longer.
        if "4 of 7" in str(caught.value):
            break
    assert "4 of 7" in str(caught.value)


def test_sub_tasks_of_slow_workers_count(cluster: EmulatedCluster, client: Client) -> None:
    """Ten products are needed. Four workers finish both of theirs, three only their first."""

    def second_held(dask_worker: Any) -> None:
        from distributed import Event

        from dask_coded.private import _worker

        true = getattr(_worker, "_true_product", _worker._product)
        done = []

        def product(*args: Any) -> Any:
            if done and dask_worker.name in ("w0", "w1", "w2"):
                Event("go", client=dask_worker.client_of_test).wait()
            done.append(1)
            return true(*args)

        dask_worker.client_of_test = dask_worker._get_client()
        _worker._true_product, _worker._product = true, product

    client.run(second_held)
    code, workers = PrivateBivariate(14, 2, 2, 2, colluding=1), SEVEN["workers"]
    assert 2 * 4 < code.recovery_threshold == 10 <= 2 * 4 + 3
    np.testing.assert_array_equal(private.matmul(A, B, 1, code=code, workers=workers), A @ B)


def test_what_workers_hold(
    cluster: EmulatedCluster, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While all shares are out: each worker has its own, nobody has a block, Dask has nothing."""
    a, b = STREAM.normal(size=(64, 48)), STREAM.normal(size=(48, 32))
    code = PrivateBivariate(16, 2, 2, 2, colluding=2)
    sent: dict[str, Any] = {}
    encoded = _product._encoded

    def remembered(*args: Any) -> Any:
        parties, secret = encoded(*args)
        sent.update({party.address: party for party in parties})
        return parties, secret

    monkeypatch.setattr(_product, "_encoded", remembered)
    client.run(held_products)
    products: list[Any] = []
    options = {"code": code, "fraction_bits": 20, "client": client}
    thread = threading.Thread(target=lambda: products.append(private.matmul(a, b, 2, **options)))
    thread.start()

    wait_for_shares(client, 8)

    def data(dask_worker: Any) -> tuple[int, int]:
        return len(dask_worker.data), len(dask_worker.state.tasks)

    assert client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) == 0
    # What a test before left there may still be on its way out; what Dask had of this would stay.
    while set(client.run(data).values()) != {(0, 0)}:
        pass
    elements = [code.field.encode_signed(np.rint(x * 2.0**20).astype(int)) for x in (a, b)]
    secrets = {mark for x in (a, b, *elements) for mark in marks(x)}
    owned = {address: set(marks(party.left)) for address, party in sent.items()}
    everything = [*secrets, *set().union(*owned.values())]
    for name in ("w0", "w5"):
        worker = cluster.workers[name]
        seen = found(worker.pid, everything)
        assert seen >= owned[worker.address], "the search finds what is there"
        assert seen <= owned[worker.address], f"{name} has more than its own share"
    assert not found(cluster.scheduler_pid, everything), "the scheduler has seen something"

    def shares(dask_worker: Any) -> list[Any]:
        return list(dask_worker.seen)

    # Only now: what is asked for here passes through the scheduler.
    held = client.run(shares)
    for worker in cluster.workers.values():
        party = sent[worker.address]
        ((left, right),) = held[worker.address]
        np.testing.assert_array_equal(left, party.left)
        np.testing.assert_array_equal(right, party.rights[0])
    Event("go").set()
    thread.join(PATIENCE)
    np.testing.assert_allclose(products[0], a @ b, atol=1e-3)


def keep(block: np.ndarray | None, dask_scheduler: Any = None) -> None:
    """Runs on the scheduler. What only passes through it may be overwritten before one looks."""
    dask_scheduler.kept_by_test = block


def test_the_search_finds_what_dask_scatters(cluster: EmulatedCluster, client: Client) -> None:
    """Planted failures: a block on a worker, and one that the scheduler was given to keep."""
    block, kept = STREAM.normal(size=(2, 16, 16))
    future = client.scatter(block, workers=["w3"], direct=False)
    client.run_on_scheduler(keep, block=kept)
    try:
        assert found(cluster.workers["w3"].pid, marks(block)) == set(marks(block))
        assert found(cluster.scheduler_pid, marks(kept)) == set(marks(kept))
        assert not found(cluster.workers["w4"].pid, marks(block))
    finally:
        future.release()
        client.run_on_scheduler(keep, block=None)


def test_nothing_of_a_product_stays(cluster: EmulatedCluster, client: Client) -> None:
    def watched_products(dask_worker: Any) -> None:
        from dask_coded.private import _worker

        true = _worker._true_product = _worker._product
        dask_worker.seen = []

        def product(field: Any, left: Any, right: Any, unwanted: Any) -> Any:
            made = true(field, left, right, unwanted)
            arrays = [x for x in (left, right, made) if x is not None]
            dask_worker.seen += [weakref.ref(x) for x in arrays]
            return made

        _worker._product = product

    def left(dask_worker: Any) -> tuple[int, int]:
        gc.collect()
        return len(dask_worker.seen), sum(ref() is not None for ref in dask_worker.seen)

    client.run(watched_products)
    private.matmul(A, B, 1)
    assert sum(seen > 0 for seen, _ in client.run(left).values()) >= 7
    while any(alive for _, alive in client.run(left).values()):
        pass


def test_wrong_arguments(cluster: EmulatedCluster, client: Client) -> None:
    def refused(error: type[Exception], match: str, *args: Any, **options: Any) -> None:
        with pytest.raises(error, match=match):
            private.matmul(*args, **options)

    refused(BlockShapeError, r"got \(40, 24\) and \(40, 24\)", B, B, 1)
    refused(BlockShapeError, "a vector as a matrix", A, B[:, 0], 1)
    refused(ParameterError, "colluding must be", A, B, 0)
    refused(ParameterError, "parity must be", A, B, 1, parity=-1)
    refused(ParameterError, "both code=", A, B, 1, code=CODES[0], parity=1)
    refused(ParameterError, "colluding must be", A, B, 0, code=CODES[0])
    refused(ParameterError, "9 results are needed at least", A, B, 4)
    refused(ParameterError, "hides nothing", A, B, 1, code=MatDot(8, 2, field=M31))
    refused(ParameterError, "hides from 1", A, B, 2, code=CODES[0])
    refused(ParameterError, "has another", A, B, 1, code=CODES[0], field=M31)
    refused(ParameterError, "there are 3", A, B, 1, code=CODES[0], workers=["w1", "w2", "w3"])
    refused(ParameterError, "no worker is called 'w77'", A, B, 1, trusted=["w77"])
    refused(ParameterError, "does not fit", A, B, 1, code=PrivateLagrange(5, 2, 2, 1))
    refused(FieldRangeError, "larger prime", A, B, 1, field=M31)
    held = client.persist(da.ones((4, 4), chunks=2))
    refused(TrustError, "already held by workers", held, np.ones((4, 1)), 1)


def test_only_the_workers_named_are_sent_shares(cluster: EmulatedCluster, client: Client) -> None:
    client.run(held_products)
    names = ["w1", "w2", "w4", "w6"]
    options: dict[str, Any] = {"workers": [*names, "w7"], "trusted": ["w7"], "client": client}
    thread = threading.Thread(target=lambda: private.matmul(A, B, 1, **options))
    thread.start()
    # Three results would do, whether or not the fourth worker has been sent anything.
    wait_for_shares(client, len(names))
    Event("go").set()
    thread.join(PATIENCE)

    def asked(dask_worker: Any) -> tuple[str, bool]:
        return dask_worker.name, bool(dask_worker.seen)

    assert sorted(name for name, seen in client.run(asked).values() if seen) == names


def test_the_plan_says_which_code_and_why(cluster: EmulatedCluster, client: Client) -> None:
    plan = private.plan_matmul(A, B, 2)
    assert isinstance(plan.code, PrivateEntangled)
    assert plan.code.n_shares == len(plan.addresses) == 8
    spare = plan.code.n_shares - plan.code.recovery_threshold
    assert spare >= 1
    text = repr(plan)
    for words in (
        f"(90, 40) @ (40, 24) by {plan.code!r} on 8 untrusted workers",
        "1 may be lost and 2 collude",
        f"any {8 - spare} of 8 results decode",
        "any 2 workers together learn nothing",
        "PrivateBivariate",
    ):
        assert words in text
    asked = private.plan_matmul(A, B, 1, code=CODES[3], trusted=[])
    assert "asked for; any 10 of 16 results of several to a worker" in repr(asked)
    batch = private.plan_matmul(np.ones((2, 3, 4)), np.ones((2, 4, 5)), 1, trusted=["w0"])
    assert isinstance(batch.code, PrivateLagrange)
    assert cluster.workers["w0"].address not in batch.addresses
    assert "pair" in repr(batch)
    with pytest.raises(ParameterError, match="both code="):
        private.plan_matmul(A, B, 1, code=CODES[0], parity=1)


def test_a_machine_with_more_workers_than_may_collude_is_named() -> None:
    known = {f"w{i}": {"host": f"10.0.0.{i // 2}"} for i in range(6)}
    with pytest.warns(SharedHostWarning, match="2 of the 6 workers .* run on 10.0.0.0"):
        warn_of_shared_hosts(tuple(known), known, 1)
    # Two may collude, each is alone, or all are on one machine, where nothing can be said.
    warn_of_shared_hosts(tuple(known), known, 2)
    warn_of_shared_hosts(("w0", "w2", "w4"), known, 1)
    warn_of_shared_hosts(("w0", "w1"), known, 1)


def test_machines_are_those_that_the_scheduler_knows(
    cluster: EmulatedCluster, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if one of the workers were elsewhere; and without, nothing is said."""
    np.testing.assert_array_equal(private.matmul(A, B, 1), A @ B)
    true = client.scheduler_info

    def elsewhere(**options: Any) -> Any:
        info = true(**options)
        info["workers"][cluster.workers["w0"].address]["host"] = "10.0.0.1"
        return info

    monkeypatch.setattr(client, "scheduler_info", elsewhere)
    with pytest.warns(SharedHostWarning, match="7 of the 8 workers"):
        np.testing.assert_array_equal(private.matmul(A, B, 1), A @ B)
