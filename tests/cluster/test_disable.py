"""Taking the runtime off again: a scheduler as it was, and groups that plain Dask finishes."""

from collections.abc import Sequence
from typing import Any

import pytest
from distributed import Client, Event, Scheduler, Status, Worker
from distributed.active_memory_manager import ReduceReplicas
from distributed.utils_test import gen_cluster
from made_groups import MadeGroup, failing
from watching import SIX, on_workers, plugin, processing, until

from dask_coded import disable, enable, report
from dask_coded.cluster import is_enabled

pytestmark = pytest.mark.cluster


def known(s: Scheduler, workers: Sequence[Worker]) -> dict[str, Any]:
    """Everything that could have been replaced, or added to."""
    return {
        "handlers": dict(s.handlers),
        "stream_handlers": dict(s.stream_handlers),
        "callbacks": dict(s.periodic_callbacks),
        "extensions": dict(s.extensions),
        "policies": {type(policy) for policy in s.extensions["amm"].policies},
        "plugins": set(s.plugins),
        "methods": {name for name, value in vars(s).items() if callable(value)},
        "stealing": {name for name, v in vars(s.extensions["stealing"]).items() if callable(v)},
        "clients": set(s.clients),
        "workers": [(dict(w.stream_handlers), set(w.plugins)) for w in workers],
    }


@pytest.mark.parametrize("by_name", [False, True])
@gen_cluster(
    **on_workers(6, config={"distributed.scheduler.active-memory-manager.start": False}),
)
async def test_nothing_stays_behind(
    c: Client, s: Scheduler, *workers: Worker, by_name: bool
) -> None:
    s.extensions["amm"].add_policy(ReduceReplicas())
    before = known(s, workers)
    for name in ("a", "b"):  # once more, on top of what was left
        await enable(c)
        assert known(s, workers) != before
        group = MadeGroup(name=name)
        group.check(await c.gather(c.get(group.graph, group.keys, sync=False)))
        await (c.unregister_scheduler_plugin("dask-coded") if by_name else disable(c))
        assert known(s, workers) == before
        assert is_enabled(c) is by_name
    await until(lambda: not s.tasks)


@gen_cluster(**SIX)
async def test_who_has_no_runtime_loses_none(c: Client, s: Scheduler, *workers: Worker) -> None:
    await disable(c)
    await enable(c)
    with pytest.raises(ValueError, match="no such plugin"):
        await c.unregister_scheduler_plugin("no such plugin")
    assert "dask-coded" in s.plugins
    assert not (await report(c)).groups


@pytest.mark.parametrize("systematic", [True, False])
@gen_cluster(**SIX)
async def test_a_group_under_way_ends_as_plain_tasks(
    c: Client, s: Scheduler, *workers: Worker, systematic: bool
) -> None:
    await enable(c)
    group = MadeGroup(gates=dict.fromkeys(range(1, 5), "hold"), systematic=systematic)
    futures = c.get(group.graph, group.keys, sync=False)
    await until(lambda: processing(s, *group.share_keys[1:]))
    await disable(c)
    await Event("hold").set()
    group.check(await c.gather(futures))
    del futures
    await until(lambda: not s.tasks)
    assert "dask-coded" not in s.clients


@gen_cluster(**SIX)
async def test_an_error_that_was_held_back_is_raised(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    group = MadeGroup(gates=dict.fromkeys((0, 1, 3, 4), "hold"), work={2: failing, 4: failing})
    state = plugin(s).conductor.state
    # A client keeps what it raised for good, futures and all.
    async with Client(s.address, asynchronous=True) as other:
        futures = other.get(group.graph, group.keys, sync=False)
        await until(lambda: state.has_error(group.share_keys[2]))
        await disable(c)
        with pytest.raises(ZeroDivisionError):
            await other.gather(futures[2:])
        await Event("hold").set()
        await other.gather(futures[:2])
        assert group.share_keys[4] not in s.tasks
    await until(lambda: not s.tasks)


@gen_cluster(**SIX)
async def test_who_was_suspect_is_not_paused(c: Client, s: Scheduler, *workers: Worker) -> None:
    await enable(c)
    ours = plugin(s)
    address = workers[0].address
    ours.watch.since[address] = 0.0
    ours.conductor.suspected([address], [])
    assert s.workers[address].status == Status.paused
    await disable(c)
    assert s.workers[address].status == Status.running
