"""The only file that touches scheduler state which no interface promises.

Written against distributed 2026.8. Everything here runs on the scheduler's event loop, between
two transitions, and leaves a state that ``Scheduler.validate`` accepts.

Four mechanisms, none of which costs a message when nothing is wrong:

* *Soft dependencies.* A data share depends on the parity of its group in the graph, so that
  culling keeps the parity; :meth:`cut_parity` removes these edges before anything waits for them.
* *A client of our own*, as for published data: what it desires stays, what it releases goes.
  It holds parity, and results that a group may still need although their consumers are done.
* *Rewriting.* :meth:`rewrite` replaces the task and the dependencies of an unfinished key. The
  work that was replaced moves to a key of its own: it keeps the lineage alive, and can be run
  after all.
* *Holding back errors.* An exception in a share is an erasure until too few are left, so the
  worker's message is kept, and delivered only when there is no other way.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from dask.typing import Key
from distributed.metrics import time

from dask_coded.cluster._deaths import outlive
from dask_coded.cluster._placement import unequipped
from dask_coded.graph import DataShareTask, GroupSpec, spec_of

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, TaskState

__all__ = ["CLIENT", "UNFINISHED", "SchedulerState", "spare_key"]

#: Name of our own client on the scheduler.
CLIENT = "dask-coded"
#: States in which a task stands between submission and result.
UNFINISHED = frozenset({"waiting", "processing", "queued", "no-worker"})


def spare_key(key: Key) -> Key:
    """Where the work of a rewritten key is kept."""
    if isinstance(key, tuple):
        return (f"spare-{key[0]}", *key[1:])
    return f"spare-{key!s}"


def _stimulus(name: str) -> str:
    return f"dask-coded-{name}-{time()}"


class SchedulerState:
    """Careful hands on one scheduler."""

    def __init__(self, scheduler: "Scheduler") -> None:
        self.scheduler = scheduler
        self._held: dict[Key, Callable[[], None]] = {}
        self._ours: Callable[[Key], bool] = lambda key: False
        self._output: Callable[[Key], bool] = lambda key: False
        self._on_held: Callable[[Key], None] = lambda key: None

    # Reading

    def spec(self, key: Key) -> GroupSpec | None:
        """The group in which the task at `key` gives an output."""
        ts = self.scheduler.tasks.get(key)
        return None if ts is None else spec_of(ts.run_spec)

    def task(self, key: Key) -> "TaskState | None":
        return self.scheduler.tasks.get(key)

    @staticmethod
    def wanted(ts: "TaskState") -> bool:
        """Whether anybody but us waits for a task's result."""
        others = (cs for cs in ts.who_wants or () if cs.client_key != CLIENT)
        return bool(ts.waiters) or any(others)

    def needed_again(
        self, ts: "TaskState", without: Collection[str], cared_for: Callable[[Key], bool]
    ) -> list[Key] | None:
        """What has to be computed again before a task can run without these workers.

        Its inputs that only they hold, and what these were made of, as far back as necessary;
        None if some of it is data that nobody can make again. Keys that are `cared_for` come
        back by themselves.
        """
        again: list[Key] = []
        front, seen = [ts], {ts}
        while front:
            task = front.pop()
            if task.run_spec is None:
                return None
            for dts in task.dependencies - seen:
                seen.add(dts)
                lost = bool(dts.who_has) and all(ws.address in without for ws in dts.who_has)
                if dts.state == "erred":
                    return None
                if not cared_for(dts.key) and (lost or dts.state == "released"):
                    front.append(dts)
                    if lost:
                        again.append(dts.key)
        return again

    def repeatable(self, ts: "TaskState", without: Collection[str]) -> bool:
        """Whether a task can run again without these workers, from what others hold."""
        return self.needed_again(ts, without, lambda key: False) == []

    def has_error(self, key: Key) -> bool:
        """Whether an exception of this share is being held back."""
        return key in self._held

    # Graphs

    def install(
        self,
        ours: Callable[[Key], bool],
        output: Callable[[Key], bool],
        on_held: Callable[[Key], None],
    ) -> None:
        """Stand between the scheduler and two kinds of news: errors of shares, and resubmissions.

        Parameters
        ----------
        ours
            Whether an exception of this key is an erasure in a group that is in flight.
        output
            Whether this key is an output of a group that is known already.
        on_held
            Called after an exception was held back.
        """
        scheduler = self.scheduler
        self._ours, self._output, self._on_held = ours, output, on_held
        deliver = scheduler.stream_handlers["task-erred"]
        scheduler.stream_handlers["task-erred"] = partial(self._task_erred, deliver)
        generate = scheduler._generate_taskstates
        scheduler._generate_taskstates = partial(self._generate, generate, output)
        self._mortal = outlive(scheduler, ours, self._hold_back)

    def uninstall(self) -> None:
        self._mortal()
        handler = self.scheduler.stream_handlers.get("task-erred")
        if isinstance(handler, partial) and handler.func == self._task_erred:
            self.scheduler.stream_handlers["task-erred"] = handler.args[0]
        generate = self.scheduler.__dict__.get("_generate_taskstates")
        if isinstance(generate, partial) and generate.func == self._generate:
            del self.scheduler._generate_taskstates

    def _generate(
        self,
        generate: Callable[..., Any],
        output: Callable[[Key], bool],
        keys: set[Key],
        dsk: dict[Key, Any],
        computation: Any,
    ) -> Any:
        # A graph submitted again still has the edges that were cut or rewritten. Dask would take
        # the difference for a collision of keys; show it the task that it already has.
        for key in [key for key in dsk if output(key)]:
            ts = self.scheduler.tasks.get(key)
            if ts is not None and ts.run_spec is not None:
                known = {dts.key for dts in ts.dependencies}
                if known == ts.run_spec.dependencies:
                    dsk[key] = ts.run_spec
        return generate(keys=keys, dsk=dsk, computation=computation)

    def cut_parity(self, key: Key) -> None:
        """Make a data share depend on its own inputs only."""
        ts = self.scheduler.tasks[key]
        task = ts.run_spec
        if not isinstance(task, DataShareTask):
            return
        plain = task.plain()
        cut = [dts for dts in ts.dependencies if dts.key not in plain.dependencies]
        for dts in cut:
            self._unlink(ts, dts)
        ts.run_spec = plain
        # It may have been submitted before there was a runtime, and be fetching parity now: that
        # begins again. Where all parity is there the share may run, and goes on.
        if ts.state == "processing" and any(
            ts.processing_on not in (dts.who_has or ()) for dts in cut
        ):
            self.scheduler.transitions({key: "released"}, _stimulus("cut"))
        elif ts.state == "waiting" and not ts.waiting_on:
            self.scheduler.transitions({key: "processing"}, _stimulus("cut"))

    @staticmethod
    def _link(ts: "TaskState", dts: "TaskState") -> None:
        ts.dependencies.add(dts)
        dts.dependents.add(ts)

    @staticmethod
    def _unlink(ts: "TaskState", dts: "TaskState") -> None:
        ts.dependencies.discard(dts)
        dts.dependents.discard(ts)
        if dts.waiters:
            dts.waiters.discard(ts)
        if ts.waiting_on:
            ts.waiting_on.discard(dts)

    @staticmethod
    def _unneeded(dts: "TaskState") -> bool:
        return not dts.waiters and not dts.who_wants and dts.state not in ("released", "erred")

    # Starting and stopping

    def restrict(self, key: Key, workers: Iterable[str]) -> None:
        """Prefer these workers for a task not placed yet, unless its user has said where."""
        ts = self.scheduler.tasks[key]
        if not (ts.worker_restrictions or ts.host_restrictions or ts.resource_restrictions):
            ts.worker_restrictions, ts.loose_restrictions = set(workers), True

    def prefer(self, key: Key, worker: str) -> None:
        """Prefer another worker for a task, unless its user has said where."""
        ts = self.scheduler.tasks[key]
        if ts.loose_restrictions:
            ts.worker_restrictions = {worker}
        else:
            self.restrict(key, (worker,))

    def place_homeless(self) -> None:
        """Place what found no worker when there was none, now that there may be one.

        The scheduler offers a new worker only what is restricted to it, and overlooks that our
        restrictions are loose.
        """
        unrunnable = (ts for ts in self.scheduler.unrunnable if ts.key not in self._held)
        homeless = [ts.key for ts in unrunnable if ts.loose_restrictions]
        if homeless and self.scheduler.running:
            self.scheduler.transitions(dict.fromkeys(homeless, "processing"), _stimulus("place"))

    def lower_priority(self, keys: Iterable[Key]) -> None:
        """Let these run after everything else of their graph."""
        for key in keys:
            ts = self.scheduler.tasks[key]
            if ts.priority is not None and ts.priority[-1] < 1e9:
                *first, last = ts.priority
                ts.priority = (*first, last + 1e9)

    def put_behind(self, keys: Iterable[Key], inputs: Iterable[Key]) -> None:
        """Let these run after those inputs, which shares on other workers may wait for."""
        tasks = self.scheduler.tasks
        known = [ts.priority for key in inputs if (ts := tasks[key]).priority is not None]
        last = max((priority[-1] for priority in known), default=float("-inf"))
        for key in keys:
            ts = tasks[key]
            if ts.priority is not None and ts.priority[-1] < last:
                ts.priority = (*ts.priority[:-1], last + 0.5)

    def start(self, keys: Iterable[Key]) -> None:
        """Run these for ourselves; again, if they run or their results are out of reach."""
        keys = [key for key in keys if key in self.scheduler.tasks]
        self.hold(keys)
        recommendations: dict[Key, Any] = {}
        for key in keys:
            idle = self.scheduler.tasks[key].state == "released"
            # What we hold does not stay released: the scheduler runs it again by itself.
            recommendations[key] = "waiting" if idle else "released"
        self.scheduler.transitions(recommendations, _stimulus("start"))

    def hold(self, keys: Iterable[Key]) -> None:
        """Keep these results, whoever else releases them."""
        keys = [key for key in keys if key in self.scheduler.tasks]
        if keys:
            self.scheduler.client_desires_keys(keys=keys, client=CLIENT)

    def release(self, keys: Iterable[Key]) -> None:
        """Neither hold nor run these any longer for ourselves.

        Shares stay known. Outputs are forgotten if their users have already released them.
        """
        cs = self.scheduler.clients.get(CLIENT)
        recommendations: dict[Key, Any] = {}
        for key in keys:
            self._held.pop(key, None)
            ts = self.scheduler.tasks.get(key)
            if ts is None:
                continue
            if cs is not None and ts in cs.wants_what:
                cs.wants_what.discard(ts)
                if ts.who_wants:
                    ts.who_wants.discard(cs)
            if self._output(key) and not (ts.who_wants or ts.waiters or ts.dependents):
                recommendations[key] = "forgotten"
            elif self._unneeded(ts):
                recommendations[key] = "released"
        if recommendations:
            self.scheduler.transitions(recommendations, _stimulus("release"))
            self.scheduler.stimulus_queue_slots_maybe_opened(stimulus_id=_stimulus("release"))

    def forget(self, keys: Iterable[Key]) -> None:
        """Remove released tasks that nobody else knows of."""
        keys = list(keys)
        self.release(keys)
        recommendations: dict[Key, Any] = {}
        for key in keys:
            ts = self.scheduler.tasks.get(key)
            if ts is not None and not ts.dependents and not ts.who_wants and not ts.waiters:
                recommendations[key] = "forgotten"
        self.scheduler.transitions(recommendations, _stimulus("forget"))

    def leave(self) -> None:
        """Close our client if it holds nothing."""
        cs = self.scheduler.clients.get(CLIENT)
        if cs is not None and not cs.wants_what:
            del self.scheduler.clients[CLIENT]

    # Rewriting

    def rewrite(self, tasks: Mapping[Key, Any], workers: Mapping[Key, Iterable[str]]) -> None:
        """Give unfinished, or unreachable, keys other tasks.

        The work that is replaced is set aside under :func:`spare_key`.

        Parameters
        ----------
        tasks
            New task of each key. Its dependencies have to be known.
        workers
            Where to run each, if possible.
        """
        stimulus = _stimulus("rewrite")
        recommendations: dict[Key, Any] = {}
        for key, task in tasks.items():
            ts = self.scheduler.tasks[key]
            self._held.pop(key, None)
            if ts.state != "released":
                recommendations.update(self.scheduler.transition(key, "released", stimulus))
            self._set_aside(ts)
            for dts in list(ts.dependencies):
                self._unlink(ts, dts)
                if self._unneeded(dts):
                    recommendations.setdefault(dts.key, "released")
            for name in task.dependencies:
                self._link(ts, self.scheduler.tasks[name])
            ts.run_spec = task
            ts.waiting_on = None
            ts.host_restrictions = None
            ts.worker_restrictions, ts.loose_restrictions = set(workers[key]), True
            if ts.resource_restrictions:
                # No preference: whoever lacks a resource cannot hold the result.
                able = ts.worker_restrictions - unequipped(self.scheduler, [ts])
                ts.worker_restrictions, ts.loose_restrictions = able or None, False
        needed = {name for task in tasks.values() for name in task.dependencies}
        recommendations = {
            name: state
            for name, state in recommendations.items()
            if name not in needed and name not in tasks
        }
        # The last recommendation is followed first: survivors gain waiters before anything that
        # only the replaced work needed is released.
        recommendations.update(dict.fromkeys(tasks, "waiting"))
        self._follow(recommendations, stimulus)
        self.scheduler.stimulus_queue_slots_maybe_opened(stimulus_id=stimulus)

    def _follow(self, recommendations: dict[Key, Any], stimulus: str) -> None:
        """Like the scheduler's ``transitions``, but each worker hears first what it may forget.

        Told to compute what it is fetching for others, and only then that these are not wanted, a
        worker takes both back, and tells nobody.
        """
        to_clients: dict[str, list[dict[str, Any]]] = {}
        to_workers: dict[str, list[dict[str, Any]]] = {}
        self.scheduler._transitions(recommendations, to_clients, to_workers, stimulus)
        for messages in to_workers.values():
            given: set[Key] = set()
            late = []
            for message in messages:
                if message["op"] == "compute-task":
                    given.add(message["key"])
                # What was given and taken back in one go has to be heard in that order.
                late.append(message["op"] != "free-keys" or not given.isdisjoint(message["keys"]))
            numbered = sorted(zip(late, range(len(messages)), messages, strict=True))
            messages[:] = [message for _, _, message in numbered]
        self.scheduler.send_all(to_clients, to_workers)

    def _set_aside(self, ts: "TaskState") -> None:
        key = spare_key(ts.key)
        if key in self.scheduler.tasks or ts.run_spec is None:
            return
        spare = self.scheduler.new_task(key, ts.run_spec, "released", computation=None)
        # A task knows its key; all its work has to be known under the other one.
        spare.run_spec = ts.run_spec.substitute({}, key=key)
        spare.priority = ts.priority
        spare.annotations = ts.annotations
        if spare.group is not None and ts.group is not None and spare.group.span_id is None:
            # Heartbeats of workers account for every task by its span.
            spare.group.span_id = ts.group.span_id
        spare.worker_restrictions = ts.worker_restrictions
        spare.host_restrictions = ts.host_restrictions
        spare.resource_restrictions = ts.resource_restrictions
        spare.loose_restrictions = ts.loose_restrictions
        for dts in ts.dependencies:
            self._link(spare, dts)

    def restore(self, key: Key) -> None:
        """Give a key that has its result the work back which was set aside."""
        ts = self.scheduler.tasks.get(key)
        old = self.scheduler.tasks.get(spare_key(key))
        if ts is None or old is None or old.run_spec is None:
            return
        for dts in list(ts.dependencies):
            self._unlink(ts, dts)
        for dts in old.dependencies:
            self._link(ts, dts)
        ts.run_spec = old.run_spec.substitute({}, key=key)
        ts.worker_restrictions = old.worker_restrictions
        ts.host_restrictions = old.host_restrictions
        ts.loose_restrictions = old.loose_restrictions
        self.forget([old.key])

    # Errors

    def _task_erred(
        self, deliver: Callable[..., None], key: Key, stimulus_id: str, **message: Any
    ) -> None:
        ts = self.scheduler.tasks.get(key)
        now = partial(deliver, key=key, stimulus_id=stimulus_id, **message)
        worker = message.get("worker")
        if (
            ts is None
            or ts.state != "processing"
            or ts.retries > 0
            or ts.run_id != message.get("run_id")
            or not self._ours(key)
        ):
            now()
            return
        self._held[key] = now
        # The worker is done with it: as far as slots go the task has left the pool of threads.
        self.scheduler.handle_long_running(
            key=key,
            worker=worker,  # type: ignore[arg-type]
            run_id=ts.run_id,
            compute_duration=None,
            stimulus_id=stimulus_id,
        )
        self._on_held(key)

    def _hold_back(self, key: Key, deliver: Callable[[], None]) -> None:
        self._held[key] = deliver
        self._on_held(key)

    def drop_error(self, key: Key) -> None:
        """The share was given up, or runs again: its exception no longer counts."""
        self._held.pop(key, None)

    def raise_error(self, key: Key) -> None:
        """Deliver the exception that was held back, as if it had just arrived."""
        deliver = self._held.pop(key, None)
        if deliver is not None:
            deliver()

    # Lost results

    def rerun(self, keys: Iterable[Key]) -> None:
        """Compute elsewhere what runs on a suspect, or is held by suspects only."""
        self.scheduler.transitions(dict.fromkeys(keys, "released"), _stimulus("rerun"))
