"""Idle workers steal shares only as long as these stay spread."""

from distributed import Client, Event, Scheduler, Worker
from distributed.utils_test import gen_cluster
from made_groups import MadeGroup
from watching import in_memory, on_workers, processing, until

from dask_coded.cluster import enable
from dask_coded.codes import MDS

TWO = on_workers(2, config={"distributed.scheduler.work-stealing-interval": "1h"})


def balance(s: Scheduler) -> None:
    """Let idle workers steal, as if every task took long."""
    for prefix in s.task_prefixes.values():
        prefix.duration_average = 10.0
    s.extensions["stealing"].balance()


@gen_cluster(**TWO)
async def test_nobody_steals_more_than_its_part(c: Client, s: Scheduler, *workers: Worker) -> None:
    await enable(c)
    stealing = s.extensions["stealing"]
    code = MDS(6, k=5)
    group = MadeGroup(code, gates={i: str(i) for i in range(6)})
    futures = c.get(group.graph, group.keys, sync=False)
    await until(lambda: processing(s, *group.share_keys))
    busy, idle = (s.workers[worker.address] for worker in workers)
    mine = [i for i, key in enumerate(group.share_keys) if s.tasks[key].processing_on is idle]
    assert len(mine) == 3
    for i in mine:
        await Event(str(i)).set()
    await until(lambda: in_memory(s, *(group.share_keys[i] for i in mine)))
    await until(lambda: idle.address in s.idle)
    assert len(busy.processing) == 3
    balance(s)
    assert not stealing.in_flight
    # What is no share of a group is stolen as ever, and shares by who has fewer.
    async with Worker(s.address, nthreads=1) as new:
        await until(lambda: new.address in s.idle)
        balance(s)
        assert {info["thief"].address for info in stealing.in_flight.values()} == {new.address}
        await until(lambda: not stealing.in_flight)
        assert {ts.key for ts in s.workers[new.address].processing} < set(group.share_keys)
        for i in range(6):
            await Event(str(i)).set()
        group.check(await c.gather(futures))
        del futures
        await until(lambda: not s.tasks)
