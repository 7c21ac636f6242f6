"""Messages that close a worker of distributed by itself, and do not close one of ours."""

import asyncio
from typing import Any

import numpy as np
from distributed import Client, Event, Scheduler, Worker
from distributed.utils_test import gen_cluster
from made_groups import MadeGroup

from dask_coded.cluster import enable

TWO = {"client": True, "nthreads": [("127.0.0.1", 1)] * 2, "timeout": 60}


def read(value: Any) -> Any:
    Event("reading").set()
    Event("rest").wait()
    return value


async def until(condition: Any) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nothing happened for 10 s")


@gen_cluster(**TWO)
async def test_hanging_up_again_before_the_first_is_done(
    client: Client, s: Scheduler, a: Worker, b: Worker
) -> None:
    await enable(client)
    over = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()
        await writer.wait_closed()

    # A server that accepts and never says a word: connecting takes as long as it may.
    async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
        address = "tcp://{}:{}".format(*server.sockets[0].getsockname())
        connecting = asyncio.create_task(a.rpc.connect(address))
        await until(lambda: address in a.rpc._connecting)
        hang_up = a.stream_handlers["remove-worker"]
        for number in range(3):  # as messages of one stream are handled: one after each other turn
            hang_up(worker=address, stimulus_id=f"again-{number}")
            await asyncio.sleep(0)
        await asyncio.wait([connecting])
        assert isinstance(connecting.exception(), OSError)
        assert await client.submit(lambda: 1, workers=[a.address]) == 1
        over.set()


@gen_cluster(**TWO)
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
