"""How tests of the runtime wait: for what has to come, never for a time to pass.

A machine may be loaded so much that nothing moves for seconds, so that no deadline here is near:
it only ends a test of which it is sure that nothing will come any more.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from dask.typing import Key
from distributed import Client, Scheduler, futures_of

from dask_coded.cluster import CodedSchedulerPlugin

DEADLINE = 60.0


#: Nobody is suspect because of a clock, however long a worker does not get to say a word.
TRUSTING = {"coded.suspicion.minimum": "1h"}
#: And nobody, above all no worker that errs, gets other shares than those it was dealt.
FIXED = TRUSTING | {"distributed.scheduler.work-stealing": False}


def on_workers(
    nthreads: int | list[Any], config: Mapping[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    """Keyword arguments of `gen_cluster` for a client and so many workers.

    No clock decides anything here: limits are far, and nobody is suspect but who is accused.
    """
    if isinstance(nthreads, int):
        nthreads = [("127.0.0.1", 1)] * nthreads
    config = TRUSTING | dict(config or {})
    limits: dict[str, Any] = {"timeout": 120, "active_rpc_timeout": DEADLINE}
    limits["client_kwargs"] = {"timeout": DEADLINE}
    return {"client": True, "nthreads": nthreads, "config": config} | limits | options


SIX = on_workers(6)


async def until(condition: Callable[[], bool]) -> None:
    """Wait on an event loop until something holds."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"nothing happened for {DEADLINE:.0f} s"
        await asyncio.sleep(0.01)


def wait_until(condition: Callable[..., bool], *args: Any) -> None:
    """Wait in a thread until something holds."""
    end = time.monotonic() + DEADLINE
    while not condition(*args):
        assert time.monotonic() < end, f"nothing happened for {DEADLINE:.0f} s"
        time.sleep(0.05)


def plugin(s: Scheduler) -> CodedSchedulerPlugin:
    found = s.plugins["dask-coded"]
    assert isinstance(found, CodedSchedulerPlugin)
    return found


def one_to_a_worker(client: Client, encoded: Any) -> bool:
    """Whether every share has one home, on which there is no other of its group."""
    homes: dict[Any, list[str]] = {}
    for (*stripe, _), workers in client.who_has(futures_of(encoded)).items():
        if len(workers) != 1:
            return False
        homes.setdefault(tuple(stripe), []).extend(workers)
    return all(len(set(workers)) == len(workers) for workers in homes.values())


def processing(s: Scheduler, *keys: Key) -> bool:
    return all(key in s.tasks and s.tasks[key].state == "processing" for key in keys)


def in_memory(s: Scheduler, *keys: Key) -> bool:
    return all(key in s.tasks and s.tasks[key].state == "memory" for key in keys)


__all__ = [
    "DEADLINE",
    "FIXED",
    "SIX",
    "TRUSTING",
    "in_memory",
    "on_workers",
    "one_to_a_worker",
    "plugin",
    "processing",
    "until",
    "wait_until",
]
