"""The groups of one scheduler: notes what happens to them, decides, and carries it out."""

import asyncio
import logging
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from dask.typing import Key
from distributed.metrics import time
from distributed.scheduler import heartbeat_interval

from dask_coded.cluster._cancel import let_cancel
from dask_coded.cluster._cohorts import Cohorts
from dask_coded.cluster._deal import deal
from dask_coded.cluster._group import Group, Health, addresses
from dask_coded.cluster._isolation import Isolation
from dask_coded.cluster._let_go import let_go
from dask_coded.cluster._memory import keep_at_home
from dask_coded.cluster._placement import acquainted, decode_worker, unequipped
from dask_coded.cluster._policy import Decision, GroupView, Policy
from dask_coded.cluster._record import History, amend, entry_of, tell_cost, wrong_event
from dask_coded.cluster._rescue import downstream, rerun, upstream
from dask_coded.cluster._rest import free_workers, residents, settle
from dask_coded.cluster._returning import Returning
from dask_coded.cluster._scheduler_state import SchedulerState
from dask_coded.cluster._settings import Settings
from dask_coded.cluster._thieves import keep_spread
from dask_coded.graph import GroupSpec, combination

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler

__all__ = ["Conductor"]

logger = logging.getLogger("distributed.scheduler.dask_coded")

#: After so many seconds a share that was sent elsewhere should have arrived.
_MOVE_SECONDS = 1.0
#: Seconds after which a group is looked at again that could not be decided about.
_RETRY_SECONDS = 1.0


class Conductor:
    """Everything the scheduler knows of coded groups.

    Parameters
    ----------
    scheduler
        The scheduler; nothing happens before the first group.
    settings
        How patient to be.
    suspects, guarded
        Silent workers, and since when; workers with the guard. Kept up to date by the owner.
    """

    def __init__(
        self,
        scheduler: "Scheduler",
        settings: Settings,
        suspects: dict[str, float],
        guarded: Collection[str],
    ) -> None:
        self.scheduler = scheduler
        self.state = SchedulerState(scheduler)
        self._isolation = Isolation(scheduler, guarded)
        self.history = History(settings.history)
        self.groups: dict[str, Group] = {}
        self._suspects = suspects
        self._slow: dict[str, float] = {}
        self._slow_memory = settings.slow_memory
        self._policy = Policy(settings.patience)
        self._give_up = settings.patience.rebuild_after
        self._suspicion = settings.suspicion
        self._spared_until = float("-inf")
        self._returning = Returning(scheduler, self.joined)
        self._cohorts = Cohorts(settings.patience)
        self._member: dict[Key, Group] = {}
        self._dirty: dict[str, Group] = {}
        self._soon: asyncio.Handle | None = None
        self._wake: dict[str, asyncio.TimerHandle] = {}
        self._later: asyncio.TimerHandle | None = None
        self._blockers: dict[Key, frozenset[str]] = {}
        self._blockers_at = -1
        self._offset = 0
        self._loop = asyncio.get_running_loop()
        self.state.install(self._may_erase, self._is_output, self._erased)
        self._undo = [keep_at_home(scheduler, self._home), let_cancel(scheduler, self.is_ours)]
        self._undo.append(keep_spread(scheduler, self.group_of))

    def close(self) -> None:
        for handle in (self._soon, self._later, *self._wake.values()):
            if handle is not None:
                handle.cancel()
        self._wake.clear()
        self._returning.close()
        self._isolation.close()
        self.state.uninstall()
        for undo in filter(None, self._undo):
            undo()

    def let_go(self) -> None:
        """Leave what is under way to plain Dask."""
        for worker in self._suspects:
            self._isolation.trust(worker)
        let_go(self.state, self.groups.values())

    # Which keys are whose

    def group_of(self, key: Key) -> Group | None:
        return self._member.get(key)

    def is_ours(self, key: Key) -> bool:
        return key in self._member

    def _may_erase(self, key: Key) -> bool:
        group = self._member.get(key)
        return group is not None and not group.resolved and group.share_index(key) is not None

    def _is_output(self, key: Key) -> bool:
        group = self._member.get(key)
        return group is not None and key in group.output_of

    def _home(self, key: Key) -> str | None:
        group = self._member.get(key)
        return group.home.get(key) if group is not None and group.spec.at_rest else None

    def _erased(self, key: Key) -> None:
        group = self._member[key]
        share = group.share_index(key)
        if share is not None:
            group.erased.add(share)
        self.note(group)

    # Beginning and end

    def submitted(self, outputs: Iterable[tuple[Key, GroupSpec]]) -> None:
        """Outputs of groups, perhaps known ones, entered the scheduler; nothing has started."""
        fresh: dict[str, Group] = {}
        for key, spec in outputs:
            group = self.groups.get(spec.group)
            if group is None:
                group = Group(spec, submitted=time())
                self.groups[spec.group] = group
                self._member.update(dict.fromkeys(group.keys, group))
                self._cohorts.join(group)
            fresh[spec.group] = group
            self.state.cut_parity(key)
        for group in fresh.values():
            self._offset += deal(self.state, group, self._suspects, self._offset)
            self.note(group)

    def _end(self, group: Group) -> None:
        """No output is known any more: remove what only the group knew of."""
        # Before its keys are: what happens to them is no news of this group.
        for key in group.keys:
            if self._member.get(key) is group:
                del self._member[key]
        del self.groups[group.spec.group]
        self.state.forget(key for key in group.keys if key not in group.output_of)
        for other in self._cohorts.leave(group, time()):
            self.note(other)
        if group.entry is None and not group.is_quiet:
            self.history.add(entry_of(group, None))
        if not self.groups:
            self.state.leave()

    # Deciding

    def note(self, group: Group) -> None:
        """Something happened to the group: decide about it when the transitions are done."""
        self._dirty[group.spec.group] = group
        if self._soon is None:
            self._soon = self._loop.call_soon(self._decide_dirty)

    def note_all(self) -> None:
        for group in self.groups.values():
            self.note(group)

    def _decide_dirty(self) -> None:
        self._soon = None
        dirty, self._dirty = self._dirty, {}
        self._blockers = {}
        for name, group in dirty.items():
            if self.groups.get(name) is not group:
                continue  # it ended meanwhile
            try:
                self._decide(group)
            except Exception:
                # The group goes on as it stands; nothing else on the scheduler may suffer.
                logger.exception("Deciding about coded group %r failed", name)
                self._wake_after(group, _RETRY_SECONDS)

    def health(self) -> Health:
        now = time()
        self._slow = {worker: until for worker, until in self._slow.items() if until > now}
        if self.scheduler.transition_counter != self._blockers_at:
            # Deciding about one group changed what the next one waits for.
            self._blockers_at, self._blockers = self.scheduler.transition_counter, {}
        return Health(
            blockers=self._blockers,
            suspects=self._suspects,
            slow=frozenset(self._slow),
            bandwidth=float(self.scheduler.bandwidth),
            trusted=self._returning.may_move(),
            given_up=frozenset(
                worker for worker, since in self._suspects.items() if now >= since + self._give_up
            ),
            spared_until=self._spared_until,
        )

    def _decide(self, group: Group) -> None:
        if (handle := self._wake.pop(group.spec.group, None)) is not None:
            handle.cancel()
        if not group.alive(self.state):
            self._end(group)
            return
        for key in [key for key in group.decoding if self._settled(key)]:
            del group.decoding[key]
            self.state.restore(key)
        now = time()
        health = self.health()
        view = group.view(self.state, health)
        if view.on_demand and view.missing:
            view = replace(view, due=self._cohorts.due(group, health.slow))
        decision = self._policy.decide(view, now)
        logger.debug("%s: %s", group.spec.group, decision)
        group.arrived.update(group.output_of.values() - view.missing.keys())
        if view.missing:
            group.resolved = False
        if not decision.decodable:
            group.decodable_since = None
        elif group.decodable_since is None:
            group.decodable_since = now
        if not decision.blocked_by:
            group.blocked_since = None
        elif group.blocked_since is None:
            group.blocked_since = now
        if decision.resolved:
            self._resolve(group, decision, now)
            for other in self._cohorts.finished(group, now):
                self.note(other)
        else:
            self._apply(group, view, decision, now)

    def _wake_after(self, group: Group, seconds: float) -> None:
        """Decide about the group again then, if nothing happens before."""
        name = group.spec.group
        if (handle := self._wake.pop(name, None)) is not None:
            handle.cancel()
        if self.groups.get(name) is group:
            self._wake[name] = self._loop.call_later(max(0.0, seconds), self.note, group)

    def _settled(self, key: Key) -> bool:
        ts = self.state.task(key)
        return ts is None or ts.state in ("memory", "erred", "released")

    # Carrying out

    def _apply(self, group: Group, view: GroupView, decision: Decision, now: float) -> None:
        keys = group.current_keys
        for worker in frozenset[str]().union(*view.stalled.values()):
            group.suspects.setdefault(worker, "silent")
        arrived = {keys[share] for share in view.usable} - group.held
        self.state.hold(arrived)
        group.held |= arrived
        if decision.launch:
            started = {keys[share] for share in decision.launch}
            group.held |= started
            again = sorted(started, key=keys.index)
            if group.spec.at_rest:
                taken = residents(self.state, group)
                lacking = unequipped(self.scheduler, filter(None, map(self.state.task, again)))
                avoid = [lacking, frozenset(self._suspects)]
                for key, home in free_workers(self.scheduler, again, avoid, taken).items():
                    self.state.prefer(key, home)
            self.state.start(again)
        if decision.decode_from is not None:
            self._decode(group, view, decision, now)
        if decision.raise_from is not None:
            self.state.raise_error(keys[decision.raise_from])
        # Were nobody left, this would take everything and help nothing.
        if decision.blocked_by and self._returning.may_move():
            stalled = [keys[share] for share in view.stalled]
            rerun(self.state, upstream(self.state, stalled, self._suspects, self.is_ours))
            self._isolation.hang_up(decision.blocked_by)
            for worker in decision.evict:
                logger.warning("Removing %s: silent, and holds what a coded group needs", worker)
                group.suspects[worker] = "evicted"
                self._isolation.evict(worker)
                self._spare()
        if decision.wake_at is not None:
            self._wake_after(group, decision.wake_at - now)

    def _decode(self, group: Group, view: GroupView, decision: Decision, now: float) -> None:
        health = self.health()
        shares = decision.decode_from or ()
        outputs = [
            key
            for q in (view.missing if decision.outputs is None else decision.outputs)
            if not group.decode_is_sound(key := group.spec.output_keys[q], self.state, health)
            or not view.usable.issuperset(group.decoding[key])
        ]
        replaced = [ts for key in outputs if (ts := self.state.task(key)) is not None]
        lacking = unequipped(self.scheduler, replaced)
        if not outputs or lacking.issuperset(ws.address for ws in self.scheduler.running):
            # Without a worker that may take it a decode would be planned again and again. Whoever
            # comes, or goes on after a pause, is noticed.
            return
        if any(key in group.decoding for key in outputs):
            group.replanned += 1
        before = group.current_keys
        survivors = [ts for i in shares if (ts := self.state.task(before[i])) is not None]
        lost = frozenset[str]().union(*map(addresses, replaced))
        known = frozenset[str]().union(*map(acquainted, replaced))
        late = frozenset(worker for worker in view.running.values() if worker is not None)
        avoid = [lacking, frozenset(self._suspects), known, late, health.slow]
        worker = decode_worker(self.scheduler, survivors, avoid)
        self._mark_late(group, view, decision, now)
        tasks = {key: combination(group.spec, key, shares, before) for key in outputs}
        group.read_from = {i: group.ran_on[i] for i in shares if i in group.ran_on}
        for key in outputs:
            group.decoding[key] = tuple(shares)
        near = () if worker is None else (worker,)
        no = known | self._suspects.keys()
        where: dict[Key, Iterable[str]] = {}
        for key, task in tasks.items():
            # An output that is one survivor's result stays there, any other goes with the rest.
            held = [addresses(ts) - no for ts in survivors if ts.key in task.dependencies]
            where[key] = held[0] or near if len(held) == 1 else near
        if group.spec.at_rest:
            taken = residents(self.state, group)
            for key, home in free_workers(self.scheduler, outputs, avoid, taken).items():
                where[key] = (home,)
        self.state.rewrite(tasks, where)
        self._isolation.hang_up(lost)
        group.decoded += len(outputs)
        # What is at rest keeps the digits that any of its shares lost.
        earlier = group.amplification if group.spec.at_rest else None
        group.amplification = max(filter(None, (earlier, decision.amplification)), default=None)
        if decision.inaccurate:
            tell_cost(self.scheduler, group)
        rest = [before[share] for share in decision.cancel if before[share] not in outputs]
        self._stop(group, rest)

    def _mark_late(self, group: Group, view: GroupView, decision: Decision, now: float) -> None:
        for share in decision.late:
            group.late.add(share)
            if (worker := view.running.get(share)) is not None:
                self._slow[worker] = now + self._slow_memory
        group.late.update(view.stalled.keys() & set(decision.cancel))
        self._cancel(group, decision, now)

    def _cancel(self, group: Group, decision: Decision, now: float) -> None:
        """Write down which shares are about to be stopped, before anything is rewritten."""
        keys = group.current_keys
        for share in decision.cancel:
            if share in group.took or share not in group.started:
                continue
            group.cancelled.setdefault(share, now)
            ts = self.state.task(keys[share])
            if ts is not None and ts.processing_on is not None:
                # Its worker may say that it stopped before the group is resolved.
                self.history.stopping(str(keys[share]), group.freed, share, now)

    def _stop(self, group: Group, keys: Iterable[Key]) -> None:
        keys = [key for key in keys if key not in group.output_of or key not in group.decoding]
        group.held.difference_update(keys)
        self.state.release(keys)

    def _resolve(self, group: Group, decision: Decision, now: float) -> None:
        keys = group.current_keys
        self._cancel(group, decision, now)
        self._stop(group, {*group.held, *(keys[share] for share in decision.cancel)})
        group.resolved = True
        if group.spec.at_rest and not settle(self.state, group, self._suspects):
            self._wake_after(group, _MOVE_SECONDS)
        if group.entry is not None:
            amend(group)
        elif group.took and not group.is_quiet:
            tasks = filter(None, map(self.state.task, group.output_of))
            failed = any(ts.state == "erred" for ts in tasks)
            group.entry = entry_of(group, None if failed else now)
            self.history.add(group.entry)

    def found_wrong(self, name: str, shares: Iterable[int], corrected: bool) -> None:
        """Results of a group were compared, and these are wrong; none named, if it is not clear."""
        group = self.groups.get(name)
        if group is None:
            return
        group.blame(shares)
        amend(group)
        logger.warning("Results of %s disagree; wrong: %s", name, group.wrong or "cannot be told")
        if corrected:
            self.scheduler.log_event("warn", wrong_event(group))

    def decoded_without(self, name: str, amplification: float) -> None:
        """Some survivors were done without, which may have cost digits."""
        if group := self.groups.get(name):
            group.amplification = amplification
            tell_cost(self.scheduler, group)

    def _think_again(self) -> None:
        """Some suspects have been silent for so long that little is expected of them."""
        self._later = None
        self.note_all()
        if any(since + self._give_up > time() for since in self._suspects.values()):
            self._later = self._loop.call_later(self._give_up, self._think_again)

    # Workers

    def _spare(self) -> None:
        """Remove nobody before whoever is well has surely been heard."""
        heartbeat = heartbeat_interval(len(self.scheduler.workers))
        self._spared_until = time() + self._suspicion.limit(heartbeat)

    def joined(self) -> None:
        """A worker came, or may be used again."""
        self._returning.look(self._suspects)
        # While others are silent their shares wait for one heartbeat more: who comes back takes
        # its own, and the first one is not given all.
        heartbeat = heartbeat_interval(len(self.scheduler.workers))
        self._loop.call_later(heartbeat if self._suspects else 0.0, self.state.place_homeless)
        if self._suspects and self._returning.may_move():
            outputs = [key for group in self.groups.values() for key in group.output_of]
            rerun(self.state, downstream(self.state, outputs, self._suspects, self.is_ours))
            self._isolation.hang_up(self._suspects)
        self.note_all()

    def look(self) -> None:
        """Workers pause and go on when their memory says so, and tell nobody: compare."""
        if self._returning.changed():
            self.joined()

    def left(self, worker: str) -> None:
        """A worker was removed: every group may have lost something."""
        self._isolation.forget(worker)
        self.note_all()

    def suspected(self, new: Iterable[str], trusted: Iterable[str]) -> None:
        """Workers fell silent, or spoke again."""
        for worker in new:
            self._isolation.isolate(worker, self._suspects)
        if new and self._later is None:
            self._later = self._loop.call_later(self._give_up, self._think_again)
        for worker in trusted:
            self._isolation.trust(worker)
        if trusted:
            self._spare()
        self.joined()
