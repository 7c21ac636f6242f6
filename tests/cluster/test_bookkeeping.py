"""What is written down of a group: once, of the right group, and whenever the news comes."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from distributed import Client, Event, Scheduler, Worker
from distributed.scheduler import TaskGroup, TaskPrefix, TaskState
from distributed.utils_test import gen_cluster
from made_groups import MadeGroup, failing
from watching import DEADLINE, SIX, plugin, processing, until

from dask_coded.cluster import enable, report
from dask_coded.cluster._group import Group, stuck

pytestmark = pytest.mark.cluster


@gen_cluster(**SIX)
async def test_a_slot_that_is_free_before_the_decode_is_done(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    group = MadeGroup(gates={0: "hold", 4: "hold"})
    state = plugin(s).conductor.state
    rewrite = state.rewrite

    def then_free(tasks: Mapping[Any, Any], where: Mapping[Any, Any]) -> None:
        rewrite(tasks, where)
        event = {"action": "slot-free", "key": str(group.share_keys[0])}
        plugin(s).log_event("dask-coded", event)

    state.rewrite = then_free  # type: ignore[method-assign]
    futures = c.get(group.graph, group.keys, sync=False)
    group.check(await c.gather(futures))
    (entry,) = (await report(c)).groups
    assert 0 in entry["cancelled"]
    assert list(entry["free_seconds"]) == ["0"]
    # Parity was cancelled too, when the group was decoded or after it.
    plugin(s).log_event("dask-coded", {"action": "slot-free", "key": str(group.share_keys[4])})
    (entry,) = (await report(c)).groups
    assert set(entry["free_seconds"]) == {"0", "4"}
    await Event("hold").set()


@gen_cluster(**SIX)
async def test_a_group_that_is_given_up_is_counted_once(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    group = MadeGroup(gates=dict.fromkeys(range(5), "hold"))
    futures = c.get(group.graph, group.keys, sync=False)
    await until(lambda: all(processing(s, key) for key in group.share_keys))
    del futures
    await until(lambda: not s.tasks and not plugin(s).conductor._dirty)
    found = await report(c)
    assert found.totals["groups"] == 1
    assert found.groups[0]["resolve_seconds"] is None
    await Event("hold").set()


@gen_cluster(**SIX)
async def test_an_ended_group_does_nothing_beside_its_successor(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    conductor = plugin(s).conductor
    group = MadeGroup(gates={0: "hold"})
    futures = c.get(group.graph, group.keys, sync=False)
    await until(lambda: bool(conductor.groups))
    (old,) = conductor.groups.values()
    del futures
    await until(lambda: not conductor.groups)
    futures = c.get(group.graph, group.keys, sync=False)
    await until(lambda: bool(conductor.groups))
    (new,) = conductor.groups.values()
    assert new is not old
    conductor.note(old)
    conductor._decide_dirty()
    assert list(conductor.groups.values()) == [new]
    group.check(await c.gather(futures))
    await Event("hold").set()


@gen_cluster(**SIX)
async def test_a_group_that_failed_was_not_resolved(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    group = MadeGroup(work={0: failing, 3: failing, 4: failing})
    async with Client(s.address, asynchronous=True, timeout=DEADLINE) as other:
        futures = other.get(group.graph, group.keys, sync=False)
        with pytest.raises(ZeroDivisionError):
            await other.gather(futures)
        await until(lambda: bool(plugin(s).conductor.history.entries))
        (entry,) = (await report(c)).groups
        assert list(entry["erased"]) == [0, 3, 4]
        assert entry["resolve_seconds"] is None


@gen_cluster(**SIX)
async def test_a_decision_that_failed_is_made_again(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    conductor = plugin(s).conductor
    decide, broken = conductor._decide, [True]

    def maybe(group: Group) -> None:
        if broken[0]:
            raise ZeroDivisionError("on purpose")
        decide(group)

    conductor._decide = maybe  # type: ignore[method-assign]
    group = MadeGroup(gates={0: "hold", 4: "hold"})
    futures = c.get(group.graph, group.keys, sync=False)
    await until(lambda: all(key in s.tasks for key in group.keys))
    await until(lambda: all(s.tasks[key].state == "memory" for key in group.keys[1:]))
    await until(lambda: not conductor._dirty)
    # From now on there is no news that could wake the group.
    broken[0] = False
    group.check(await c.gather(futures))
    await Event("hold").set()


@gen_cluster(**SIX)
async def test_a_share_that_was_stolen_is_its_thief_s(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    # Nobody else steals.
    await s.extensions["stealing"].stop()
    busy = [
        c.submit(lambda: Event("busy").wait(), workers=[worker.address], pure=False)
        for worker in workers
    ]
    await until(lambda: sum(ts.state == "processing" for ts in s.tasks.values()) == len(busy))
    # Without parity the share cannot be decoded instead, however long its thief takes.
    group = MadeGroup(gates={3: "parity", 4: "parity"})
    futures = c.get(group.graph, group.keys, sync=False)
    await until(lambda: processing(s, *group.share_keys))
    ts = s.tasks[group.share_keys[0]]
    victim = ts.processing_on
    # It has no share of its own: parity that is held would hold up what is stolen.
    owners = [s.tasks[key].processing_on for key in group.share_keys]
    (thief,) = (ws for ws in s.workers.values() if ws not in owners)
    s.extensions["stealing"].move_task_request(ts, victim, thief)
    await until(lambda: ts.processing_on is thief)
    await Event("busy").set()
    group.check(await c.gather(futures))
    (entry,) = (await report(c)).groups
    assert entry["workers"]["0"] == thief.address
    assert {ws.address for ws in ts.who_has or ()} == {thief.address}
    await Event("parity").set()


@gen_cluster(**SIX)
async def test_a_wrong_result_is_its_maker_s_whoever_made_it_again(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    group = MadeGroup(gates={0: "hold", 4: "hold"})
    futures = c.get(group.graph, group.keys, sync=False)
    group.check(await c.gather(futures))
    (made,) = plugin(s).conductor.groups.values()
    maker = made.ran_on[1]
    made.ran_on[1] = "another"
    plugin(s).conductor.found_wrong(made.spec.group, [1], corrected=False)
    assert made.wrong == {1: maker}
    await Event("hold").set()


@dataclass(frozen=True)
class Named:
    """What is asked of a worker here."""

    address: str


def waiting(key: Any) -> TaskState:
    group = TaskGroup("tasks", TaskPrefix("tasks"))
    return TaskState(key, None, "waiting", group, validate=False)


def chain(length: int) -> list[TaskState]:
    tasks = [waiting(i) for i in range(length)]
    for before, after in itertools.pairwise(tasks):
        after.dependencies.add(before)
    tasks[0].processing_on = Named("w")  # type: ignore[assignment]
    return tasks


def test_a_long_chain_behind_a_silent_worker() -> None:
    tasks = chain(20_000)
    known: dict[Any, frozenset[str]] = {}
    assert stuck(tasks[-1], {"w": 0.0}, known) == {"w"}
    assert stuck(tasks[9_999], {"w": 0.0}, known) == {"w"}
    assert len(known) == len(tasks)
    assert stuck(tasks[-1], {"other": 0.0}, {}) == frozenset()
    assert stuck(tasks[-1], {}, {}) == frozenset()


@pytest.mark.parametrize("seed", range(30))
def test_stuck_is_what_can_be_reached(seed: int) -> None:
    """Tasks that wait for each other in a circle included, whatever is asked first."""
    rng = np.random.default_rng(seed)
    workers: list[Any] = [Named(f"w{i}") for i in range(4)]
    tasks = [waiting(i) for i in range(15)]
    for ts in tasks:
        ts.dependencies.update(tasks[i] for i in rng.choice(15, rng.integers(4), replace=False))
        kind = rng.integers(6)
        if kind == 0:
            ts.processing_on = workers[rng.integers(4)]
        elif kind == 1:
            ts.who_has = {workers[rng.integers(4)]}
    suspects = {"w0": 0.0, "w1": 0.0, "w2": 0.0}
    known: dict[Any, frozenset[str]] = {}
    for i in rng.permutation(15):
        if tasks[i].who_has:
            continue  # only what is unfinished is asked about
        expected: set[str] = set()
        front, seen = [tasks[i]], {tasks[i]}
        while front:
            ts = front.pop()
            if ts.processing_on is not None:
                expected.add(ts.processing_on.address)
            for dts in ts.dependencies - seen:
                if dts.who_has:
                    expected.update(ws.address for ws in dts.who_has)
                else:
                    seen.add(dts)
                    front.append(dts)
        assert stuck(tasks[i], suspects, known) == expected - {"w3"}
