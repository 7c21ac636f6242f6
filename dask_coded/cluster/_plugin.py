"""The hooks into the scheduler: thin, because the scheduler calls some of them for every task.

What happens to a task of ours is written down, and a decision is made on the event loop, after
the transitions that are under way. For a task that is not ours it costs one look-up.
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dask.typing import Key
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.metrics import time
from distributed.protocol.pickle import dumps
from distributed.scheduler import heartbeat_interval
from tornado.ioloop import PeriodicCallback

from dask_coded.cluster._conductor import Conductor
from dask_coded.cluster._guard import GUARD_NAME, GuardWorkerPlugin
from dask_coded.cluster._isolation import EVICTION
from dask_coded.cluster._settings import Settings
from dask_coded.cluster._suspects import Watch
from dask_coded.cluster._trust import Trust

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler

__all__ = [
    "GUARD_HANDLER",
    "PLUGIN_NAME",
    "REPORT_HANDLER",
    "SILENT_TOPIC",
    "CodedSchedulerPlugin",
]

logger = logging.getLogger("distributed.scheduler.dask_coded")

PLUGIN_NAME = "dask-coded"
REPORT_HANDLER = "dask_coded_report"
#: Answers when workers have taken the guard.
GUARD_HANDLER = "dask_coded_guarded"
_UNREGISTER = "unregister_scheduler_plugin"
#: Clients that gather from workers themselves are told here, again and again, who is silent.
SILENT_TOPIC = "dask-coded-silent"
#: Seconds between two looks at heartbeats, while there are groups.
_LOOK_EVERY = 0.1
#: Seconds between two messages about who is silent, while somebody is.
_SAY_EVERY = 1.0
#: How long to wait for workers to take the guard; whoever is late takes it later.
_GUARD_WAIT = 1.0
#: Seconds until a worker that could not be reached is told again.
_GUARD_AGAIN = 0.5


class CodedSchedulerPlugin(SchedulerPlugin):  # type: ignore[misc]
    """Lets groups of coded shares finish as soon as enough of them have.

    Parameters
    ----------
    settings
        How patient and how suspicious to be; None reads Dask's configuration where the plugin is
        made, so that a client's configuration travels with it.
    """

    name = PLUGIN_NAME
    idempotent = True

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = Settings.from_config() if settings is None else settings

    async def start(self, scheduler: "Scheduler") -> None:
        """Run on the scheduler, before any hook.

        Nothing may be waited for in here. The scheduler looks for a plugin of this name before,
        and adds this one afterwards: of two clients that ask at once one would talk to a plugin
        that was thrown away.
        """
        self.scheduler = scheduler
        self.watch = Watch(self.settings.suspicion)
        self._guarded: set[str] = set()
        self.conductor = Conductor(scheduler, self.settings, self.watch.since, self._guarded)
        self.trust = Trust(scheduler)
        self._heard: dict[str, float] = {}
        self._said = 0.0
        self._look = PeriodicCallback(self._look_around, _LOOK_EVERY * 1000)
        scheduler.handlers[REPORT_HANDLER] = self.report
        scheduler.handlers[GUARD_HANDLER] = self.guarded
        self._unregister = scheduler.handlers[_UNREGISTER]
        scheduler.handlers[_UNREGISTER] = self.unregistered
        self._guards: dict[str, asyncio.Task[None]] = {}
        for address in scheduler.workers:
            self._guard(address)
        if scheduler.tasks:
            # Once the scheduler tells us of transitions.
            asyncio.get_running_loop().call_soon(self._take_over)

    def _take_over(self) -> None:
        """Find the groups that were submitted before there was a runtime."""
        self.update_graph(self.scheduler, tasks=list(self.scheduler.tasks))
        for group in self.conductor.groups.values():
            group.found_under_way(self.conductor.state, time())

    async def guarded(self) -> None:
        """Wait until workers have taken the guard, but not long for those that are silent."""
        if self._guards:
            await asyncio.wait(list(self._guards.values()), timeout=_GUARD_WAIT)

    def _guard(self, address: str) -> None:
        """Have a worker take the guard.

        Not through the scheduler's list of worker plugins: a worker without this package could
        not read it, and would not start.
        """
        self._unguard(address)  # another process may have had the address
        self._guards[address] = asyncio.create_task(self._send_guard(address))

    def _unguard(self, address: str) -> None:
        self._guarded.discard(address)
        if (task := self._guards.pop(address, None)) is not None:
            task.cancel()

    async def _send_guard(self, address: str) -> None:
        plugin = dumps(GuardWorkerPlugin())
        message = {"op": "plugin-add", "plugin": plugin, "name": GUARD_NAME, "catch_errors": True}
        while True:
            try:
                await self.scheduler.broadcast(msg=message, workers=[address])
            except OSError:
                # Silent, and perhaps hung up on by ourselves: it is told when it speaks again.
                await asyncio.sleep(_GUARD_AGAIN)
                while address in self.watch.since:
                    await asyncio.sleep(_GUARD_AGAIN)
            except Exception:
                # It has not the package: coded tasks will say so, other work may go on.
                logger.debug("%s did not take the guard", address, exc_info=True)
                return
            else:
                self._guarded.add(address)
                if self.watch.since:
                    # It was not told to hang up on them.
                    self.conductor.joined()
                return

    async def unregistered(self, name: str) -> Any:
        """A client takes a plugin off the scheduler, which tells plugins nothing."""
        answer = await self._unregister(name=name)
        if self.scheduler.plugins.get(PLUGIN_NAME) is not self:
            self.conductor.let_go()
            guarded = list(self._guarded)
            await self.close()
            message = {"op": "plugin-remove", "name": GUARD_NAME}
            told = (self.scheduler.broadcast(msg=message, workers=[a]) for a in guarded)
            with suppress(TimeoutError):  # on a silent worker it does no harm
                async with asyncio.timeout(_GUARD_WAIT):
                    await asyncio.gather(*told, return_exceptions=True)
        return answer

    async def close(self) -> None:
        """Give the scheduler back what is its own."""
        self._look.stop()
        if self.scheduler.handlers.get(_UNREGISTER) == self.unregistered:
            self.scheduler.handlers[_UNREGISTER] = self._unregister
        for address in list(self._guards):
            self._unguard(address)
        self.conductor.close()
        self.trust.close()
        for handler in (GUARD_HANDLER, REPORT_HANDLER):
            self.scheduler.handlers.pop(handler, None)

    def update_graph(self, scheduler: "Scheduler", *, tasks: Iterable[Key], **kwargs: Any) -> None:
        """New tasks are known, and none of them has started: find the groups among them."""
        self.trust.submitted(tasks, kwargs.get("annotations") or {})
        spec = self.conductor.state.spec
        outputs = [(key, found) for key in tasks if (found := spec(key)) is not None]
        if not outputs:
            return
        self.conductor.submitted(outputs)
        if not self._look.is_running():
            self.watch.rest()
            self._look.start()

    def transition(
        self, key: Key, start: str, finish: str, *args: Any, stimulus_id: str, **kwargs: Any
    ) -> None:
        """Write down what happened to a task of ours."""
        self.trust.moved(key, finish)
        group = self.conductor.group_of(key)
        if group is None:
            return
        now = time()
        if start in ("processing", "no-worker"):
            # The share was given up, or runs again: either leaves where its exception found it.
            self.conductor.state.drop_error(key)
        share = group.share_index(key)
        if finish == "processing":
            processing_on = self.scheduler.tasks[key].processing_on
            if share is not None and processing_on is not None:
                group.started[share] = now
                group.ran_on[share] = processing_on.address
        elif finish == "memory" and start == "processing":
            self._heard[kwargs["worker"]] = now
            group.home[key] = kwargs["worker"]
            if share is not None and share in group.started:
                # Not always where it was placed: what only waits may be stolen by another worker.
                group.ran_on[share] = kwargs["worker"]
                group.took[share] = now - group.started[share]
        self.conductor.note(group)

    def remove_worker(
        self, scheduler: "Scheduler", worker: str, *, stimulus_id: str = "", **kwargs: Any
    ) -> None:
        """A worker left: every group may have lost something."""
        if stimulus_id.startswith(EVICTION):
            self.conductor.history.evict(worker, time())
        self._unguard(worker)
        self._heard.pop(worker, None)
        self.watch.since.pop(worker, None)
        self.trust.worker_left()
        self.conductor.left(worker)

    def add_worker(self, scheduler: "Scheduler", worker: str) -> None:
        """A worker came, and may take what nobody could."""
        self._guard(worker)
        self.conductor.joined()

    def restart(self, scheduler: "Scheduler") -> None:
        """The scheduler forgot everything."""
        self.conductor.note_all()

    def log_event(self, topic: str, msg: Any) -> None:
        """A worker says that a cancelled share has left its slot, or what it made of results."""
        if topic != PLUGIN_NAME or not isinstance(msg, dict):
            return
        if msg.get("action") == "slot-free":
            self.conductor.history.stopped(msg["key"], time())
        elif msg.get("action") == "wrong-results":
            self.conductor.found_wrong(msg["group"], msg["shares"], msg["corrected"])
        elif msg.get("action") == "decoded-without":
            self.conductor.decoded_without(msg["group"], msg["amplification"])

    def _look_around(self) -> None:
        """Compare heartbeats with the clock."""
        if not self.conductor.groups and not self.watch.since:
            self._look.stop()
            self._heard.clear()
            return
        heard = {
            address: max(ws.last_seen, self._heard.get(address, 0.0))
            for address, ws in self.scheduler.workers.items()
        }
        interval = heartbeat_interval(len(heard))
        new, trusted = self.watch.look(heard, time(), interval, _LOOK_EVERY)
        if new or trusted:
            self.conductor.suspected(new, trusted)
        self.conductor.look()
        if self.watch.since and (new or time() > self._said + _SAY_EVERY):
            self._said = time()
            self.scheduler.log_event(SILENT_TOPIC, sorted(self.watch.since))

    async def report(self) -> dict[str, Any]:
        """What happened, as plain data."""
        return self.conductor.history.data(self.watch.since, self.conductor.health().slow)
