"""Groups that run beside each other and are alike: what one of them may be expected to take.

The helpers of such a group run only when its output is late. It has nothing of its own to tell
that by, because nothing else of it runs; but others like it do.
"""

from bisect import insort
from dataclasses import dataclass, field

from dask_coded.cluster._group import Group
from dask_coded.cluster._policy import Patience

__all__ = ["Cohorts"]


@dataclass
class _Cohort:
    members: set[str] = field(default_factory=set)
    """Groups that have finished, or are to finish."""
    took: dict[str, float] = field(default_factory=dict)
    """Seconds from being placed to the result, by group."""
    ordered: list[float] = field(default_factory=list)
    """The same, sorted: half of all groups ask for the median again and again."""
    known_since: float | None = None
    """When half of the outputs had come."""
    unfinished: dict[str, Group] = field(default_factory=dict)


class Cohorts:
    """All cohorts of a scheduler; groups of none pass through.

    Parameters
    ----------
    patience
        How much longer than others an output may take.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._cohorts: dict[str, _Cohort] = {}

    def join(self, group: Group) -> None:
        """A group was submitted."""
        if group.spec.cohort is not None:
            cohort = self._cohorts.setdefault(group.spec.cohort, _Cohort())
            cohort.members.add(group.spec.group)
            cohort.unfinished[group.spec.group] = group

    def leave(self, group: Group, now: float) -> list[Group]:
        """A group has ended, perhaps without a result; returns as `finished`."""
        cohort = self._cohorts.get(group.spec.cohort or "")
        if cohort is None:
            return []
        cohort.unfinished.pop(group.spec.group, None)
        if not cohort.unfinished:
            del self._cohorts[str(group.spec.cohort)]
            return []
        if _own(group) not in group.took:
            # Half of the others are waited for, not of those that nobody wants any more.
            cohort.members.discard(group.spec.group)
            return self._known(cohort, now)
        return self.finished(group, now)

    def finished(self, group: Group, now: float) -> list[Group]:
        """An output has come; returns the groups whose outputs are now known to be late or not."""
        cohort = self._cohorts.get(group.spec.cohort or "")
        if cohort is None:
            return []
        took = group.took.get(_own(group))
        if took is None:
            return []
        if group.spec.group not in cohort.took:
            cohort.took[group.spec.group] = took
            insort(cohort.ordered, took)
        return self._known(cohort, now)

    @staticmethod
    def _known(cohort: _Cohort, now: float) -> list[Group]:
        if cohort.known_since is not None or not cohort.took:
            return []
        if 2 * len(cohort.took) < len(cohort.members):
            return []
        cohort.known_since = now
        return [other for other in cohort.unfinished.values() if not other.resolved]

    def due(self, group: Group, slow: frozenset[str]) -> float | None:
        """From when the output of a group is late; None if that is not known yet."""
        cohort = self._cohorts.get(group.spec.cohort or "")
        if cohort is None or cohort.known_since is None:
            return None
        own = _own(group)
        started = group.started.get(own)
        patience = self._patience
        expected = group.ran_on.get(own) in slow
        last = len(cohort.ordered) - 1
        typical = (cohort.ordered[last // 2] + cohort.ordered[(last + 1) // 2]) / 2
        if expected:
            wait = max(patience.minimum, patience.slow_cohort_factor * typical)
        else:
            wait = max(patience.cohort_minimum, patience.cohort_factor * typical)
        if started is None:
            return cohort.known_since + wait
        return max(cohort.known_since, started + wait)


def _own(group: Group) -> int:
    """The share that is the output."""
    return next(group.share_of[key] for key in group.output_of if key in group.share_of)
