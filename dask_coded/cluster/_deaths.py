"""A share whose workers keep dying is an erasure, as one that raises an exception is.

The scheduler marks a task as failed, without asking anybody, when more workers died of it than
``distributed.scheduler.allowed-failures``. A group that is in flight may have all it needs from the
other shares, so such a share is taken out of the scheduler's hands just before.
"""

from collections.abc import Awaitable, Callable
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any

from dask.typing import Key
from distributed import KilledWorker
from distributed.metrics import time
from distributed.protocol.pickle import dumps

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler

__all__ = ["outlive"]

_NOBODY = "nobody"


def outlive(
    scheduler: "Scheduler",
    ours: Callable[[Key], bool],
    hold: Callable[[Key, Callable[[], None]], None],
) -> Callable[[], None]:
    """Stand between the scheduler and the death of a worker; returns what undoes it.

    Parameters
    ----------
    scheduler
        The scheduler.
    ours
        Whether a key is a share of a group that is in flight.
    hold
        Called with a share that may not be tried again, and with what fails it after all.
    """
    remove, handlers = scheduler.remove_worker, scheduler.handlers
    unregister = handlers["unregister"]
    wrapped = partial(_remove_worker, remove, scheduler, ours, hold)
    ours_there = partial(_remove_worker, unregister, scheduler, ours, hold)
    # A server logs the name of a handler that it calls, and a partial has none.
    update_wrapper(ours_there, unregister)
    scheduler.remove_worker = wrapped
    handlers["unregister"] = ours_there

    def undo() -> None:
        if scheduler.__dict__.get("remove_worker") is wrapped:
            del scheduler.remove_worker
        if handlers.get("unregister") is ours_there:
            handlers["unregister"] = unregister

    return undo


async def _remove_worker(
    remove: Callable[..., Awaitable[Any]],
    scheduler: "Scheduler",
    ours: Callable[[Key], bool],
    hold: Callable[[Key, Callable[[], None]], None],
    address: str,
    expected: bool = False,
    **options: Any,
) -> Any:
    ws = scheduler.workers.get(scheduler.coerce_address(address))
    if ws is not None and not expected:
        fatal = [
            ts.key
            for ts in ws.processing
            if ts.suspicious >= scheduler.allowed_failures and ours(ts.key)
        ]
        for key in fatal:
            exception = KilledWorker(
                task=key, last_worker=ws.clean(), allowed_failures=scheduler.allowed_failures
            )
            _set_aside(scheduler, key, ws.address)
            hold(key, partial(_fail, scheduler, key, dumps(exception)))
    return await remove(address, expected=expected, **options)


def _set_aside(scheduler: "Scheduler", key: Key, address: str) -> None:
    """Take a share off its worker, to where it is not placed again as others come and go."""
    ts = scheduler.tasks[key]
    restrictions, loose = ts.worker_restrictions, ts.loose_restrictions
    ts.worker_restrictions, ts.loose_restrictions = {_NOBODY}, False
    scheduler.transitions({key: "released"}, f"dask-coded-deaths-{time()}")
    # Whatever is started again on purpose runs wherever it can.
    ts.worker_restrictions = restrictions or {address}
    ts.loose_restrictions = loose or not restrictions


def _fail(scheduler: "Scheduler", key: Key, exception: bytes) -> None:
    """What the scheduler would have done; not to a share that is waiting for inputs lost since."""
    ts = scheduler.tasks.get(key)
    if ts is None or ts.state != "no-worker":
        return
    stimulus = f"dask-coded-deaths-{time()}"
    recommendations = scheduler.transition(
        key, "erred", stimulus_id=stimulus, cause=key, exception=exception
    )
    scheduler.transitions(recommendations, stimulus)
