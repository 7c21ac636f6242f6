"""Dealing the shares of a new group to workers, before anything of it has started."""

from collections.abc import Mapping

from dask_coded.cluster._group import Group
from dask_coded.cluster._placement import homes, spread
from dask_coded.cluster._scheduler_state import SchedulerState

__all__ = ["deal"]


def deal(state: SchedulerState, group: Group, suspects: Mapping[str, float], offset: int) -> int:
    """Say where the shares of a group run, and in what order; how many were dealt in turn.

    Parameters
    ----------
    state, group
        The scheduler, and the group.
    suspects
        Workers that get nothing.
    offset
        How many shares were dealt before: each group goes on where the last one ended.
    """
    if group.stands_by:
        # A check runs where what it checks is: Dask finds that by itself.
        return 0
    shares = {
        share: ts
        for share, key in enumerate(group.current_keys)
        if (ts := state.task(key)) is not None and ts.state == "released"
    }
    state.lower_priority(
        ts.key for ts in shares.values() if ts.key not in group.output_of and not ts.dependents
    )
    at_home = homes(shares, suspects)
    for share, workers in at_home.items():
        state.restrict(shares[share].key, workers)
    placed = spread(state.scheduler, group.spec.code, shares, at_home, suspects, offset)
    for key, worker in placed.items():
        state.restrict(key, (worker,))
    ours = {ts.key for ts in shares.values()}
    state.put_behind(ours, placed.keys() - ours)
    return sum(ts.key in placed for ts in shares.values()) or 1
