"""One group on the scheduler: its bookkeeping, and the view that the policy decides on."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil
from statistics import median
from typing import TYPE_CHECKING, Any

from dask.typing import Key

from dask_coded.cluster._policy import GroupView
from dask_coded.cluster._scheduler_state import UNFINISHED, SchedulerState, spare_key
from dask_coded.graph import GroupSpec

if TYPE_CHECKING:
    from distributed.scheduler import TaskState, WorkerState

__all__ = ["Group", "Health", "addresses", "stuck"]

_LATENCY = 0.005


@dataclass(frozen=True)
class Health:
    """What is known of the workers at one moment."""

    suspects: Mapping[str, float] = field(default_factory=dict)
    """Silent workers, and since when."""
    slow: frozenset[str] = frozenset()
    bandwidth: float = 100e6
    trusted: bool = True
    """Whether there is a worker that can be given anything."""
    given_up: frozenset[str] = frozenset()
    """Suspects of which nothing is expected soon."""
    blockers: dict[Key, frozenset[str]] = field(default_factory=dict)
    """What :func:`stuck` has found so far; true until a task changes its state."""
    spared_until: float = float("-inf")
    """Nobody is removed before."""


@dataclass
class Group:
    """Bookkeeping of one group. Where a share stands is read from the scheduler, never copied."""

    spec: GroupSpec
    submitted: float
    started: dict[int, float] = field(default_factory=dict)
    took: dict[int, float] = field(default_factory=dict)
    """Seconds from being placed to the result, by share."""
    ran_on: dict[int, str] = field(default_factory=dict)
    home: dict[Key, str] = field(default_factory=dict)
    """Worker at which the result at a key is to stay: the one that made it, by the share's own
    work or by decoding, unless it was moved."""
    read_from: dict[int, str] = field(default_factory=dict)
    """Workers that had made the results which the last decode reads, by share."""
    decoding: dict[Key, tuple[int, ...]] = field(default_factory=dict)
    """Outputs that are being decoded, and from which shares."""
    held: set[Key] = field(default_factory=set)
    """Results and runs of shares that we asked for ourselves."""
    decodable_since: float | None = None
    blocked_since: float | None = None
    """Since when nothing can come while some workers are silent."""
    resolved: bool = False
    entry: dict[str, Any] | None = None
    """What stands in the report of it since it was resolved."""
    late: set[int] = field(default_factory=set)
    cancelled: dict[int, float] = field(default_factory=dict)
    freed: dict[str, float] = field(default_factory=dict)
    """Seconds from being cancelled until the slot was free, by share; as reported."""
    erased: set[int] = field(default_factory=set)
    suspects: dict[str, str] = field(default_factory=dict)
    amplification: float | None = None
    wrong: dict[int, str] = field(default_factory=dict)
    """Shares whose results disagreed with the others, and who computed them."""
    decoded: int = 0
    arrived: set[int] = field(default_factory=set)
    """Outputs that have been in memory of a worker."""
    replanned: int = 0
    warned: bool = False

    def __post_init__(self) -> None:
        self.share_of = {key: i for i, key in enumerate(self.spec.share_keys)}
        self.output_of = {key: q for q, key in enumerate(self.spec.output_keys)}

    @property
    def stands_by(self) -> bool:
        """Whether the group checks an output of another one: it is alone in its cohort."""
        return self.spec.cohort == self.spec.group

    @property
    def is_quiet(self) -> bool:
        """Whether the group was never needed, which is no news: nothing failed that it checks.

        What such a check falls back on is a group that verifies, and is not begun before.
        """
        if self.spec.verify is not None:
            return not self.started
        return self.stands_by and not (self.erased or self.decoded or self.suspects)

    def blame(self, shares: Iterable[int]) -> None:
        """Note whose results of these shares were wrong."""
        if self.spec.cohort is not None and self.decoded:
            # The one output was decoded from others, and which of them is wrong nobody knows.
            return
        made_by = self.ran_on | self.read_from
        self.wrong.update({share: made_by.get(share, "unknown") for share in shares})

    @property
    def keys(self) -> frozenset[Key]:
        """Every key that may belong to the group, spares included."""
        spares = {spare_key(key) for key in self.spec.output_keys}
        return frozenset((*self.spec.share_keys, *self.spec.output_keys, *spares))

    @property
    def current_keys(self) -> tuple[Key, ...]:
        """Where the work of each share is now, by share index."""
        return tuple(
            spare_key(key) if key in self.decoding else key for key in self.spec.share_keys
        )

    def share_index(self, key: Key) -> int | None:
        """Share of a key, or None if the result at that key is not the share's own work."""
        if key in self.decoding:
            return None
        share = self.share_of.get(key)
        if share is not None:
            return share
        for output in self.decoding:
            if spare_key(output) == key:
                return self.share_of.get(output)
        return None

    def found_under_way(self, state: SchedulerState, now: float) -> None:
        """Note where shares are that began, or ended, before anything was noted of them."""
        for share, key in enumerate(self.spec.share_keys):
            ts = state.task(key)
            if ts is not None and ts.processing_on is not None:
                self.started.setdefault(share, now)
                self.ran_on.setdefault(share, ts.processing_on.address)
            elif ts is not None and ts.who_has:
                self.home.setdefault(key, min(addresses(ts)))

    def alive(self, state: SchedulerState) -> bool:
        """Whether any output is still known to the scheduler."""
        return any(state.task(key) is not None for key in self.spec.output_keys)

    def view(self, state: SchedulerState, health: Health) -> GroupView:
        usable: set[int] = set()
        held_by_slow: set[int] = set()
        running: dict[int, str | None] = {}
        stalled: dict[int, frozenset[str]] = {}
        erased: set[int] = set()
        idle: set[int] = set()
        consumed: set[int] = set()
        halted: dict[int, frozenset[str]] = {}
        nbytes = 0
        keys = self.current_keys
        for share, key in enumerate(keys):
            ts = state.task(key)
            if ts is None:
                continue
            if ts.state == "memory":
                holders = addresses(ts)
                if holders <= health.suspects.keys():
                    if health.trusted and state.repeatable(ts, health.suspects):
                        idle.add(share)
                    else:
                        stalled[share] = holders
                else:
                    usable.add(share)
                    nbytes += ts.get_nbytes()
                    if holders - health.suspects.keys() <= health.slow:
                        held_by_slow.add(share)
            elif state.has_error(key) or ts.state == "erred":
                erased.add(share)
            elif blockers := stuck(ts, health.suspects, health.blockers):
                moves = health.trusted and runs_on(ts, health.suspects)
                if moves and state.repeatable(ts, health.suspects):
                    halted[share] = blockers
                else:
                    stalled[share] = blockers
            elif self.spec.at_rest and _homeless(state, ts):
                continue  # nobody makes it before others come, who are noticed
            elif ts.state in UNFINISHED:
                running[share] = ts.processing_on.address if ts.processing_on else None
            elif ts.state == "released":
                idle.add(share)
                if key in self.output_of:
                    consumed.add(share)
        lost: Collection[str] = health.suspects.keys()
        if self.spec.at_rest:
            # These are large, and products do without some: a suspect may keep its own, or finish
            # it after all, unless the others do not suffice.
            enough = self.spec.code.is_decodable(usable)
            lost = () if enough else health.given_up
            spared = {s: w for s, w in halted.items() if enough and not w <= health.given_up}
            stalled |= spared
            halted = {s: w for s, w in halted.items() if s not in spared}
        idle |= halted.keys()
        missing = self._missing(state, lost)
        stalling = frozenset[str]().union(*stalled.values())
        return GroupView(
            code=self.spec.code,
            usable=frozenset(usable),
            running=running,
            stalled=stalled,
            erased=frozenset(erased),
            idle=frozenset(idle),
            consumed=frozenset(consumed),
            at_rest=self.spec.at_rest,
            on_demand=self.spec.cohort is not None,
            lost=frozenset(self.arrived & missing),
            missing={q: self.share_of.get(self.spec.output_keys[q]) for q in missing},
            slow=health.slow,
            held_by_slow=frozenset(held_by_slow),
            decoding=self._underway(state, health, missing),
            decodable_since=self.decodable_since,
            finished=Counter(self.ran_on[share] for share in usable if share in self.took),
            typical=self._typical(state, usable),
            decode_cost=_LATENCY + nbytes / health.bandwidth,
            suspects={w: t for w, t in health.suspects.items() if w in stalling},
            blocked_since=self.blocked_since,
            spared_until=health.spared_until,
            tolerance=self.spec.tolerance,
            eps=self.spec.rounding,
            wrong=None if self.spec.verify is None else self.spec.verify.wrong,
        )

    def _missing(self, state: SchedulerState, lost: Collection[str]) -> set[int]:
        """Outputs that are wanted, and not there; or only on workers that count as lost."""
        missing = set()
        for key, q in self.output_of.items():
            ts = state.task(key)
            if ts is None:
                continue
            gone = ts.state == "memory" and bool(lost) and addresses(ts) <= set(lost)
            if ts.state in UNFINISHED or (gone and state.wanted(ts)):
                missing.add(q)
        return missing

    def _typical(self, state: SchedulerState, usable: Collection[int]) -> float:
        """Median seconds that a worker took for one share; it may have run several in turn."""
        done: dict[str, list[int]] = {}
        for share in usable:
            if share in self.took:
                done.setdefault(self.ran_on[share], []).append(share)
        durations = []
        for worker, shares in done.items():
            began = min(self.started[share] for share in shares)
            ended = max(self.started[share] + self.took[share] for share in shares)
            known = state.scheduler.workers.get(worker)
            turns = ceil(len(shares) / (known.nthreads if known is not None else 1))
            durations.append((ended - began) / turns)
        return median(durations) if durations else 0.0

    def _underway(
        self, state: SchedulerState, health: Health, missing: set[int]
    ) -> tuple[int, ...] | None:
        survivors: set[int] = set()
        for q in missing:
            key = self.spec.output_keys[q]
            if not self.decode_is_sound(key, state, health):
                return None
            survivors.update(self.decoding[key])
        return tuple(sorted(survivors))

    def decode_is_sound(self, key: Key, state: SchedulerState, health: Health) -> bool:
        """Whether an output is being decoded by a worker that is not suspect."""
        ts = state.task(key)
        return (
            key in self.decoding
            and ts is not None
            and ts.state in ("waiting", "processing", "queued")
            and (ts.processing_on is None or ts.processing_on.address not in health.suspects)
        )


def addresses(ts: "TaskState") -> frozenset[str]:
    """Workers that hold a task's result."""
    holders: set[WorkerState] = ts.who_has or set()
    return frozenset(ws.address for ws in holders)


def runs_on(ts: "TaskState", workers: Collection[str]) -> bool:
    """Whether a task runs on one of these workers."""
    return ts.processing_on is not None and ts.processing_on.address in workers


def stuck(
    ts: "TaskState", suspects: Mapping[str, float], known: dict[Key, frozenset[str]]
) -> frozenset[str]:
    """Suspects without which a task cannot finish: it runs there, or its inputs are there only.

    Parameters
    ----------
    ts
        The task.
    suspects
        Silent workers.
    known
        What was found before, by task; what is found on the way is added.
    """
    if not suspects:
        return frozenset()
    if ts.key in known:
        return known[ts.key]
    # No recursion: what is built lazily may wait for thousands of tasks, one behind the other.
    order: list[TaskState] = []
    front, seen = [(ts, False)], {ts}
    while front:
        task, done = front.pop()
        if done:
            order.append(task)
            continue
        front.append((task, True))
        for dts in task.dependencies:
            if _awaited(dts) and dts not in seen and dts.key not in known:
                seen.add(dts)
                front.append((dts, False))
    known.update((task.key, _own_blockers(task, suspects)) for task in order)
    # Inputs come before what is made of them, except where shares at rest are made of each other:
    # then once is not enough.
    changed = True
    while changed:
        changed = False
        for task in order:
            behind = (known[dts.key] for dts in task.dependencies if _awaited(dts))
            found = known[task.key].union(*behind)
            if found != known[task.key]:
                known[task.key], changed = found, True
    return known[ts.key]


def _awaited(dts: "TaskState") -> bool:
    return not dts.who_has and dts.state in UNFINISHED


def _homeless(state: SchedulerState, ts: "TaskState") -> bool:
    """Whether a task waits for what no worker may run."""
    unrunnable = state.scheduler.unrunnable
    if not unrunnable:
        return False
    front, seen = [ts], {ts}
    while front:
        task = front.pop()
        if task in unrunnable:
            return True
        fresh = {dts for dts in task.dependencies if _awaited(dts)} - seen
        seen |= fresh
        front.extend(fresh)
    return False


def _own_blockers(ts: "TaskState", suspects: Mapping[str, float]) -> frozenset[str]:
    """Suspects at which a task runs, or which alone hold one of its inputs."""
    alone = (addresses(dts) for dts in ts.dependencies if dts.who_has)
    found = frozenset[str]().union(*(holders for holders in alone if holders <= suspects.keys()))
    if ts.processing_on is not None and runs_on(ts, suspects):
        found |= {ts.processing_on.address}
    return found
