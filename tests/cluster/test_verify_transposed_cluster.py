"""Verified products with the transpose on real processes: decoded without wrong terms, and who."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from distributed import Client, Event, Scheduler, Worker, wait
from distributed.utils_test import gen_cluster
from harming import home, spoil
from watching import FIXED, on_workers

from dask_coded import encode
from dask_coded.array import EncodedArray
from dask_coded.cluster import enable, report
from dask_coded.errors import WrongResultError, WrongResultWarning
from dask_coded.testing import EmulatedCluster, TaskFaults, assert_clean

pytestmark = pytest.mark.cluster

RNG = np.random.default_rng(3)
A, Y = RNG.normal(size=(600, 80)), RNG.normal(size=(600, 3))
INTEGERS = (100 * A).astype(np.int64)
#: Terms as they come, and the results that they are decoded from if they are wrong.
TERMS, AGAIN = "-term',", "-again',"


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


def kept(matrix: Any, **how: Any) -> EncodedArray:
    """An encoded matrix, one share to each worker, and its sketches beside them."""
    encoded = encode(matrix, adjoint=True, **how).persist()
    wait(encoded)
    return encoded


def corrupt(cluster: EmulatedCluster, name: str, match: str, seed: int = 0) -> str:
    cluster.inject(name, TaskFaults(seed=seed, corrupt_rate=1.0, match=match))
    return str(cluster.workers[name].address)


def groups_since(client: Client, before: int) -> list[Any]:
    return list(report(client).groups[before:])


def wrong(groups: list[Any]) -> list[str]:
    return [worker for group in groups for worker in group["wrong"].values()]


def test_right_terms_are_what_they_are_without_checks(
    cluster: EmulatedCluster, client: Client
) -> None:
    encoded = kept(A, parity=2, verify="correct")
    before = len(report(client).groups)
    plain = encoded.verified(None)
    for y in (Y, Y[:, 0]):
        np.testing.assert_allclose((encoded.T @ y).compute(), A.T @ y, atol=1e-9)
        np.testing.assert_array_equal((encoded.T @ y).compute(), (plain.T @ y).compute())
    v = RNG.normal(size=80)
    np.testing.assert_allclose((encoded.T @ (encoded @ v)).compute(), A.T @ (A @ v), atol=1e-9)
    assert not any(group["wrong"] for group in groups_since(client, before))
    del encoded, plain


def test_wrong_terms_are_decoded_from_others_and_named(
    cluster: EmulatedCluster, client: Client
) -> None:
    encoded = kept(A, parity=2, verify="correct")
    before = len(report(client).groups)
    name = home(cluster, client, encoded, 2)
    for seed in range(8):
        address = corrupt(cluster, name, TERMS, seed)
        with warnings.catch_warnings(action="ignore", category=WrongResultWarning):
            found = (encoded.T @ Y[:, seed % 3]).compute()
        np.testing.assert_allclose(found, A.T @ Y[:, seed % 3], rtol=1e-9, atol=1e-9)
    named = wrong(groups_since(client, before))
    assert set(named) == {address}
    # Half of all flipped bits are worth the name of an error.
    assert len(named) >= 3
    assert report(client).totals["wrong_by"][address] >= len(named)
    del encoded


def test_clients_are_warned(cluster: EmulatedCluster, client: Client) -> None:
    encoded = kept(INTEGERS, verify="correct")
    address = corrupt(cluster, home(cluster, client, encoded, 1), TERMS)
    y = np.arange(600)

    def compute(matrix: EncodedArray) -> Any:
        found = (matrix.T @ y).compute()
        # The warning was sent before the result; so it has come when this answer has.
        client.run_on_scheduler(lambda: None)
        return found

    with pytest.warns(WrongResultWarning, match=f"share .* by {address}"):
        found = compute(encoded)
    np.testing.assert_array_equal(found, INTEGERS.T @ y)
    del encoded


@pytest.mark.parametrize("shares", [(1,), (0, 2)])
def test_tiles_that_went_wrong(
    cluster: EmulatedCluster, client: Client, shares: tuple[int, ...]
) -> None:
    """As many as there are surplus results less one, which is all that can be located."""
    encoded = kept(A, parity=len(shares) + 1, verify=len(shares))
    before = len(report(client).groups)
    names = [home(cluster, client, encoded, share) for share in shares]
    addresses = spoil(cluster, client, encoded, names)
    with warnings.catch_warnings(action="ignore", category=WrongResultWarning):
        for y in (Y, Y[:, 1]):
            found = (encoded.T @ y).compute()
            np.testing.assert_allclose(found, A.T @ y, rtol=1e-9, atol=1e-9)
    assert set(wrong(groups_since(client, before))) == addresses
    del encoded


@pytest.mark.parametrize("parity", [1, 2])
def test_detected_errors_are_raised(cluster: EmulatedCluster, client: Client, parity: int) -> None:
    """With one surplus result, too, it is known who was wrong: each term is checked by itself."""
    encoded = kept(A, parity=parity, verify="detect")
    before = len(report(client).groups)
    name = home(cluster, client, encoded, 3)
    address = cluster.workers[name].address
    client.run(harm, workers=[address])
    try:
        with pytest.raises(WrongResultError, match="disagrees with a sketch"):
            (encoded.T @ Y).compute()
    finally:
        client.run(cure, workers=[address])
    assert set(wrong(groups_since(client, before))) == {address}
    np.testing.assert_allclose((encoded.T @ Y).compute(), A.T @ Y, rtol=1e-9, atol=1e-9)
    del encoded


def test_too_many_are_an_error(cluster: EmulatedCluster, client: Client) -> None:
    encoded = kept(A, parity=2, verify="correct")
    spoil(cluster, client, encoded, cluster.workers)
    with pytest.raises(WrongResultError):
        (encoded.T @ Y).compute()
    del encoded


def patch(dask_worker: Any, of: Any) -> None:
    """Give this worker another product with the transpose."""
    from dask_coded.cluster import _slices

    plain = _slices._sliced_adjoint
    _slices.plain_adjoint = plain  # type: ignore[attr-defined]
    _slices._sliced_adjoint = of(plain)


def harm(dask_worker: Any) -> None:
    """Let products of this worker with the transpose be wrong in one entry."""

    def of(plain: Any) -> Any:
        def harmed(a: Any, b: Any) -> Any:
            result = np.array(plain(a, b))
            result[7] += 1e-6
            return result

        return harmed

    patch(dask_worker, of)


def poison(dask_worker: Any) -> None:
    """Let products of this worker with the transpose have no entry that is a number."""
    patch(dask_worker, lambda plain: lambda a, b: plain(a, b) * np.nan)


def cure(dask_worker: Any) -> None:
    from dask_coded.cluster import _slices

    _slices._sliced_adjoint = _slices.plain_adjoint  # type: ignore[attr-defined]


@pytest.mark.parametrize("verify", ["detect", "correct"])
def test_nan_is_an_erasure(cluster: EmulatedCluster, client: Client, verify: Any) -> None:
    encoded = kept(A, parity=2, verify=verify)
    before = len(report(client).groups)
    sick = [cluster.workers[home(cluster, client, encoded, 4)].address]
    client.run(poison, workers=sick)
    try:
        found = (encoded.T @ Y).compute()
    finally:
        client.run(cure, workers=sick)
    np.testing.assert_allclose(found, A.T @ Y, rtol=1e-9, atol=1e-9)
    assert wrong(groups_since(client, before)) == []
    del encoded


def hold(dask_worker: Any) -> None:
    """Let products of this worker with the transpose wait until they may go on."""

    def of(plain: Any) -> Any:
        def held(a: Any, b: Any) -> Any:
            from distributed import Event

            Event("go on").wait()
            return plain(a, b)

        return held

    patch(dask_worker, of)


def test_late_and_wrong_at_once(cluster: EmulatedCluster, client: Client) -> None:
    """What a late term was decoded from may be wrong: then nobody is named who only was late."""
    encoded = kept(A, parity=4, verify="correct")
    before = len(report(client).groups)
    addresses = spoil(cluster, client, encoded, [home(cluster, client, encoded, 2)])
    held = [cluster.workers[home(cluster, client, encoded, 0)].address]
    client.run(hold, workers=held)
    try:
        with warnings.catch_warnings(action="ignore", category=WrongResultWarning):
            found = client.compute(encoded.T @ Y).result(timeout=100)
    finally:
        Event("go on", client=client).set()
        client.run(cure, workers=held)
    np.testing.assert_allclose(found, A.T @ Y, rtol=1e-9, atol=1e-9)
    assert set(wrong(groups_since(client, before))) <= addresses
    del encoded


@gen_cluster(**on_workers(5))
async def test_on_a_validating_scheduler(c: Client, s: Scheduler, *workers: Worker) -> None:
    await enable(c)
    for verify in ("detect", "correct"):
        encoded = c.persist(encode(A, parity=2, adjoint=True, verify=verify))
        future = c.compute(encoded.T @ Y)
        np.testing.assert_allclose(await future, A.T @ Y, rtol=1e-9, atol=1e-9)
        s.validate_state()
        # While all are well nothing but checks is added.
        began = {str(key) for key, _, finish, *_ in s.transition_log if finish == "processing"}
        assert any("-checked'," in key for key in began)
        assert not any(AGAIN in key or "-instead'," in key for key in began)
        del future, encoded
    entries = (await report(c)).groups
    assert all(entry["wrong"] == {} for entry in entries)


@gen_cluster(**on_workers(4))
async def test_without_the_runtime(c: Client, s: Scheduler, *workers: Worker) -> None:
    encoded = encode(A, parity=2, verify="correct")
    found = await c.compute(encoded.T @ Y)
    np.testing.assert_allclose(found, A.T @ Y, rtol=1e-9, atol=1e-9)
