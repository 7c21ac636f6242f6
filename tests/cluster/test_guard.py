"""Messages that close a worker of distributed by itself, and do not close one of ours."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from distributed import Client, Event, Scheduler, Worker
from distributed.utils_test import gen_cluster
from distributed.worker_state_machine import AcquireReplicasEvent
from made_groups import MadeGroup
from watching import DEADLINE, on_workers, until

from dask_coded.cluster import enable, report
from dask_coded.testing import EmulatedCluster, assert_clean

TWO = on_workers(2)
#: Connecting may take longer than any test waits.
PATIENT = on_workers(2, config={"distributed.comm.timeouts.connect": "1h"})


def read(value: Any) -> Any:
    Event("reading").set()
    Event("rest").wait()
    return value


def hold_guard(worker: Worker) -> asyncio.Event:
    """Let a worker take plugins only once the event is set; it is reached before, as if frozen."""
    opened, add = asyncio.Event(), worker.handlers["plugin-add"]

    async def held(**message: Any) -> Any:
        await opened.wait()
        return await add(**message)

    worker.handlers["plugin-add"] = held
    return opened


@asynccontextmanager
async def mute() -> AsyncIterator[str]:
    """The address of a server that accepts and never says a word."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        try:
            yield "tcp://{}:{}".format(*server.sockets[0].getsockname())
        finally:
            over.set()


@gen_cluster(**PATIENT)
async def test_hanging_up_again_before_the_first_is_done(
    client: Client, s: Scheduler, a: Worker, b: Worker
) -> None:
    await enable(client)
    async with mute() as address:  # connecting takes as long as it may
        connecting = asyncio.create_task(a.rpc.connect(address))
        await until(lambda: address in a.rpc._connecting)
        hang_up = a.stream_handlers["remove-worker"]
        for number in range(3):  # as messages of one stream are handled: one after each other turn
            hang_up(worker=address, stimulus_id=f"again-{number}")
            await asyncio.sleep(0)
        await asyncio.wait([connecting])
        assert isinstance(connecting.exception(), OSError)
        assert await client.submit(lambda: 1, workers=[a.address]) == 1


@gen_cluster(**PATIENT)
async def test_a_fetch_from_whom_the_same_mail_hangs_up_on(
    client: Client, s: Scheduler, a: Worker, b: Worker
) -> None:
    await enable(client)
    async with mute() as address:
        fetch = AcquireReplicasEvent(who_has={"x": [address]}, nbytes={"x": 8}, stimulus_id="1")
        a.handle_stimulus(fetch)
        a.stream_handlers["remove-worker"](worker=address, stimulus_id="2")
        await until(lambda: "x" not in a.state.tasks or a.state.tasks["x"].state != "flight")


@gen_cluster(**PATIENT)
async def test_results_gathered_from_a_worker_that_was_removed_just_now(
    client: Client, s: Scheduler, a: Worker, b: Worker
) -> None:
    await enable(client)
    async with mute() as address:
        s.plugins["dask-coded"].remove_worker(s, address)
        (gathered,) = await asyncio.wait_for(
            asyncio.gather(s.rpc.connect(address), return_exceptions=True), DEADLINE
        )
        assert isinstance(gathered, OSError)


# Nobody else drops what there are two copies of.
@gen_cluster(**on_workers(2, config={"distributed.scheduler.active-memory-manager.start": False}))
async def test_a_copy_that_is_read_stays(
    client: Client, s: Scheduler, a: Worker, b: Worker
) -> None:
    await enable(client)
    source = client.submit(np.ones, 3, key="source", workers=[a.address])
    await source
    reader = client.submit(read, source, key="reader", workers=[b.address])
    await Event("reading").wait()
    await until(lambda: len(s.tasks["source"].who_has) == 2)
    s.request_remove_replicas(b.address, ["source"], stimulus_id="drop")
    # It says that it still has it, and the reader ends as if nothing had been asked.
    await until(lambda: len(s.tasks["source"].who_has) == 2)
    await Event("rest").set()
    assert (await reader == 1).all()
    s.request_remove_replicas(b.address, ["source"], stimulus_id="drop")
    await until(lambda: "source" not in b.data)
    assert len(s.tasks["source"].who_has) == 1


@gen_cluster(**TWO, worker_kwargs={"validate": False})
async def test_a_task_cancelled_and_wanted_again_by_the_same_mail(
    client: Client, s: Scheduler, a: Worker, b: Worker
) -> None:
    """Its input was dropped in between: it is asked for anew, and does not fail."""
    await enable(client)
    source = client.submit(np.ones, 3, key="source", workers=[a.address])
    await client.replicate([source])
    handlers = a.stream_handlers
    compute = handlers["compute-task"]
    ran: list[str] = []
    execute = a.execute

    async def executed(key: Any, **options: Any) -> Any:
        ran.append(key)
        return await execute(key, **options)

    a.execute = executed

    def mail(**message: Any) -> None:
        handlers["compute-task"] = compute
        compute(**message)
        handlers["free-keys"](keys=["reader"], stimulus_id="free")
        s.request_remove_replicas(a.address, ["source"], stimulus_id="drop")
        handlers["remove-replicas"](keys=["source"], stimulus_id="drop")
        assert "source" not in a.data
        compute(**message | {"who_has": {"source": [b.address]}})
        assert a.state.tasks["reader"].state == "executing"

    handlers["compute-task"] = mail
    reader = client.submit(lambda x: x.sum(), source, key="reader", workers=[a.address])
    assert await reader == 3
    assert ran == ["reader", "reader"]


@gen_cluster(**TWO)
async def test_a_worker_that_comes_later_is_guarded(
    client: Client, s: Scheduler, a: Worker, b: Worker
) -> None:
    await enable(client)
    async with Worker(s.address) as late:
        await until(lambda: "dask-coded-guard" in late.plugins)
    made = MadeGroup(name="g")
    results = await client.gather(client.get(made.graph, made.keys, sync=False))
    made.check(results)


@gen_cluster(**TWO)
async def test_two_clients_enable_at_once(
    client: Client, s: Scheduler, a: Worker, b: Worker
) -> None:
    """While a worker is silent, so that it takes a while; both talk to the plugin that stays."""
    opened = hold_guard(a)
    async with Client(s.address, asynchronous=True, timeout=DEADLINE) as other:
        await asyncio.gather(enable(client), enable(other), enable(client))
        opened.set()
        made = MadeGroup(name="g")
        made.check(await client.gather(client.get(made.graph, made.keys, sync=False)))
        for asking in (client, other):
            assert len((await report(asking)).groups) == 1


@gen_cluster(**TWO)
async def test_who_was_hung_up_on_is_guarded_later(
    client: Client, s: Scheduler, a: Worker, b: Worker
) -> None:
    opened = hold_guard(a)
    await enable(client)
    told: list[Worker] = []
    for worker in (a, b):
        worker.stream_handlers["remove-worker"] = lambda w=worker, **message: told.append(w)
    plugin = s.plugins["dask-coded"]
    isolation = plugin.conductor._isolation
    isolation.hang_up([a.address, "tcp://127.0.0.1:1"])  # ends the message with the guard
    await until(lambda: told == [b, b])
    opened.set()
    await until(lambda: a.address in plugin._guarded)
    assert "dask-coded-guard" in a.plugins
    # From now on it can be told as well.
    a.stream_handlers["remove-worker"] = lambda **message: told.append(a)
    isolation.hang_up(["tcp://127.0.0.1:1"])
    await until(lambda: sorted(told, key=[a, b].index) == [a, b, b, b])


@gen_cluster(**TWO)
async def test_a_worker_back_under_the_same_address(
    client: Client, s: Scheduler, a: Worker, b: Worker
) -> None:
    await enable(client)
    async with Worker(s.address) as first:
        address = first.address
        await until(lambda: "dask-coded-guard" in first.plugins)
        made = MadeGroup(name="first")
        made.check(await client.gather(client.get(made.graph, made.keys, sync=False)))
    # Nobody may register under an address that is taken.
    await until(lambda: address not in s.workers)
    async with Worker(s.address, port=int(address.rpartition(":")[2])) as second:
        assert second.address == address
        await until(lambda: "dask-coded-guard" in second.plugins)
        made = MadeGroup(name="second")
        made.check(await client.gather(client.get(made.graph, made.keys, sync=False)))


@pytest.mark.cluster
def test_frozen_when_the_runtime_was_enabled() -> None:
    """It is guarded when it speaks again, and stays when another falls silent."""

    def guarded(dask_worker: Any) -> bool:
        return "dask-coded-guard" in dask_worker.plugins

    numbers = itertools.count()

    def check(name: str) -> None:
        made = MadeGroup(name=f"{name}{next(numbers)}")
        made.check(client.gather(client.get(made.graph, made.keys, sync=False)))

    with EmulatedCluster(6) as cluster, cluster.client() as client:
        addresses = {name: worker.address for name, worker in cluster.workers.items()}
        cluster.freeze("w3")
        enable(client)
        while addresses["w3"] not in report(client).suspects:
            check("p")
        cluster.freeze("w5")
        while addresses["w5"] not in report(client).suspects:
            check("q")
        cluster.thaw("w3")
        while addresses["w3"] in report(client).suspects:
            check("r")
        while not client.run(guarded, workers=[addresses["w3"]])[addresses["w3"]]:
            check("s")
        cluster.thaw("w5")
        check("t")
        assert set(client.scheduler_info(n_workers=-1)["workers"]) == set(addresses.values())
        assert_clean(client)
