"""The runtime enables itself: products that were built before, elsewhere, or asynchronously.

Nothing is thawed before the result is there: if it comes at all, nobody waited for the frozen.
"""

import asyncio
from typing import Any

import dask.array as da
import numpy as np
import pytest
from distributed import Client, Event, Scheduler, Worker
from distributed.utils_test import gen_cluster
from made_groups import MadeGroup
from watching import SIX, plugin, until, wait_until

from dask_coded import coded_matmul, disable, enable, report
from dask_coded.cluster import _first_use, is_enabled
from dask_coded.errors import ParameterError
from dask_coded.testing import EmulatedCluster, assert_clean

pytestmark = pytest.mark.cluster

RNG = np.random.default_rng(5)
A = RNG.normal(size=(60, 30))
B = RNG.normal(size=(30, 20))


def product(parity: int = 2) -> da.Array:
    a, b = da.from_array(A, chunks=(15, 30)), da.from_array(B, chunks=(30, 20))
    return coded_matmul(a, b, parity=parity)


def not_by_itself(client: Client) -> None:
    """Let a client enable the runtime only when it is told to."""
    _first_use._asked.add(client)


# A worker that is frozen from the start: some of six shares are given to it


def test_built_before_there_was_a_client() -> None:
    made = product()
    with EmulatedCluster(6) as cluster, cluster.client() as client:
        cluster.freeze("w3")
        np.testing.assert_allclose(made.compute(), A @ B)
        cluster.thaw("w3")
        assert_clean(client)


def test_built_under_another_client() -> None:
    with EmulatedCluster(1) as first, first.client() as builder, EmulatedCluster(6) as cluster:
        made = product()
        assert is_enabled(builder)
        with cluster.client(set_as_default=False) as client:
            cluster.freeze("w2")
            np.testing.assert_allclose(client.compute(made).result(), A @ B)
            cluster.thaw("w2")
            assert_clean(client)


def test_an_asynchronous_client_that_enabled_nothing() -> None:
    async def use(cluster: EmulatedCluster) -> None:
        async with cluster.client(asynchronous=True) as client:
            made = product()
            cluster.freeze("w4")
            np.testing.assert_allclose(await client.compute(made), A @ B)
            cluster.thaw("w4")

    with EmulatedCluster(6) as cluster:
        asyncio.run(use(cluster))
        with cluster.client() as client:
            assert_clean(client)


def test_data_shares_that_fetch_parity_from_a_frozen_worker() -> None:
    with EmulatedCluster(6) as cluster, cluster.client() as client:
        not_by_itself(client)
        group = MadeGroup(gates={4: "hold"})
        futures = client.get(group.graph, group.keys, sync=False)
        parity = group.share_keys[3]

        def holder(dask_scheduler: Any) -> str | None:
            ts = dask_scheduler.tasks.get(parity)
            return min((ws.name for ws in ts.who_has or ()), default=None) if ts else None

        def begun(dask_scheduler: Any) -> bool:
            return all(dask_scheduler.tasks[key].state == "processing" for key in group.keys)

        wait_until(lambda: client.run_on_scheduler(holder) is not None)
        name = client.run_on_scheduler(holder)
        cluster.freeze(name)
        Event("hold").set()
        wait_until(client.run_on_scheduler, begun)
        enable(client)
        group.check(client.gather(futures))
        cluster.thaw(name)
        del futures
        assert_clean(client)


@gen_cluster(**SIX)
async def test_groups_that_wait_are_taken_over(c: Client, s: Scheduler, *workers: Worker) -> None:
    """Parity is held, and data shares wait for it, until there is a runtime."""
    group = MadeGroup(gates={3: "hold", 4: "hold"})
    data = group.share_keys[:3]
    not_by_itself(c)
    futures = c.get(group.graph, group.keys, sync=False)
    await until(lambda: all(key in s.tasks and s.tasks[key].state == "waiting" for key in data))
    assert "dask-coded" not in s.plugins
    await enable(c)
    group.check(await c.gather(futures))
    (entry,) = (await report(c)).groups
    assert entry["decoded"] == 0
    await Event("hold").set()
    del futures
    await until(lambda: not s.tasks and not plugin(s).conductor.groups)
    s.validate_state()


@pytest.mark.parametrize("systematic", [True, False])
@gen_cluster(**SIX)
async def test_groups_that_run_are_taken_over(
    c: Client, s: Scheduler, *workers: Worker, systematic: bool
) -> None:
    """Two shares are held when the runtime comes: they are late like any others."""
    group = MadeGroup(gates={0: "hold", 1: "hold"}, systematic=systematic)
    not_by_itself(c)
    futures = c.get(group.graph, group.keys, sync=False)
    states = ["processing", "processing", "memory", "memory", "memory"]
    keys = group.share_keys
    await until(lambda: [s.tasks[key].state for key in keys if key in s.tasks] == states)
    await enable(c)
    group.check(await c.gather(futures))
    await Event("hold").set()
    del futures
    await until(lambda: not s.tasks and not plugin(s).conductor.groups)
    s.validate_state()


@pytest.mark.parametrize("verb", [enable, report, disable])
def test_what_is_no_client_is_refused(verb: Any) -> None:
    with Client(processes=False, n_workers=1, dashboard_address=":0") as client:
        for other in (None, client.cluster, client.scheduler.address):
            with pytest.raises(ParameterError, match=f"{verb.__name__} takes a client"):
                verb(other)
    with pytest.raises(ParameterError, match="is closed"):
        verb(client)


def test_a_report_is_a_table_in_terminal_and_notebook() -> None:
    with Client(processes=False, n_workers=3, threads_per_worker=1, dashboard_address=":0") as c:
        np.testing.assert_allclose(product(parity=1).compute(), A @ B)
        found = report(c)
    summary, titles, *rows = repr(found).splitlines()
    assert summary.startswith("2 groups: ")
    assert titles.split()[:4] == ["code", "arrived", "late", "cancelled"]
    assert len(rows) == len(found.groups) == 2
    html = found._repr_html_()
    assert html.count("<tr>") == 3
    assert all(f"<th>{title}</th>" in html for title in ("code", "slots free in", "suspects"))
    assert f"<p>{summary}</p>" in html
