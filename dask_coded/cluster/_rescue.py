"""Tasks that hang on a silent worker and can be computed again elsewhere.

Shares and outputs are the policy's business. These are the plain tasks around them: what is
computed from outputs (the user waits for it), and what shares are computed from.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from dask.typing import Key

from dask_coded.cluster._group import addresses, runs_on
from dask_coded.cluster._placement import acquainted
from dask_coded.cluster._scheduler_state import SchedulerState

if TYPE_CHECKING:
    from distributed.scheduler import TaskState

__all__ = ["downstream", "rerun", "upstream"]


def rerun(state: SchedulerState, keys: Iterable[Key]) -> None:
    """Compute plain tasks elsewhere, but not where they are known already."""
    trusted = {ws.address for ws in state.scheduler.running}
    keys = list(keys)
    for key in keys:
        ts = state.task(key)
        if ts is not None and ts.who_has and (known := acquainted(ts)):
            state.restrict(key, trusted - known or trusted)
    state.rerun(keys)


def downstream(
    state: SchedulerState,
    outputs: Iterable[Key],
    suspects: Mapping[str, float],
    ours: Callable[[Key], bool],
) -> list[Key]:
    """What follows from outputs and hangs on suspects, ours excepted."""
    return _hanging(state, outputs, suspects, ours, lambda ts: ts.dependents)


def upstream(
    state: SchedulerState,
    shares: Iterable[Key],
    suspects: Mapping[str, float],
    ours: Callable[[Key], bool],
) -> list[Key]:
    """What unfinished shares are computed from and hangs on suspects.

    Results in memory end the search: what they were made from is not needed.
    """
    return _hanging(
        state,
        shares,
        suspects,
        ours,
        lambda ts: () if ts.who_has and not _lost(ts, suspects) else ts.dependencies,
    )


def _hanging(
    state: SchedulerState,
    start: Iterable[Key],
    suspects: Mapping[str, float],
    ours: Callable[[Key], bool],
    neighbours: Callable[["TaskState"], Collection["TaskState"]],
) -> list[Key]:
    found: dict[Key, None] = {}
    front = [ts for key in start if (ts := state.task(key)) is not None]
    seen = set(front)
    while front:
        ts = front.pop()
        hangs = runs_on(ts, suspects) or (_lost(ts, suspects) and state.wanted(ts))
        if hangs and not ours(ts.key):
            inputs = state.needed_again(ts, suspects, ours)
            if inputs is not None:
                found.update(dict.fromkeys([*inputs, ts.key]))
        fresh = [other for other in neighbours(ts) if other not in seen]
        seen.update(fresh)
        front.extend(fresh)
    return list(found)


def _lost(ts: "TaskState", suspects: Mapping[str, float]) -> bool:
    return bool(ts.who_has) and addresses(ts) <= suspects.keys()
