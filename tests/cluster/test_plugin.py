"""The plugin under a validating scheduler; shares are held by events, never by sleeping."""

import gc
import warnings
from collections.abc import Sequence
from typing import Any

import dask
import numpy as np
import pytest
from distributed import Client, Event, Scheduler, Worker
from distributed.utils_test import gen_cluster
from made_groups import MadeGroup, failing
from watching import DEADLINE, SIX, on_workers, plugin, until

from dask_coded.cluster import enable, report
from dask_coded.codes import Replication
from dask_coded.errors import AmplificationWarning

pytestmark = pytest.mark.cluster


async def assert_no_trace(s: Scheduler, workers: Sequence[Worker]) -> None:
    """Nothing of any group is left once its results were released."""
    gc.collect()  # exceptions that were raised hold futures in a circle
    await until(lambda: not s.tasks)
    await until(lambda: not plugin(s).conductor.groups)
    await until(lambda: not any(w.state.tasks for w in workers))
    await until(lambda: "dask-coded" not in s.clients)
    conductor = plugin(s).conductor
    assert not conductor._member
    assert not conductor._dirty
    assert not conductor._wake
    assert not conductor.state._held
    assert not s.task_groups
    s.validate_state()


def ended(entry: Any, name: str) -> list[int]:
    return sorted(entry[name])


@pytest.mark.parametrize("systematic", [True, False])
@gen_cluster(**SIX)
async def test_stragglers_are_not_waited_for(
    c: Client, s: Scheduler, *workers: Worker, systematic: bool
) -> None:
    await enable(c)
    group = MadeGroup(gates={1: "hold", 4: "hold"}, systematic=systematic)
    futures = c.get(group.graph, group.keys, sync=False)
    group.check(await c.gather(futures))
    (entry,) = (await report(c)).groups
    assert ended(entry, "cancelled") == [1, 4]
    assert ended(entry, "arrived") == [0, 2, 3]
    assert entry["amplification"] > 1
    await Event("hold").set()
    del futures
    await assert_no_trace(s, workers)


@gen_cluster(**SIX)
async def test_healthy_group_runs_its_shares_and_nothing_else(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    # Parity is held back until the outputs are there: it must not delay them.
    group = MadeGroup(gates={3: "hold", 4: "hold"})
    futures = c.get(group.graph, group.keys, sync=False)
    group.check(await c.gather(futures))
    finished = {
        key
        for key, start, finish, *_ in s.transition_log
        if (start, finish) == ("processing", "memory")
    }
    assert finished == set(group.keys)
    (entry,) = (await report(c)).groups
    assert entry["decoded"] == 0
    assert ended(entry, "cancelled") == [3, 4]
    await Event("hold").set()
    del futures
    await assert_no_trace(s, workers)


@gen_cluster(**on_workers(5))
async def test_without_plugin_it_is_a_plain_graph(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    for systematic in (True, False):
        group = MadeGroup(name=f"g{systematic}", systematic=systematic)
        group.check(await c.gather(c.get(group.graph, group.keys, sync=False)))


def test_other_schedulers_get_it_right() -> None:
    for systematic in (True, False):
        group = MadeGroup(systematic=systematic)
        group.check(dask.threaded.get(group.graph, group.keys))
        group.check(dask.get(group.graph, group.keys))


@gen_cluster(**SIX)
async def test_exception_in_a_share_is_an_erasure(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    group = MadeGroup(work={0: failing, 3: failing}, gates={4: "hold"})
    futures = c.get(group.graph, group.keys, sync=False)
    await until(lambda: bool(plugin(s).conductor.groups))
    (made,) = plugin(s).conductor.groups.values()
    await until(lambda: made.erased == {0, 3})
    await Event("hold").set()
    group.check(await c.gather(futures))
    (entry,) = (await report(c)).groups
    assert ended(entry, "erased") == [0, 3]
    del futures
    await assert_no_trace(s, workers)


@pytest.mark.parametrize("systematic", [True, False])
@gen_cluster(**SIX)
async def test_too_many_exceptions_raise_the_original_one(
    c: Client, s: Scheduler, *workers: Worker, systematic: bool
) -> None:
    await enable(c)
    group = MadeGroup(work={0: failing, 3: failing, 4: failing}, systematic=systematic)
    # A client keeps an exception for good once it was raised by `gather`.
    async with Client(s.address, asynchronous=True, timeout=DEADLINE) as other:
        futures = other.get(group.graph, group.keys, sync=False)
        with pytest.raises(ZeroDivisionError, match="share"):
            await other.gather(futures)
        traceback = await futures[0].traceback()
        frames = []
        while traceback is not None:
            frames.append(traceback.tb_frame.f_code.co_name)
            traceback = traceback.tb_next
        assert "failing" in frames
        del futures
    await assert_no_trace(s, workers)


@gen_cluster(**SIX)
async def test_worker_lost_before_its_share_arrives(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    group = MadeGroup(gates={0: "hold", 1: "one", 2: "one", 3: "one", 4: "one"})
    futures = c.get(group.graph, group.keys, sync=False)
    key = group.share_keys[0]
    await until(lambda: key in s.tasks and s.tasks[key].state == "processing")
    await s.remove_worker(s.tasks[key].processing_on.address, stimulus_id="test", close=False)
    await Event("one").set()
    group.check(await c.gather(futures))
    await Event("hold").set()
    del futures
    await until(lambda: not s.tasks)
    await until(lambda: not plugin(s).conductor.groups)


@gen_cluster(**SIX)
async def test_worker_lost_between_arrival_and_decode(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    # Shares 1, 2 and 3 suffice. The worker of share 1 is lost after it arrived.
    group = MadeGroup(gates={0: "hold", 2: "two", 3: "two", 4: "two", 1: "one"})
    futures = c.get(group.graph, group.keys, sync=False)
    key = group.share_keys[1]
    await Event("one").set()
    await until(lambda: key in s.tasks and s.tasks[key].state == "memory")
    (holder,) = s.tasks[key].who_has
    await Event("one").clear()
    await s.remove_worker(holder.address, stimulus_id="test", close=False)
    await Event("two").set()
    group.check(await c.gather(futures))
    await Event("hold").set()
    await Event("one").set()
    del futures
    await until(lambda: not s.tasks)
    await until(lambda: not plugin(s).conductor.groups)


@gen_cluster(**SIX)
async def test_groups_may_share_an_operand(c: Client, s: Scheduler, *workers: Worker) -> None:
    await enable(c)
    first = MadeGroup(name="first", gates={0: "hold"})
    second = MadeGroup(name="second", gates={4: "hold"})
    operand = "operand"
    graph: dict[Any, Any] = {operand: (np.ones, 3)}
    for made in (first, second):
        graph |= made.graph
        for i, key in enumerate(made.share_keys):
            graph[key] = made.scaled(i, operand)
    keys = [*first.keys, *second.keys]
    futures = c.get(graph, keys, sync=False)
    got = await c.gather(futures)
    first.check(got[:3])
    second.check(got[3:])
    await Event("hold").set()
    del futures
    await assert_no_trace(s, workers)


@gen_cluster(**SIX)
async def test_cancelled_client_leaves_nothing(c: Client, s: Scheduler, *workers: Worker) -> None:
    await enable(c)
    group = MadeGroup(gates={0: "hold", 1: "hold", 3: "hold", 4: "hold"})
    futures = c.get(group.graph, group.keys, sync=False)
    await until(lambda: group.keys[2] in s.tasks and s.tasks[group.keys[2]].state == "memory")
    await c.cancel(futures)
    del futures
    await Event("hold").set()
    await assert_no_trace(s, workers)
    # and the cluster is usable
    other = MadeGroup(name="other")
    other.check(await c.gather(c.get(other.graph, other.keys, sync=False)))


@gen_cluster(**SIX)
async def test_closed_client_leaves_nothing(c: Client, s: Scheduler, *workers: Worker) -> None:
    await enable(c)
    group = MadeGroup(gates=dict.fromkeys(range(5), "hold"))
    async with Client(s.address, asynchronous=True, timeout=DEADLINE) as other:
        futures = other.get(group.graph, group.keys, sync=False)
        await until(lambda: bool(s.tasks))
        del futures
    await Event("hold").set()
    await assert_no_trace(s, workers)


@gen_cluster(**SIX)
async def test_submitted_again_while_in_flight(c: Client, s: Scheduler, *workers: Worker) -> None:
    await enable(c)
    group = MadeGroup(gates={0: "hold"})
    futures = c.get(group.graph, group.keys, sync=False)
    await until(lambda: bool(plugin(s).conductor.groups))
    async with Client(s.address, asynchronous=True, timeout=DEADLINE) as other:
        again = other.get(group.graph, group.keys, sync=False)
        group.check(await other.gather(again))
        group.check(await c.gather(futures))
        third = other.get(group.graph, group.keys, sync=False)
        group.check(await other.gather(third))
        del again, third
    await Event("hold").set()
    del futures
    await assert_no_trace(s, workers)
    collisions = [
        event["metrics"]["key_collisions"]
        for _, event in s.get_events("scheduler")
        if event.get("action") == "update-graph" and "metrics" in event
    ]
    assert sum(collisions) == 0


@gen_cluster(**SIX)
async def test_inaccurate_decoding_waits_for_another_share(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    group = MadeGroup(gates={0: "hold"}, tolerance=1e-30)
    futures = c.get(group.graph, group.keys, sync=False)
    await until(lambda: bool(plugin(s).conductor.groups))
    (made,) = plugin(s).conductor.groups.values()
    await until(lambda: len(made.took) == 4)
    assert not made.decoding
    await Event("hold").set()
    group.check(await c.gather(futures))
    assert made.decoded == 0
    del futures
    await assert_no_trace(s, workers)


@gen_cluster(**SIX)
async def test_last_resort_decode_warns_the_client(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    group = MadeGroup(work={0: failing, 4: failing}, tolerance=1e-30)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        futures = c.get(group.graph, group.keys, sync=False)
        group.check(await c.gather(futures))
        # The warning comes by another way than the result.
        await until(lambda: any(w.category is AmplificationWarning for w in caught))
    del futures
    await assert_no_trace(s, workers)


@gen_cluster(**SIX)
async def test_consumers_may_be_done_before_the_group_is(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    """An output that was consumed is kept while others may still be decoded from it."""
    await enable(c)
    group = MadeGroup(gates={0: "hold", 3: "parity", 4: "parity"})
    sums = {("sum", q): (np.sum, key) for q, key in enumerate(group.keys)}
    futures = c.get(group.graph | sums, list(sums), sync=False)
    await until(lambda: s.tasks.get(("sum", 2)) is not None and s.tasks["sum", 2].state == "memory")
    await until(lambda: s.tasks["sum", 1].state == "memory")
    assert s.tasks[group.keys[1]].state == "memory"
    await Event("parity").set()
    np.testing.assert_allclose(await c.gather(futures), [z.sum() for z in group.outputs])
    await until(lambda: s.tasks[group.keys[1]].state == "released")
    await Event("hold").set()
    del futures
    await assert_no_trace(s, workers)


@gen_cluster(**SIX)
async def test_part_of_a_group_runs_as_plain_tasks(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    group = MadeGroup()
    futures = c.get(group.graph, group.keys[:1], sync=False)
    np.testing.assert_allclose((await c.gather(futures))[0], group.outputs[0])
    del futures
    await assert_no_trace(s, workers)


@gen_cluster(**SIX)
async def test_outputs_lost_later_come_back(c: Client, s: Scheduler, *workers: Worker) -> None:
    await enable(c)
    group = MadeGroup(gates={0: "hold"})
    futures = c.get(group.graph, group.keys, sync=False)
    await c.gather(futures)
    (holder,) = s.tasks[group.keys[0]].who_has  # it was decoded there
    await Event("hold").set()
    await s.remove_worker(holder.address, stimulus_id="test", close=False)
    group.check(await c.gather(futures))
    del futures
    await until(lambda: not s.tasks)
    await until(lambda: not plugin(s).conductor.groups)


@gen_cluster(**on_workers(1))
async def test_one_worker(c: Client, s: Scheduler, *workers: Worker) -> None:
    await enable(c)
    for systematic in (True, False):
        group = MadeGroup(name=f"g{systematic}", systematic=systematic)
        group.check(await c.gather(c.get(group.graph, group.keys, sync=False)))
    await assert_no_trace(s, workers)


@gen_cluster(**on_workers(0))
async def test_workers_may_come_later(c: Client, s: Scheduler) -> None:
    await enable(c)
    group = MadeGroup()
    futures = c.get(group.graph, group.keys, sync=False)
    await until(lambda: bool(s.tasks))
    async with Worker(s.address) as a, Worker(s.address) as b:
        group.check(await c.gather(futures))
        del futures
        await assert_no_trace(s, [a, b])


@gen_cluster(**SIX)
async def test_replication_needs_one_copy_only(c: Client, s: Scheduler, *workers: Worker) -> None:
    await enable(c)
    group = MadeGroup(code=Replication(4, k=2), gates={0: "hold"})
    futures = c.get(group.graph, group.keys, sync=False)
    group.check(await c.gather(futures))
    await Event("hold").set()
    del futures
    await assert_no_trace(s, workers)


@gen_cluster(**on_workers(6, timeout=240))
async def test_many_groups_leave_nothing(c: Client, s: Scheduler, *workers: Worker) -> None:
    await enable(c)
    for i in range(20):
        late, fails = divmod(i, 5)
        group = MadeGroup(name=f"g{i}", gates={late: f"hold{i}"}, work={fails: failing})
        if late == fails:
            await Event(f"hold{i}").set()
        futures = c.get(group.graph, group.keys, sync=False)
        group.check(await c.gather(futures))
        await Event(f"hold{i}").set()
        del futures
    await assert_no_trace(s, workers)
    assert (await report(c)).totals["groups"] == 20


@gen_cluster(**SIX)
async def test_shares_of_a_group_are_on_different_workers(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    group = MadeGroup(gates=dict.fromkeys(range(5), "hold"))
    futures = c.get(group.graph, group.keys, sync=False)
    await until(
        lambda: all(k in s.tasks and s.tasks[k].state == "processing" for k in group.share_keys)
    )
    assert len({s.tasks[key].processing_on for key in group.share_keys}) == 5
    await Event("hold").set()
    group.check(await c.gather(futures))
    del futures
    await assert_no_trace(s, workers)
