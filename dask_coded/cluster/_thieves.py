"""Stealing that leaves the shares of a group spread: as many may be lost as the code says.

An idle worker steals what waits elsewhere. It gets no share of a group of which it has its part
already, or its loss would cost more shares than a worker may hold.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from dask.typing import Key

from dask_coded.cluster._group import Group

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, TaskState, WorkerState

__all__ = ["keep_spread"]

_CHOOSE = "_get_thief"


def keep_spread(
    scheduler: "Scheduler", group_of: Callable[[Key], Group | None]
) -> Callable[[], None] | None:
    """Stand before the choice of who steals a share; returns what undoes it.

    None where nobody steals.
    """
    stealing: Any = scheduler.extensions.get("stealing")
    if not hasattr(stealing, _CHOOSE):
        return None
    choose = partial(_thief, getattr(stealing, _CHOOSE), stealing.in_flight, group_of)
    setattr(stealing, _CHOOSE, choose)

    def undo() -> None:
        if vars(stealing).get(_CHOOSE) is choose:
            delattr(stealing, _CHOOSE)

    return undo


def _thief(
    choose: Callable[..., "WorkerState | None"],
    in_flight: Mapping["TaskState", Any],
    group_of: Callable[[Key], Group | None],
    scheduler: "Scheduler",
    ts: "TaskState",
    potential_thieves: "set[WorkerState]",
    **options: Any,
) -> "WorkerState | None":
    group = group_of(ts.key)
    if group is not None and group.share_index(ts.key) is not None:
        most = -(-group.spec.code.n_shares // max(len(scheduler.running), 1))
        having = _parts(scheduler, group, in_flight)
        potential_thieves = {ws for ws in potential_thieves if having[ws] < most}
        if not potential_thieves:
            return None
    return choose(scheduler, ts, potential_thieves, **options)


def _parts(
    scheduler: "Scheduler", group: Group, in_flight: Mapping["TaskState", Any]
) -> "Counter[WorkerState]":
    """How many shares of a group each worker holds, runs, or is about to get."""
    found: Counter[WorkerState] = Counter()
    for key in group.current_keys:
        ts = scheduler.tasks.get(key)
        if ts is None:
            continue
        if ts in in_flight:
            found[in_flight[ts]["thief"]] += 1
        elif ts.processing_on is not None:
            found[ts.processing_on] += 1
        found.update(ts.who_has or ())
    return found
