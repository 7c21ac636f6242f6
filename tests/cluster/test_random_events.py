"""Random faults in random order on a validating scheduler: every result right, no trace left.

Workers leave and join, shares fail, gates open late, and workers are declared silent that are not:
being wrong about a suspect must cost nothing but time.
"""

import asyncio
import logging
import random
from typing import Any

import numpy as np
import pytest
from distributed import Client, Event, Scheduler, Worker
from distributed.metrics import time
from distributed.utils_test import gen_cluster
from made_groups import MadeGroup, failing
from watching import on_workers, plugin, until

from dask_coded.cluster import enable
from dask_coded.codes import MDS

pytestmark = pytest.mark.cluster

CODE = MDS(6, k=4)


class Job:
    """A group with random gates and failures, and perhaps consumers of its outputs."""

    def __init__(self, rng: random.Random, name: str) -> None:
        self.gates = {i: f"{name}-{i}" for i in range(6) if rng.random() < 0.7}
        work = dict.fromkeys(rng.sample(range(6), rng.choice([0, 0, 1, 2])), failing)
        self.made = MadeGroup(
            CODE, name, gates=self.gates, work=work, systematic=rng.random() < 0.6
        )
        self.graph: dict[Any, Any] = dict(self.made.graph)
        self.keys = list(self.made.keys)
        self.total = f"total-{name}"
        self.wants_outputs, self.wants_total = rng.choice(
            [(True, False), (False, True), (True, True)]
        )
        if self.wants_total:
            sums = {(f"sum-{name}", q): (np.sum, key) for q, key in enumerate(self.made.keys)}
            self.graph |= {**sums, self.total: (sum, list(sums))}
            self.keys = [*(self.keys if self.wants_outputs else []), self.total]

    def check(self, got: list[Any]) -> None:
        if self.wants_total:
            *got, total = got
            np.testing.assert_allclose(total, sum(z.sum() for z in self.made.outputs), rtol=1e-9)
        if self.wants_outputs:
            self.made.check(got)


class Turmoil:
    """The cluster, and what can happen to it."""

    def __init__(self, s: Scheduler, workers: list[Worker], rng: random.Random) -> None:
        self.s, self.workers, self.rng = s, workers, rng
        self.suspects: set[str] = set()
        self.plugin = plugin(s)

    async def lose(self) -> None:
        if len(self.workers) > 2:
            worker = self.workers.pop(self.rng.randrange(len(self.workers)))
            self.suspects.discard(worker.address)
            if self.rng.random() < 0.5:
                await self.s.remove_worker(worker.address, stimulus_id="test", close=False)
            await worker.close(executor_wait=False)

    async def join(self) -> None:
        self.workers.append(await Worker(self.s.address, nthreads=1))

    async def accuse(self) -> None:
        address = self.rng.choice(list(self.s.workers))
        if address not in self.suspects and len(self.suspects) < 2:
            self.suspects.add(address)
            self.plugin.watch.since[address] = time()
            self.plugin.conductor.suspected([address], [])

    async def acquit(self) -> None:
        if self.suspects:
            address = self.suspects.pop()
            self.plugin.watch.since.pop(address, None)
            self.plugin.conductor.suspected([], [address])


async def somewhat_later(rng: random.Random) -> None:
    for _ in range(rng.randrange(4)):
        await asyncio.sleep(0)
    if rng.random() < 0.6:
        await asyncio.sleep(0.02 * rng.random())


@pytest.mark.parametrize("seed", range(6))
@gen_cluster(**on_workers(5))
async def test_random_events(c: Client, s: Scheduler, *workers: Worker, seed: int) -> None:
    await enable(c)
    s.allowed_failures = 100
    rng = random.Random(seed)
    turmoil = Turmoil(s, list(workers), rng)
    conductor = turmoil.plugin.conductor
    complaints: list[logging.LogRecord] = []
    logger = logging.getLogger("distributed.scheduler.dask_coded")
    logger.addFilter(lambda record: complaints.append(record) or True)
    jobs = []
    for name in "abcd":
        job = Job(rng, f"{name}{seed}")
        jobs.append((job, c.get(job.graph, job.keys, sync=False)))
        await somewhat_later(rng)
    gates = [gate for job, _ in jobs for gate in job.gates.values()]
    rng.shuffle(gates)
    deeds = [turmoil.lose, turmoil.join, turmoil.accuse, turmoil.acquit]
    while gates:
        if rng.random() < 0.6:
            await Event(gates.pop()).set()
        else:
            await rng.choice(deeds)()
        await somewhat_later(rng)
    while turmoil.suspects:
        await turmoil.acquit()
    for job, futures in jobs:
        job.check(await c.gather(futures))
    assert not [record for record in complaints if record.levelno >= logging.ERROR]
    del jobs, futures
    await until(lambda: not s.tasks and not conductor.groups)
    assert "dask-coded" not in s.clients
    s.validate_state()
    for worker in turmoil.workers:
        await worker.close(executor_wait=False)
