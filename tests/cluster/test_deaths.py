"""Shares whose workers die of them are erasures, until too few are left."""

from typing import Any

import pytest
from distributed import Client, Event, KilledWorker, Scheduler, Worker, rpc
from distributed.utils_test import gen_cluster
from made_groups import MadeGroup
from watching import DEADLINE, on_workers, processing, until

from dask_coded.cluster import enable, report

pytestmark = pytest.mark.cluster

ONE_DEATH = on_workers(8, config={"distributed.scheduler.allowed-failures": 0})


async def die(s: Scheduler, key: Any) -> None:
    """The worker of a share is lost."""
    await until(lambda: processing(s, key))
    await s.remove_worker(s.tasks[key].processing_on.address, stimulus_id="test", close=False)


@pytest.mark.parametrize("systematic", [True, False])
@gen_cluster(**ONE_DEATH)
async def test_a_share_that_may_not_be_tried_again_is_an_erasure(
    c: Client, s: Scheduler, *workers: Worker, systematic: bool
) -> None:
    await enable(c)
    group = MadeGroup(gates={i: str(i) for i in range(5)}, systematic=systematic)
    futures = c.get(group.graph, group.keys, sync=False)
    for share in (0, 4):
        await die(s, group.share_keys[share])
    # A worker that comes is not given what others died of.
    s.plugins["dask-coded"].conductor.joined()
    await Event("sync").is_set()
    assert not processing(s, group.share_keys[0])
    for i in range(1, 4):
        await Event(str(i)).set()
    group.check(await c.gather(futures))
    (entry,) = (await report(c)).groups
    assert list(entry["erased"]) == [0, 4]
    del futures
    await until(lambda: not s.tasks and not s.plugins["dask-coded"].conductor.state._held)
    s.validate_state()


@pytest.mark.parametrize("systematic", [True, False])
@gen_cluster(**ONE_DEATH)
async def test_too_many_deaths_are_what_dask_makes_of_them(
    c: Client, s: Scheduler, *workers: Worker, systematic: bool
) -> None:
    await enable(c)
    group = MadeGroup(gates=dict.fromkeys(range(5), "hold"), systematic=systematic)
    # A client keeps an exception for good once it was raised by `gather`.
    async with Client(s.address, asynchronous=True, timeout=DEADLINE) as other:
        futures = other.get(group.graph, group.keys, sync=False)
        for share in (0, 3, 4):
            await die(s, group.share_keys[share])
        with pytest.raises(KilledWorker):
            await other.gather(futures)
        del futures
    await Event("hold").set()
    await until(lambda: not s.tasks)
    s.validate_state()


@gen_cluster(**ONE_DEATH)
async def test_without_the_plugin_all_is_as_it_was(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    before = s.handlers["unregister"]
    await enable(c)
    plugin = s.plugins["dask-coded"]
    await plugin.close()
    assert s.handlers["unregister"] is before
    assert "remove_worker" not in vars(s)
    assert s.stream_handlers["cancel-keys"] == s.stimulus_cancel


@gen_cluster(**ONE_DEATH)
async def test_a_nanny_says_that_its_worker_is_gone(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    gone = workers[0].address
    async with rpc(s.address) as scheduler:
        await scheduler.unregister(address=gone, stimulus_id="test")
    assert gone not in s.workers


@pytest.mark.parametrize("restarted", [False, True])
@gen_cluster(**ONE_DEATH)
async def test_what_died_once_may_be_submitted_again(
    c: Client, s: Scheduler, *workers: Worker, restarted: bool
) -> None:
    """The second time it is as good as new: nothing of the first is remembered."""
    await enable(c)
    conductor = s.plugins["dask-coded"].conductor
    group = MadeGroup(gates=dict.fromkeys(range(5), "hold"))
    futures = c.get(group.graph, group.keys, sync=False)
    for share in (0, 4):
        await die(s, group.share_keys[share])
    if restarted:
        # What a restart does to tasks; that processes come and go is no matter here.
        for cs in s.clients.values():
            keys = [ts.key for ts in cs.wants_what]
            s.client_releases_keys(keys=keys, client=cs.client_key, stimulus_id="test")
        s._clear_task_state()
        s.plugins["dask-coded"].restart(s)
    del futures
    await until(lambda: not s.tasks and not conductor.groups)
    assert not conductor.state._held
    futures = c.get(group.graph, group.keys, sync=False)
    await until(lambda: processing(s, *group.share_keys))
    (made,) = conductor.groups.values()
    assert not made.view(conductor.state, conductor.health()).erased
    await Event("hold").set()
    group.check(await c.gather(futures))
    del futures
    await until(lambda: not s.tasks and not conductor.state._held)
    s.validate_state()
