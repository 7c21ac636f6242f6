"""Leaving a scheduler: what groups have not finished becomes plain Dask's."""

from collections.abc import Iterable

from dask_coded.cluster._group import Group
from dask_coded.cluster._scheduler_state import SchedulerState

__all__ = ["let_go"]


def let_go(state: SchedulerState, groups: Iterable[Group]) -> None:
    """Hold nothing of these groups any longer, and hold back no error of theirs.

    Decodes under way go on, as the plain sums that they are. What nobody else wants is stopped
    and forgotten; a share that somebody waits for fails if it has failed.
    """
    for group in groups:
        for key in group.keys:
            ts = state.task(key)
            if ts is not None and state.has_error(key) and state.wanted(ts):
                state.raise_error(key)
        keys = sorted(group.keys, key=str)
        # An output may still be wanted; what it is decoded from is forgotten after it.
        state.release(key for key in keys if key in group.output_of)
        state.forget(key for key in keys if key not in group.output_of)
    state.leave()
