"""Real worker processes that are stopped or killed at chosen moments.

Nothing is thawed before the result is there: if it comes at all, nobody waited for the frozen.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from dask._task_spec import Task, TaskRef
from distributed import Client, Event, wait
from made_groups import MadeGroup, gated
from watching import DEADLINE, wait_until

from dask_coded.cluster import enable, report
from dask_coded.testing import EmulatedCluster, assert_clean

pytestmark = pytest.mark.cluster


def hold_decodes(dask_worker: Any) -> None:
    """Let decodes of this worker say that they have begun, and wait."""
    from distributed import Event

    from dask_coded.graph import _tasks

    combine = _tasks.combine

    def held(*args: Any, **kwargs: Any) -> Any:
        Event("decoding").set()
        Event("decode").wait()
        return combine(*args, **kwargs)

    _tasks.combine = held


class Operand:
    """The shares of a group's blocks, one on each worker, and products with them."""

    def __init__(self, cluster: EmulatedCluster, client: Client, **options: Any) -> None:
        self.cluster = cluster
        self.client = client
        self.group = MadeGroup(**options)
        self.worker_of = dict(enumerate(cluster.workers))
        self.kept = {}
        for i, key in enumerate(self.group.share_keys):
            address = cluster.workers[self.worker_of[i]].address
            value = self.group.graph[key].args[0]
            self.kept[i] = client.submit(
                np.array, value, key=f"block-{key[0]}-{i}", workers=[address], pure=False
            )
        wait(list(self.kept.values()))

    def product(self, name: str, gates: dict[int, str] | None = None) -> tuple[Any, MadeGroup]:
        options = {"code": self.group.code, "name": name, "gates": gates}
        made = MadeGroup(**options, inputs={i: future.key for i, future in self.kept.items()})
        return self.client.get(made.graph, made.keys, sync=False), made

    def freeze(self, share: int) -> None:
        self.cluster.freeze(self.worker_of[share])

    def thaw(self, share: int) -> None:
        self.cluster.thaw(self.worker_of[share])


@pytest.fixture
def operand() -> Iterator[Operand]:
    with EmulatedCluster(6) as cluster, cluster.client() as client:
        enable(client)
        made = Operand(cluster, client, name="a")
        yield made
        for name in cluster.workers:
            cluster.thaw(name)
        made.kept.clear()
        for name in ("hold", "decode", "rest"):
            Event(name).set()
        assert_clean(client)


def until_in_memory(client: Client, *keys: Any) -> None:
    def arrived(dask_scheduler: Any) -> bool:
        tasks = dask_scheduler.tasks
        return all(key in tasks and tasks[key].state == "memory" for key in keys)

    wait_until(client.run_on_scheduler, arrived)


def test_frozen_before_the_product(operand: Operand) -> None:
    operand.freeze(1)
    for i in range(3):
        futures, made = operand.product(f"p{i}")
        made.check(operand.client.gather(futures))


def test_frozen_during_its_share(operand: Operand) -> None:
    futures, made = operand.product("p", {1: "hold", 4: "hold", 3: "rest"})
    until_in_memory(operand.client, made.share_keys[0], made.share_keys[2])
    operand.freeze(1)
    Event("rest").set()
    made.check(operand.client.gather(futures))


def test_frozen_after_its_share_arrived(operand: Operand) -> None:
    futures, made = operand.product("p", {0: "hold", 3: "rest", 4: "rest"})
    until_in_memory(operand.client, made.share_keys[1], made.share_keys[2])
    operand.freeze(1)
    Event("rest").set()
    made.check(operand.client.gather(futures))


def test_frozen_while_the_result_is_gathered(operand: Operand) -> None:
    futures, made = operand.product("p")
    wait(futures)
    operand.freeze(1)
    made.check(operand.client.gather(futures))


def test_two_frozen(operand: Operand) -> None:
    futures, made = operand.product("p")
    wait(futures)
    operand.freeze(0)
    operand.freeze(2)
    made.check(operand.client.gather(futures))
    futures, made = operand.product("q")
    made.check(operand.client.gather(futures))


def test_frozen_during_decode(operand: Operand) -> None:
    operand.client.run(hold_decodes)
    futures, made = operand.product("p", {1: "hold"})
    assert Event("decoding").wait(timeout=DEADLINE)

    def decoder(dask_scheduler: Any) -> str | None:
        where = dask_scheduler.tasks[made.keys[1]].processing_on
        return None if where is None else str(where.name)

    wait_until(lambda: operand.client.run_on_scheduler(decoder) is not None)
    operand.cluster.freeze(operand.client.run_on_scheduler(decoder) or operand.worker_of[5])
    Event("decode").set()
    made.check(operand.client.gather(futures))


def test_frozen_with_the_small_operand(operand: Operand) -> None:
    """What every share needs lives on the frozen worker only; it can be computed again."""
    client, worker = operand.client, operand.cluster.workers[operand.worker_of[1]]
    x = client.submit(np.ones, 3, key="x", workers=[worker.address], allow_other_workers=True)
    wait(x)
    operand.freeze(1)
    made = MadeGroup(name="p", inputs={i: f.key for i, f in operand.kept.items()})
    for i, key in enumerate(made.share_keys):
        made.graph[key] = made.scaled(i, "x")
    made.check(client.gather(client.get(made.graph, made.keys, sync=False)))
    del x


def test_frozen_with_what_was_made_of_outputs(operand: Operand) -> None:
    client, address = operand.client, operand.cluster.workers[operand.worker_of[1]].address
    futures, made = operand.product("p")
    total = client.submit(sum, futures, key="total", workers=[address], allow_other_workers=True)
    wait(total)
    operand.freeze(1)
    np.testing.assert_allclose(total.result(), sum(made.outputs))
    del total


def test_thawed_worker_is_trusted_again(operand: Operand) -> None:
    operand.freeze(1)
    futures, made = operand.product("p")
    made.check(operand.client.gather(futures))
    wait_until(lambda: operand.worker_of[1] in silent(operand))
    operand.thaw(1)
    wait_until(lambda: not silent(operand))
    futures, made = operand.product("q")
    made.check(operand.client.gather(futures))
    until_in_memory(operand.client, *made.keys)


def silent(operand: Operand) -> set[str]:
    names = {worker.address: name for name, worker in operand.cluster.workers.items()}
    return {names[address] for address in report(operand.client).suspects}


@pytest.mark.parametrize("moment", ["before", "share", "arrived", "gather"])
def test_killed(operand: Operand, moment: str) -> None:
    name = operand.worker_of[1]
    if moment == "before":
        operand.cluster.kill(name)
        futures, made = operand.product("p")
    elif moment == "share":
        futures, made = operand.product("p", {1: "hold", 3: "rest"})
        until_in_memory(operand.client, made.share_keys[0], made.share_keys[2])
        operand.cluster.kill(name)
        Event("rest").set()
    elif moment == "arrived":
        futures, made = operand.product("p", {0: "hold", 3: "rest", 4: "rest"})
        until_in_memory(operand.client, made.share_keys[1], made.share_keys[2])
        operand.cluster.kill(name)
        Event("rest").set()
    else:
        futures, made = operand.product("p")
        wait(futures)
        operand.cluster.kill(name)
    made.check(operand.client.gather(futures))


__all__ = ["Task", "TaskRef", "gated"]
