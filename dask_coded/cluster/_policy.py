"""When to stop waiting: a pure function from what is known of a group to what to do next.

No Dask here. Shares are indices, workers are names, times are seconds on any one clock; a decision
changes nothing, :mod:`dask_coded.cluster._plugin` carries it out. The rules, in order:

1. Nothing missing: the group is resolved, and whatever still runs for it is late.
2. A decode under way is left alone while its worker and its survivors are trusted.
3. Decodable and accurate: give the late shares a moment (their worker may only be a little
   behind, and a result that arrives costs less than decoding it), then decode without them.
4. Decodable, but the amplification would cost too many digits: wait for one more share, or start
   one; when no more can come, decode all the same and say what it cost.
5. Not decodable: start shares that are idle. If nothing that runs can help, name what blocks.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median

import numpy as np

from dask_coded.codes import AbstractCode, Decoder, protects

__all__ = ["Decision", "GroupView", "Patience", "Policy", "Verdict"]

#: Accepted amplification times eps where the user has not said.
DEFAULT_TOLERANCE = 1e-6
#: A group that is blocked is looked at again after so many seconds, whatever happens.
_BLOCKED_AGAIN = 1.0


@dataclass(frozen=True)
class GroupView:
    """What is known of one group at one moment.

    A *result* is usable when a worker that is not suspect holds it. Every share is in at most one
    of `usable`, `running`, `stalled`, `erased` and `idle`; a share in none does not exist (its
    task was never submitted, or was forgotten).
    """

    code: AbstractCode
    usable: frozenset[int]
    """Shares whose results can be fetched."""
    running: Mapping[int, str | None]
    """Shares under way, and the worker they run on; None while they wait."""
    stalled: Mapping[int, frozenset[str]]
    """Shares that cannot come before one of these suspects speaks again."""
    erased: frozenset[int]
    """Shares that raised an exception."""
    idle: frozenset[int]
    """Shares that could be started."""
    missing: Mapping[int, int | None]
    """Outputs still wanted that nobody healthy holds, with the share that *is* the output."""
    consumed: frozenset[int] = frozenset()
    """Of the idle shares, those which are outputs that nobody wants any more."""
    at_rest: bool = False
    """Whether the outputs are there to stay: only those that were lost are decoded."""
    on_demand: bool = False
    """Whether shares that are no output run only when an output is late."""
    due: float | None = None
    """From when the outputs are late, as far as shares run only then; None if that is not known."""
    lost: frozenset[int] = frozenset()
    """Of the missing outputs, those that had arrived before."""
    slow: frozenset[str] = frozenset()
    """Workers that were late lately."""
    held_by_slow: frozenset[int] = frozenset()
    """Usable shares that only such workers hold: fetching them may take long, too."""
    decoding: tuple[int, ...] | None = None
    """Survivors that a decode under way reads; None if there is none, or its worker is suspect."""
    decodable_since: float | None = None
    finished: Mapping[str, int] = field(default_factory=dict)
    """How many of the usable shares each worker has computed."""
    typical: float = 0.0
    """Median seconds that a worker took for a usable share."""
    decode_cost: float = 0.0
    """Estimated seconds to fetch the survivors."""
    suspects: Mapping[str, float] = field(default_factory=dict)
    """Workers that stall this group, and since when each is suspect."""
    blocked_since: float | None = None
    """Since when nothing can come while they are silent; None if that was not so until now."""
    spared_until: float = float("-inf")
    """Nobody is removed before: others came back just now, or somebody was removed."""
    tolerance: float | None = None
    eps: float = float(np.finfo(np.float64).eps)
    wrong: int | None = None
    """How many wrong results can be located among those decoded from, 0 to notice that there are
    any; as far as enough can come. None: results are not compared."""

    @property
    def suspect_since(self) -> float | None:
        """When the longest silent of the workers that stall this group became suspect."""
        return min(self.suspects.values(), default=None)

    def enough(self, shares: Collection[int]) -> bool:
        """Whether these results are all that has to be waited for."""
        if self.wrong is not None:
            everyone = self.usable | self.running.keys() | self.stalled.keys() | self.idle
            for wrong in range(self.wrong, -1, -1):
                if protects(self.code, everyone, wrong):
                    return protects(self.code, shares, wrong)
        return self.code.is_decodable(shares)


@dataclass(frozen=True)
class Decision:
    """What to do with a group. Fields not set mean: nothing of that kind."""

    resolved: bool = False
    decodable: bool = False
    decode_from: tuple[int, ...] | None = None
    """Decode missing outputs from these shares."""
    outputs: tuple[int, ...] | None = None
    """Decode only these outputs; None decodes every missing one."""
    launch: tuple[int, ...] = ()
    """Start these idle shares."""
    cancel: tuple[int, ...] = ()
    """These are late: stop them."""
    late: tuple[int, ...] = ()
    """Of them, those which their worker should have finished by now."""
    raise_from: int | None = None
    """The outputs cannot be had: raise this share's exception."""
    blocked_by: frozenset[str] = frozenset()
    """Nothing can come while these are silent: recompute elsewhere what only they hold."""
    evict: frozenset[str] = frozenset()
    """That did not help either: remove this worker. One at a time: others may come back yet."""
    amplification: float | None = None
    """Of the decoder, when decoding."""
    inaccurate: bool = False
    """The amplification exceeds the tolerance, and no more shares can come."""
    wake_at: float | None = None
    """Decide again then, if nothing happens before."""
    reason: str = ""


@dataclass(frozen=True)
class Patience:
    """How long to wait for shares that are no longer needed, in seconds or as a factor."""

    factor: float = 0.5
    """Of the typical duration of a share, for workers never known to be late."""
    slow_factor: float = 0.05
    """The same for workers that were late lately."""
    minimum: float = 0.005
    cohort_factor: float = 3.0
    """How much longer than others like it an output may take before shares run that replace it."""
    slow_cohort_factor: float = 1.25
    """The same for workers that were late lately."""
    cohort_minimum: float = 0.05
    evict_after: float = 15.0
    """How long a suspect may block a group before it is removed."""
    rebuild_after: float = 5.0
    """How long a suspect may keep its share of an encoded matrix unfinished."""


class Verdict(StrEnum):
    """Reasons of decisions, for reports."""

    RESOLVED = "every wanted output is there"
    DECODING = "a decode is under way"
    DECODE = "enough shares have arrived"
    SETTLING = "what was not lost comes by itself"
    PATIENT = "decodable; giving late shares a moment"
    INACCURATE = "decodable, but too inaccurate; waiting for another share"
    LAST = "decodable, inaccurate, and no other share can come"
    WAIT = "waiting for more shares"
    PUNCTUAL = "not late yet; nothing else is started"
    ERASED = "too many shares raised exceptions"
    BLOCKED = "what is missing is held by silent workers"
    PLAIN = "not enough shares of this group were asked for; runs as plain tasks"


@dataclass(frozen=True)
class Policy:
    """Resolve a group as soon as what arrived is enough, and accurate enough.

    Examples
    --------
    >>> from dask_coded.codes import MDS
    >>> view = GroupView(
    ...     code=MDS(3, k=2), usable=frozenset({0, 2}), running={1: "b"}, stalled={},
    ...     erased=frozenset(), idle=frozenset(), missing={1: 1}, slow=frozenset({"b"}),
    ... )
    >>> Policy().decide(view, now=1.0).wake_at
    1.005
    """

    patience: Patience = field(default_factory=Patience)

    def decide(self, view: GroupView, now: float) -> Decision:
        """What to do with the group, given what is known now."""
        if not view.missing:
            return Decision(
                resolved=True,
                decodable=True,
                cancel=tuple(sorted({*view.running, *view.stalled, *view.erased})),
                reason=Verdict.RESOLVED,
            )
        if view.decoding is not None and view.usable.issuperset(view.decoding):
            return Decision(decodable=True, reason=Verdict.DECODING)
        if view.enough(view.usable):
            return self._decodable(view, now)
        return self._undecodable(view, now)

    def _decodable(self, view: GroupView, now: float) -> Decision:
        if view.at_rest:
            return self._at_rest(view, now)
        decoder = view.code.decoder(view.usable)
        accurate = self._accurate(view, decoder)
        quick = view.usable - view.held_by_slow
        if view.held_by_slow and view.wrong is None and view.enough(quick):
            # The others help with digits, which are not worth the time unless they are needed.
            without = view.code.decoder(quick)
            if self._accurate(view, without):
                decoder, accurate = without, True
        if not accurate:
            if view.running:
                return Decision(decodable=True, reason=Verdict.INACCURATE)
            if view.idle:
                launch = tuple(sorted(view.idle))
                return Decision(decodable=True, launch=launch, reason=Verdict.INACCURATE)
        else:
            deadline = self._deadline(view, now)
            if deadline > now:
                return Decision(decodable=True, wake_at=deadline, reason=Verdict.PATIENT)
        late = {share for share, worker in view.running.items() if worker is not None}
        if view.finished:
            # A worker with several shares is not late by those that it has not come to.
            usual = median(view.finished.values())
            late = {s for s in late if 2 * view.finished.get(view.running[s] or "", 0) < usual}
        if view.on_demand:
            # What was started to replace an output had no time to be late.
            late &= set(view.missing.values())
        return Decision(
            decodable=True,
            # What is compared is read, with weight in an output or without.
            decode_from=tuple(decoder.shares if view.wrong is None else sorted(view.usable)),
            cancel=tuple(sorted({*view.running, *view.stalled, *view.erased})),
            late=tuple(sorted(late)),
            amplification=float(decoder.amplification),
            inaccurate=not accurate,
            reason=Verdict.DECODE if accurate else Verdict.LAST,
        )

    @classmethod
    def _accurate(cls, view: GroupView, decoder: Decoder) -> bool:
        return cls._bearable(view, float(decoder.amplification))

    @staticmethod
    def _bearable(view: GroupView, amplification: float) -> bool:
        tolerance = DEFAULT_TOLERANCE if view.tolerance is None else view.tolerance
        return view.code.field.exact or amplification * view.eps <= tolerance

    def _at_rest(self, view: GroupView, now: float) -> Decision:
        """Decode what was lost, or cannot come; whatever is under way belongs where it runs.

        To rebuild a share moves as much data as all of a block's survivors, and products do
        without it: one that a suspect is making gets the time to come after all.
        """
        rebuild_at = self.patience.rebuild_after + (
            now if view.suspect_since is None else view.suspect_since
        )
        outputs = tuple(
            output
            for output, share in view.missing.items()
            if output in view.lost
            or (share not in view.running and (share not in view.stalled or now >= rebuild_at))
        )
        wake_at = rebuild_at if view.stalled and now < rebuild_at else None
        if not outputs:
            return Decision(decodable=True, wake_at=wake_at, reason=Verdict.SETTLING)
        decoder = view.code.decoder(view.usable)
        rows = np.asarray(decoder.weights)
        amplification = {output: float(np.abs(rows[output]).sum()) for output in outputs}
        costly = {output for output in outputs if not self._bearable(view, amplification[output])}
        # Digits that a share loses are lost to every product: its own work is slower, and exact.
        launch = {share for output in costly if (share := view.missing[output]) in view.idle}
        patient = view.running.keys() | (view.stalled.keys() if now < rebuild_at else set())
        own = {output for output in costly if view.missing[output] in launch | patient}
        outputs = tuple(output for output in outputs if output not in own)
        return Decision(
            decodable=True,
            decode_from=tuple(decoder.shares) if outputs else None,
            outputs=outputs or None,
            launch=tuple(sorted(launch)),
            amplification=max((amplification[output] for output in outputs), default=None),
            inaccurate=not costly.isdisjoint(outputs),
            wake_at=wake_at if own else None,
            reason=Verdict.DECODE if outputs else Verdict.INACCURATE,
        )

    def _deadline(self, view: GroupView, now: float) -> float:
        """Until when the late shares may still come by themselves.

        Waiting helps only if it saves the whole decode: every missing output has to be a share
        that runs.
        """
        late: list[str | None] = []
        if view.wrong is not None:
            # Where results are compared, each one more helps.
            late.extend(view.running.values())
            if not late:
                return now
        for share in view.missing.values() if view.wrong is None else ():
            if share is None or share not in view.running:
                return now
            late.append(view.running[share])
        since = now if view.decodable_since is None else view.decodable_since
        patience = self.patience
        if any(worker in view.slow for worker in late):
            return since + max(patience.minimum, patience.slow_factor * view.typical)
        wait = patience.factor * view.typical + view.decode_cost
        return since + max(patience.minimum, wait)

    def _undecodable(self, view: GroupView, now: float) -> Decision:
        coming = view.usable | view.running.keys()
        possible = coming | view.idle
        if not view.enough(possible | view.stalled.keys()):
            return self._hopeless(view, now)
        # What runs may be decodable already, yet without the idle shares one straggler would hold
        # up everything. Outputs that were consumed are run again only if there is no other way.
        stuck = any(share is None or share not in view.running for share in view.missing.values())
        spare = view.idle if stuck else view.idle - view.consumed
        if spare and self._would_help(view, coming | spare):
            late = view.due is not None and now >= view.due
            if view.on_demand and not stuck and not late:
                return Decision(wake_at=view.due, reason=Verdict.PUNCTUAL)
            return Decision(launch=tuple(sorted(spare)), reason=Verdict.WAIT)
        # Where no other share can stand in for a missing output, only its own one gives it.
        own = view.idle.intersection(share for share in view.missing.values() if share is not None)
        if own:
            return Decision(launch=tuple(sorted(own)), reason=Verdict.WAIT)
        if stuck and view.stalled and not view.enough(coming):
            return self._blocked(view, view.stalled.keys(), now)
        return Decision(reason=Verdict.WAIT)

    @staticmethod
    def _would_help(view: GroupView, shares: frozenset[int]) -> bool:
        """Whether some missing output could be had from these shares without its own one."""
        return any(
            view.enough(shares if share is None else shares - {share})
            for share in view.missing.values()
        )

    def _hopeless(self, view: GroupView, now: float) -> Decision:
        """Coding cannot help: each missing output depends on its own share alone."""
        for share in view.missing.values():
            if share in view.erased:
                return Decision(raise_from=share, reason=Verdict.ERASED)
        if view.erased and None in view.missing.values():
            return Decision(raise_from=min(view.erased), reason=Verdict.ERASED)
        wanted = {share for share in view.missing.values() if share is not None}
        launch = tuple(sorted(wanted & view.idle))
        if blocked := wanted & view.stalled.keys():
            return self._blocked(view, blocked, now)
        return Decision(launch=launch, reason=Verdict.PLAIN)

    def _blocked(self, view: GroupView, shares: Collection[int], now: float) -> Decision:
        workers = frozenset[str]().union(*(view.stalled[share] for share in shares))
        since = {worker: view.suspects.get(worker, now) for worker in workers}
        longest = min(workers, key=lambda worker: (since[worker], worker))
        # Silence from before the group needed anything has cost it nothing, and what only this
        # worker holds may be computed again meanwhile.
        blocked = now if view.blocked_since is None else view.blocked_since
        evict_at = max(since[longest], blocked) + self.patience.evict_after
        evict_at = max(evict_at, view.spared_until)
        return Decision(
            blocked_by=workers,
            evict=frozenset({longest}) if now >= evict_at else frozenset(),
            # What was decided may not be possible: nobody else may be left.
            wake_at=evict_at if now < evict_at else now + _BLOCKED_AGAIN,
            reason=Verdict.BLOCKED,
        )
