"""Where copies of results lie: one at home, more where they are wanted, none with who is silent."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from dask.typing import Key
from distributed.metrics import time

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler

__all__ = ["copy_to", "keep_off", "keep_one_copy"]


def keep_one_copy(scheduler: "Scheduler", homes: Mapping[Key, str]) -> None:
    """Drop copies that were fetched in passing, so that each result lives where it was made.

    Left to the memory manager, copies collect on the worker that read them all.
    """
    spare: dict[str, list[Key]] = {}
    for key, home in homes.items():
        ts = scheduler.tasks.get(key)
        holders = set() if ts is None else ts.who_has or set()
        # A home that retires gives its results away, and a silent one keeps them from others.
        if ts is None or home not in {ws.address for ws in holders & scheduler.running}:
            continue
        for ws in holders:
            # A task that runs there may be reading its copy.
            if ws.address != home and not ts.dependents & ws.processing:
                spare.setdefault(ws.address, []).append(key)
    for address, keys in spare.items():
        stimulus = f"dask-coded-one-copy-{time()}"
        scheduler.request_remove_replicas(address, keys, stimulus_id=stimulus)


def copy_to(scheduler: "Scheduler", address: str, key: Key) -> None:
    """Have a worker fetch a result that others hold."""
    stimulus = f"dask-coded-move-{time()}"
    scheduler.request_acquire_replicas(address, [key], stimulus_id=stimulus)


def keep_off(scheduler: "Scheduler", address: str, suspects: Iterable[str]) -> None:
    """Forget a suspect's copies of what others hold too.

    Whoever gathers or fetches takes any holder, and would wait for this one as likely as not.
    """
    ws = scheduler.workers.get(address)
    silent = set(suspects)
    keys = [
        ts.key
        for ts in (ws.has_what if ws is not None else ())
        if any(holder.address not in silent for holder in ts.who_has or ())
    ]
    if keys:
        stimulus = f"dask-coded-keep-off-{time()}"
        scheduler.request_remove_replicas(address, keys, stimulus_id=stimulus)
