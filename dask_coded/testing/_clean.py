"""Nothing may be left behind: the check that ends every test with a cluster."""

import asyncio
import gc
import time
from typing import Any

from distributed import Client

__all__ = ["assert_clean"]

#: A worker that has not spoken for so long is taken for frozen and not asked, s.
SILENCE = 2.5
POLL = 0.02
NAMED = 20


def assert_clean(client: Client, *, prefix: str = "", timeout: float = 30.0) -> Any:
    """Raise unless scheduler and workers soon hold no task and no data.

    Release all futures first. Workers that are frozen cannot be asked and are left out.

    Parameters
    ----------
    client : Client
        With an asynchronous client, await what this returns.
    prefix : str
        Look only at keys that begin with it.
    timeout : float
        How long what is on its way out may take, s.

    Returns
    -------
    list of str
        Addresses of the workers that did not speak and were left out.

    Raises
    ------
    AssertionError
        Lists what remains, where and in which state.
    """
    sync: Any = client.sync
    return sync(_check, client, prefix, timeout)


async def _check(client: Any, prefix: str, timeout: float) -> list[str]:
    deadline = time.monotonic() + timeout
    while True:
        speaking, silent, remains = await client.run_on_scheduler(_scheduler_left, prefix=prefix)
        answers = await asyncio.gather(*(_ask(client, address, prefix) for address in speaking))
        for address, left in zip(speaking, answers, strict=True):
            if left is None:
                silent.append(address)
            else:
                remains |= {f"{address}: {key}": state for key, state in left.items()}
        if not remains:
            return sorted(silent)
        if time.monotonic() > deadline:
            break
        # Exceptions that were raised here hold futures in a circle: garbage, and no trace.
        gc.collect()
        await asyncio.sleep(POLL)
    lines = [f"  {key}: {state}" for key, state in list(remains.items())[:NAMED]]
    if len(remains) > NAMED:
        lines.append(f"  and {len(remains) - NAMED} more")
    raise AssertionError(f"{len(remains)} keys remain after {timeout:g} s:\n" + "\n".join(lines))


async def _ask(client: Any, address: str, prefix: str) -> dict[str, str] | None:
    """What the worker holds; None if it does not speak or has gone."""
    try:
        answers = await asyncio.wait_for(
            client.run(_worker_left, prefix=prefix, workers=[address]), SILENCE
        )
    except (TimeoutError, OSError, ValueError):
        return None
    return dict(answers[address])


def _begins(key: Any, prefix: str) -> bool:
    return str(key[0] if isinstance(key, tuple) else key).startswith(prefix)


def _scheduler_left(
    prefix: str, dask_scheduler: Any = None
) -> tuple[list[str], list[str], dict[str, str]]:
    """Runs on the scheduler: workers that speak, workers that do not, and its tasks by state."""
    now = time.time()
    speaking: list[str] = []
    silent: list[str] = []
    for worker in dask_scheduler.workers.values():
        (speaking if now - worker.last_seen <= SILENCE else silent).append(worker.address)
    tasks = {
        f"scheduler: {key}": task.state
        for key, task in dask_scheduler.tasks.items()
        if _begins(key, prefix)
    }
    return speaking, silent, tasks


def _worker_left(prefix: str, dask_worker: Any = None) -> dict[str, str]:
    """Runs on a worker: its data and its tasks by state."""
    left = {str(key): "data" for key in dask_worker.data if _begins(key, prefix)}
    left |= {
        str(key): task.state
        for key, task in dask_worker.state.tasks.items()
        if _begins(key, prefix)
    }
    return left
