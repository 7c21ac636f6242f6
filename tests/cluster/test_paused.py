"""Workers that are no good just now: paused by their memory, silent, just back, or slow."""

import asyncio
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from dask._task_spec import List, Task, TaskRef
from distributed import Client, Event, Scheduler, Worker
from distributed.comm.core import CommClosedError
from distributed.core import Status
from distributed.metrics import time
from distributed.utils_test import gen_cluster
from made_groups import MadeGroup, gated
from watching import SIX, on_workers, plugin, processing, until

from dask_coded.cluster import enable
from dask_coded.cluster._group import Group

pytestmark = pytest.mark.cluster

# What a worker says of itself is up to the test.
NO_MONITOR = {"distributed.worker.memory.pause": False}


async def turns(count: int = 50) -> None:
    """Let everything happen that nobody has to wait for."""
    for _ in range(count):
        await asyncio.sleep(0)


def accuse(s: Scheduler, workers: Iterable[Worker], ago: float = 0.0) -> None:
    """Workers are suspect, whatever they say, until they are acquitted."""
    known = plugin(s)
    known._look.stop()
    known._look.start = lambda: None
    new = [worker.address for worker in workers]
    known.watch.since.update(dict.fromkeys(new, time() - ago))
    known.conductor.suspected(new, [])


def acquit(s: Scheduler, workers: Iterable[Worker]) -> None:
    known = plugin(s)
    trusted = [worker.address for worker in workers]
    for address in trusted:
        known.watch.since.pop(address, None)
    known.conductor.suspected([], trusted)


def count_decisions(s: Scheduler) -> list[Group]:
    conductor = plugin(s).conductor
    decided: list[Group] = []
    decide = conductor._decide

    def counted(group: Group) -> None:
        decided.append(group)
        decide(group)

    conductor._decide = counted  # type: ignore[method-assign]
    return decided


async def no_trace(s: Scheduler) -> None:
    await until(lambda: not s.tasks)
    await until(lambda: not plugin(s).conductor.groups)
    s.validate_state()


async def set_status(s: Scheduler, workers: Iterable[Worker], status: Status) -> None:
    for worker in workers:
        worker.status = status
    await until(lambda: all(s.workers[w.address].status == status for w in workers))


@gen_cluster(**on_workers(6, config=NO_MONITOR))
async def test_decode_waits_for_a_worker_that_may_take_it(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    group = MadeGroup(gates={0: "hold", 4: "hold", 3: "rest"})
    futures = c.get(group.graph, group.keys, sync=False)
    await until(lambda: group.share_keys[3] in s.tasks)
    await until(lambda: all(s.tasks[k].state == "processing" for k in group.share_keys[3:]))
    await until(lambda: all(s.tasks[k].state == "memory" for k in group.keys[1:]))
    await set_status(s, workers, Status.paused)
    decided = count_decisions(s)
    await Event("rest").set()
    (made,) = plugin(s).conductor.groups.values()
    await until(lambda: 3 in made.took)
    await until(lambda: made.decodable_since is not None)
    before = len(decided)
    await asyncio.sleep(0.5)
    # Two looks at most that find a change, and the end of a moment of patience.
    assert len(decided) - before < 10
    free = [worker for worker in workers if not s.workers[worker.address].processing]
    await set_status(s, free[:1], Status.running)
    group.check(await c.gather(futures))
    await set_status(s, workers, Status.running)
    await Event("hold").set()
    del futures
    await no_trace(s)


@gen_cluster(**on_workers(6, config=NO_MONITOR))
async def test_shares_without_a_worker_start_when_any_goes_on(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    group = MadeGroup()
    futures = c.get(group.graph, group.keys, sync=False)
    await until(lambda: bool(plugin(s).conductor.groups))
    group.check(await c.gather(futures))
    del futures
    await no_trace(s)
    group = MadeGroup(name="h", gates=dict.fromkeys(range(5), "go"))
    futures = c.get(group.graph, group.keys, sync=False)
    await until(lambda: all(k in s.tasks and s.tasks[k].processing_on for k in group.share_keys))
    await set_status(s, workers, Status.paused)
    # Those that ran there have no worker now, and remember where they belong.
    for worker in workers[1:]:
        await s.remove_worker(worker.address, stimulus_id="test", close=False)
    assert any(ts.loose_restrictions for ts in s.unrunnable)
    await Event("go").set()
    await set_status(s, workers[:1], Status.running)
    group.check(await c.gather(futures))
    del futures
    await no_trace(s)


@gen_cluster(**on_workers(6, config=NO_MONITOR))
async def test_trusted_again_but_still_paused(c: Client, s: Scheduler, *workers: Worker) -> None:
    await enable(c)
    worker, other = workers[:2]
    accuse(s, [worker, other])
    assert s.workers[worker.address].status == Status.paused
    isolated = plugin(s).conductor._isolation._declared
    worker.status = Status.paused
    other.status = Status.paused
    await until(lambda: isolated[worker.address] == Status.paused)
    await until(lambda: isolated[other.address] == Status.paused)
    other.status = Status.running
    await until(lambda: isolated[other.address] == Status.running)
    # What it says of itself does not give a suspect work.
    await turns()
    assert s.workers[other.address] not in s.running
    acquit(s, [worker, other])
    assert s.workers[worker.address] not in s.running
    assert s.workers[other.address] in s.running
    await set_status(s, [worker], Status.running)
    assert s.workers[worker.address] in s.running


@gen_cluster(**on_workers(6, config=NO_MONITOR))
async def test_paused_before_it_fell_silent(c: Client, s: Scheduler, *workers: Worker) -> None:
    await enable(c)
    worker = workers[0]
    await set_status(s, [worker], Status.paused)
    accuse(s, [worker])
    worker.status = Status.running
    isolated = plugin(s).conductor._isolation._declared
    await until(lambda: isolated[worker.address] == Status.running)
    assert s.workers[worker.address] not in s.running
    acquit(s, [worker])
    assert s.workers[worker.address] in s.running
    accuse(s, [worker])
    await s.remove_worker(worker.address, stimulus_id="test", close=False)
    assert worker.address not in isolated


@gen_cluster(**on_workers(6, config={"distributed.scheduler.work-stealing": False}))
async def test_what_is_made_of_outputs_is_made_elsewhere_once_anybody_is_back(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    group = MadeGroup(gates={0: "hold"})
    total = ("total",)
    graph = group.graph | {total: Task(total, gated, List(*map(TaskRef, group.keys)), "total")}
    (future,) = c.get(graph, [total], sync=False)
    await until(lambda: total in s.tasks and s.tasks[total].processing_on is not None)
    busy = s.tasks[total].processing_on
    others = [worker for worker in workers if worker.address != busy.address]
    accuse(s, workers)
    await turns()
    assert s.tasks[total].processing_on is busy
    acquit(s, others)
    await until(lambda: s.tasks[total].processing_on not in (None, busy))
    await Event("total").set()
    await Event("hold").set()
    np.testing.assert_allclose(await future, group.outputs)
    acquit(s, [worker for worker in workers if worker not in others])
    del future
    await no_trace(s)


@gen_cluster(**on_workers(6, config={"coded.evict-after": "0s"}))
async def test_whoever_comes_back_first_does_not_cost_the_others(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    """Everybody was silent, as when the network is gone for a while."""
    await enable(c)
    x = await c.scatter(np.ones(3), workers=[workers[1].address], hash=False)
    group = MadeGroup(gates={0: "hold", 1: "hold", 2: "hold"})
    for i, key in enumerate(group.share_keys):
        group.graph[key] = group.scaled(i, x.key)
    futures = c.get(group.graph, group.keys, sync=False)
    await until(lambda: all(k in s.tasks for k in group.share_keys))
    await until(lambda: all(s.tasks[k].processing_on for k in group.keys))
    accuse(s, workers, ago=20.0)
    (made,) = plugin(s).conductor.groups.values()
    await until(lambda: made.blocked_since is not None)
    assert s.tasks[x.key].state == "memory"
    acquit(s, workers[:1])
    await turns()
    assert len(s.workers) == 6
    acquit(s, workers[1:])
    await Event("hold").set()
    group.check(await c.gather(futures))
    del futures, x
    await no_trace(s)


@gen_cluster(**SIX)
async def test_long_silent_worker_is_not_removed_for_what_others_can_make(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    address = workers[1].address
    x = c.submit(np.ones, 3, key="x", workers=[address], allow_other_workers=True)
    await x
    accuse(s, [workers[1]], ago=1000.0)
    group = MadeGroup()
    for i, key in enumerate(group.share_keys):
        group.graph[key] = group.scaled(i, "x")
    futures = c.get(group.graph, group.keys, sync=False)
    group.check(await c.gather(futures))
    assert address in s.workers
    acquit(s, [workers[1]])
    del futures, x
    await no_trace(s)


@gen_cluster(**SIX)
async def test_what_only_slow_workers_hold_is_known(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    group = MadeGroup(gates={0: "hold", 2: "hold", 4: "hold"})
    futures = c.get(group.graph, group.keys, sync=False)
    arrived = [group.share_keys[1], group.share_keys[3]]
    await until(lambda: all(k in s.tasks and s.tasks[k].who_has for k in arrived))
    (holder,) = s.tasks[arrived[1]].who_has
    conductor = plugin(s).conductor
    conductor._slow[holder.address] = time() + 1000.0
    (made,) = conductor.groups.values()
    assert made.view(conductor.state, conductor.health()).held_by_slow == {3}
    await Event("hold").set()
    group.check(await c.gather(futures))
    del futures
    await no_trace(s)


@gen_cluster(**SIX)
async def test_a_broken_connection_does_not_keep_others_from_being_isolated(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    data = await c.scatter(np.ones(3), broadcast=True)
    request = s.request_remove_replicas

    def broken(addr: str, keys: list[Any], *, stimulus_id: str) -> None:
        if addr == workers[0].address:
            raise CommClosedError("gone")
        request(addr, keys, stimulus_id=stimulus_id)

    s.request_remove_replicas = broken  # type: ignore[method-assign]
    accuse(s, workers[:3])
    assert s.running == {s.workers[w.address] for w in workers[3:]}
    del s.request_remove_replicas
    acquit(s, workers[:3])
    assert len(s.running) == 6
    del data


@gen_cluster(**on_workers(6, config={"distributed.scheduler.work-stealing": False}))
async def test_whoever_comes_back_first_is_not_given_what_the_others_do(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    group = MadeGroup(gates=dict.fromkeys(range(5), "hold"))
    futures = c.get(group.graph, group.keys, sync=False)
    await until(lambda: processing(s, *group.share_keys))
    before = {key: s.tasks[key].processing_on for key in group.share_keys}
    accuse(s, workers)
    await turns()
    acquit(s, workers[:1])
    await turns()
    assert {key: s.tasks[key].processing_on for key in group.share_keys} == before
    # Nobody else follows in time.
    first = s.workers[workers[0].address]
    await until(lambda: all(s.tasks[key].processing_on is first for key in group.share_keys))
    acquit(s, workers[1:])
    await Event("hold").set()
    group.check(await c.gather(futures))
    del futures
    await no_trace(s)
