"""Lets users cancel outputs that the runtime holds too.

The scheduler cancels what nobody but the asking client wants. Outputs that others may be decoded
from are wanted by the runtime's own client as well, and would be cancelled by nobody.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING

from dask.typing import Key
from distributed.metrics import time

from dask_coded.cluster._scheduler_state import CLIENT

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler

__all__ = ["let_cancel"]

_OPERATION = "cancel-keys"


def let_cancel(scheduler: "Scheduler", ours: Callable[[Key], bool]) -> Callable[[], None]:
    """Stand between clients and the scheduler where keys are cancelled; returns what undoes it.

    A key that only the runtime holds besides the client is released by the client at once, whose
    own futures are cancelled already; the runtime lets go of it when its group can do without.

    Parameters
    ----------
    scheduler
        The scheduler.
    ours
        Whether a key belongs to a group: what is decoded from a cancelled output is not
        cancelled with it.
    """
    deliver = scheduler.stream_handlers[_OPERATION]
    handler = partial(_cancel, deliver, scheduler, ours)
    scheduler.stream_handlers[_OPERATION] = handler

    def undo() -> None:
        if scheduler.stream_handlers.get(_OPERATION) is handler:
            scheduler.stream_handlers[_OPERATION] = deliver

    return undo


def _cancel(
    deliver: Callable[..., None],
    scheduler: "Scheduler",
    ours: Callable[[Key], bool],
    keys: Collection[Key],
    client: str,
    force: bool,
    reason: str,
    msg: str,
) -> None:
    wanted_by = {scheduler.clients.get(client), scheduler.clients.get(CLIENT)}
    held = [
        ts
        for key in keys
        if not force
        and len(wanted_by) == 2
        and (ts := scheduler.tasks.get(key)) is not None
        and ts.who_wants == wanted_by
    ]
    rest = set(keys) - {ts.key for ts in held}
    # What is computed from a cancelled result is cancelled first, as the scheduler does it.
    rest.update(
        dts.key for ts in held for dts in ts.dependents if dts.who_wants and not ours(dts.key)
    )
    deliver(keys=list(rest), client=client, force=force, reason=reason, msg=msg)
    if held:
        left = [ts.key for ts in held]
        stimulus = f"dask-coded-cancel-{time()}"
        scheduler.client_releases_keys(keys=left, client=client, stimulus_id=stimulus)
