"""``A.T @ (A @ V)`` on real worker processes: terms that are late are recovered from other shares.

Nothing is thawed before the result is there: if it comes at all, nobody waited for the frozen.
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from distributed import Client, Event, futures_of, wait
from watching import DEADLINE, TRUSTING, one_to_a_worker, wait_until

from dask_coded.array import EncodedArray, encode
from dask_coded.cluster import report
from dask_coded.testing import EmulatedCluster, assert_clean

pytestmark = pytest.mark.cluster

RNG = np.random.default_rng(3)
X = RNG.standard_normal((1203, 30))
V = RNG.standard_normal((30, 4))


def hang_in_terms(dask_worker: Any) -> None:
    """Let products of this worker with the transpose say that they have begun, and wait."""
    from distributed import Event

    from dask_coded.cluster import _slices

    def hanging(a: Any, b: Any) -> Any:
        Event("hanging").set()
        Event("go on").wait()
        return a.T @ b

    _slices.sliced_adjoint = hanging


def wait_in_terms(dask_worker: Any) -> None:
    """Let those of this worker wait for one that hangs, which would be late otherwise."""
    from distributed import Event

    from dask_coded.cluster import _slices

    def waiting(a: Any, b: Any) -> Any:
        Event("hanging").wait()
        return a.T @ b

    _slices.sliced_adjoint = waiting


def be_patient(dask_scheduler: Any) -> None:
    """Take nothing for late, however slow the machine is."""
    from dataclasses import replace

    cohorts = dask_scheduler.plugins["dask-coded"].conductor._cohorts
    cohorts._patience = replace(cohorts._patience, minimum=3600.0, cohort_minimum=3600.0)


def helpers_started(dask_scheduler: Any) -> int:
    return sum(
        "-helper" in str(key) and finish == "processing"
        for key, _, finish, *_ in dask_scheduler.transition_log
    )


class Encoded:
    """A matrix on six workers, of which any four suffice."""

    def __init__(self, cluster: EmulatedCluster, client: Client) -> None:
        self.cluster = cluster
        self.client = client
        self.A: EncodedArray = encode(X, parity=2, adjoint=True).persist()
        wait(self.A)
        wait_until(one_to_a_worker, client, self.A)

    def worker(self, share: int) -> str:
        """Name of the worker on which a share lives."""
        key = (self.A.name, 0, share)

        def holders() -> Any:
            return self.client.who_has(futures_of(self.A))[key]

        # Copies that parity was made of go when it is there.
        wait_until(lambda: len(holders()) == 1)
        return next(n for n, w in self.cluster.workers.items() if w.address in holders())

    def gram(self, step: int = 0) -> Any:
        return self.client.compute(self.A.T @ (self.A @ (V + step)))

    @staticmethod
    def check(value: Any, step: int = 0) -> None:
        np.testing.assert_allclose(value, X.T @ (X @ (V + step)), rtol=1e-9, atol=1e-7)

    def hang(self, share: int) -> str:
        name = self.worker(share)
        self.client.run(hang_in_terms, workers=[self.cluster.workers[name].address])
        return name


@pytest.fixture
def encoded(request: pytest.FixtureRequest) -> Iterator[Encoded]:
    config = getattr(request, "param", None)
    with EmulatedCluster(6, config=config) as cluster, cluster.client() as client:
        made = Encoded(cluster, client)
        yield made
        for name in cluster.workers:
            cluster.thaw(name)
        Event("go on").set()
        del made.A
        assert_clean(client)


@pytest.mark.parametrize("encoded", [TRUSTING], indirect=True, ids=["trusting"])
def test_while_all_are_well_nothing_but_the_terms_runs(encoded: Encoded) -> None:
    encoded.client.run_on_scheduler(be_patient)
    assert sorted(map(encoded.worker, range(6))) == sorted(encoded.cluster.workers)
    encoded.check(encoded.gram().result())
    assert encoded.client.run_on_scheduler(helpers_started) == 0
    y = RNG.standard_normal(len(X))
    np.testing.assert_allclose((encoded.A.T @ y).compute(), X.T @ y)


def test_a_term_that_takes_too_long_is_recovered(encoded: Encoded) -> None:
    encoded.hang(1)
    future = encoded.gram()
    encoded.check(future.result(timeout=90))
    assert encoded.client.run_on_scheduler(helpers_started) > 0


@pytest.mark.parametrize("deed", ["freeze", "kill"])
def test_a_worker_is_lost_in_the_middle(encoded: Encoded, deed: str) -> None:
    name = encoded.hang(2)
    others = [w.address for n, w in encoded.cluster.workers.items() if n != name]
    encoded.client.run(wait_in_terms, workers=others)
    future = encoded.gram()
    # Unless others were given its share, because it was slow to take it.
    Event("hanging").wait(timeout=20)
    getattr(encoded.cluster, deed)(name)
    Event("hanging").set()
    encoded.check(future.result(timeout=90))
    encoded.check(encoded.gram(1).result(timeout=90), 1)


def test_one_frozen_and_one_slow_through_several_iterations(encoded: Encoded) -> None:
    frozen = encoded.worker(0)
    encoded.hang(3)
    encoded.check(encoded.gram().result(timeout=90))
    encoded.cluster.freeze(frozen)
    step, deadline = 1, time.monotonic() + 2 * DEADLINE
    # Long enough to see it late, then silent, then left out.
    while step < 5 or not report(encoded.client).suspects:
        assert time.monotonic() < deadline
        encoded.check(encoded.gram(step).result(timeout=90), step)
        step += 1
    encoded.check(encoded.gram(step).result(timeout=90), step)
    encoded.cluster.thaw(frozen)
    Event("go on").set()
    encoded.check(encoded.gram(5).result(timeout=90), 5)
