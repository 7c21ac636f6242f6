"""What users release leaves the workers' memory at once, whatever the group still waits for."""

from typing import Any

import pytest
from distributed import Client, Event, Scheduler, Worker, wait
from distributed.utils_test import gen_cluster
from made_groups import MadeGroup
from watching import SIX, in_memory, until

from dask_coded.cluster import enable

pytestmark = pytest.mark.cluster


def wanted(s: Scheduler, c: Client, key: Any) -> bool:
    return key in s.tasks and s.clients[c.id] in (s.tasks[key].who_wants or ())


@pytest.mark.parametrize("how", ["cancel", "release"])
@pytest.mark.parametrize("moment", ["resolved", "in flight"])
@gen_cluster(**SIX)
async def test_released_outputs_are_freed(
    c: Client, s: Scheduler, *workers: Worker, moment: str, how: str
) -> None:
    """Nothing that is held back has to come first."""
    await enable(c)
    gates = {3: "parity", 4: "parity"}
    if moment == "in flight":
        gates[0] = "hold"
    made = MadeGroup(gates=gates)
    futures = c.get(made.graph, made.keys, sync=False)
    await until(lambda: in_memory(s, *made.keys[len(gates) - 2 :]))
    if how == "cancel":
        # The futures stay: what they stand for goes all the same.
        await c.cancel(futures)
    else:
        del futures
    await until(lambda: not any(worker.data for worker in workers))
    await until(lambda: not s.tasks)
    for gate in set(gates.values()):
        await Event(gate).set()
    await until(lambda: not any(worker.state.tasks for worker in workers))


@pytest.mark.parametrize("how", ["cancel", "release"])
@gen_cluster(**SIX)
async def test_one_released_output_is_freed_when_the_group_is_resolved(
    c: Client, s: Scheduler, *workers: Worker, how: str
) -> None:
    """It may be needed to decode another one; afterwards it goes, and the others stay."""
    await enable(c)
    made = MadeGroup(gates={0: "hold", 3: "parity", 4: "parity"})
    futures = c.get(made.graph, made.keys, sync=False)
    first, gone, last = futures
    await until(lambda: in_memory(s, *made.keys[1:]))
    if how == "cancel":
        await c.cancel([gone])
        assert gone.cancelled()
    else:
        del gone
    del futures
    await Event("hold").set()
    await until(lambda: in_memory(s, made.keys[0], made.keys[2]))
    await until(lambda: made.keys[1] not in s.tasks)
    got = await c.gather([first, last])
    assert (got[0] == made.outputs[0]).all()
    assert (got[1] == made.outputs[2]).all()
    del first, last
    await until(lambda: not s.tasks)
    await Event("parity").set()
    await until(lambda: not any(worker.state.tasks for worker in workers))


@gen_cluster(**SIX)
async def test_an_output_that_was_cancelled_and_is_wanted_again(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    made = MadeGroup(gates={0: "hold", 3: "parity", 4: "parity"})
    futures = c.get(made.graph, made.keys, sync=False)
    # What the scheduler says of a task takes its time to arrive: were anything of it still under
    # way, the client would take it for news of what it asks for next, as it would without us.
    await wait(futures[1:])
    await c.cancel(futures[1:2])
    await until(lambda: not wanted(s, c, made.keys[1]))
    again = c.get(made.graph, made.keys, sync=False)
    await until(lambda: wanted(s, c, made.keys[1]))
    await Event("hold").set()
    made.check(await c.gather(again))
    del futures, again
    await until(lambda: not s.tasks)
    await Event("parity").set()


@gen_cluster(**SIX)
async def test_what_is_decoded_from_a_cancelled_output_is_not_cancelled_with_it(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    await enable(c)
    made = MadeGroup(gates={0: "hold", 4: "hold"})
    state = s.plugins["dask-coded"].conductor.state
    rewrite = state.rewrite

    def then_cancel(*args: Any) -> None:
        rewrite(*args)
        message = {"client": c.id, "force": False, "reason": "test", "msg": "test"}
        s.stream_handlers["cancel-keys"](keys=made.keys[1:2], **message)

    state.rewrite = then_cancel
    first, gone, last = c.get(made.graph, made.keys, sync=False)
    got = await c.gather([first, last])
    assert abs(got[0] - made.outputs[0]).max() < 1e-10
    assert (got[1] == made.outputs[2]).all()
    await until(lambda: made.keys[1] not in s.tasks)
    del first, gone, last
    await until(lambda: not s.tasks)
    await Event("hold").set()
