"""Private data stays on trusted workers, whatever Dask would like to do with it.

Tasks submitted under :func:`confined` carry the addresses they may be known to as an annotation of
the whole graph, which no fusion loses. The scheduler spreads it: what a private task reads, and
whatever is computed from it later, is private too. Enforced are

* restrictions, strict ones, set again each time the task is about to be placed;
* messages: an order to compute or to copy a private key at any other worker is not sent. Stealing,
  replication, rebalancing, the memory manager and retirement all end here;
* errors: a task that could run only elsewhere fails with :class:`TrustError`, and waits while a
  trusted worker is there that cannot take it at the moment.

Trust is in addresses, as names can be taken by anybody who joins.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import dask
from dask.typing import Key
from distributed.core import error_message
from distributed.metrics import time

from dask_coded.errors import TrustError

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, TaskState

__all__ = ["Trust", "confined"]

_ANNOTATION = "dask_coded_trusted"
#: Restrictions of a task that is to fail: an address that nobody has.
_NOWHERE = frozenset({"nowhere"})


@contextlib.contextmanager
def confined(workers: Sequence[str]) -> Iterator[None]:
    """Keep all that is submitted inside, and all that is made of it, on these workers.

    Parameters
    ----------
    workers
        Addresses. The runtime must be enabled on the scheduler (:func:`enable`).

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> from dask_coded.cluster import confined, enable
    >>> with Client(processes=False, n_workers=1, dashboard_address=None) as client:
    ...     enable(client)
    ...     with confined(list(client.scheduler_info()["workers"])):
    ...         x = client.persist(da.ones(4))
    ...     float(x.sum().compute())
    4.0
    """
    addresses = list(workers)
    with dask.annotate(
        workers=addresses, allow_other_workers=False, **{_ANNOTATION: tuple(addresses)}
    ):
        yield


class Trust:
    """Which keys of one scheduler may be known to which workers."""

    def __init__(self, scheduler: "Scheduler") -> None:
        self._scheduler = scheduler
        self._allowed: dict[Key, frozenset[str]] = {}
        self._refused: dict[Key, str] = {}
        self._replaced: dict[str, Any] = {}

    def close(self) -> None:
        """Give the scheduler its own methods back."""
        self._allowed.clear()
        self._refused.clear()
        self._unguard()

    # What the scheduler does

    def submitted(self, tasks: Iterable[Key], annotations: Mapping[str, Any]) -> None:
        """New tasks are known, and none of them has started."""
        marked = annotations.get(_ANNOTATION)
        if not marked and not self._allowed:
            return
        known = self._scheduler.tasks
        front: list[TaskState] = []
        for key, workers in (marked or {}).items():
            self._confine(known[key], frozenset(workers))
            front += [known[key], *self._confine_sources(known[key])]
        front += [known[key] for key in tasks if key not in self._allowed and self._reads(key)]
        while front:
            ts = front.pop()
            sources = [self._allowed[d.key] for d in ts.dependencies if d.key in self._allowed]
            known_to = self._allowed.get(ts.key)
            if sources and not (known_to and all(known_to <= source for source in sources)):
                self._confine(ts, frozenset.intersection(*sources))
            front += [dts for dts in ts.dependents if dts.key not in self._allowed]

    def moved(self, key: Key, finish: str) -> None:
        """A task changed its state."""
        allowed = self._allowed.get(key)
        if allowed is None:
            return
        if finish == "forgotten":
            self._allowed.pop(key, None)
            self._refused.pop(key, None)
            if not self._allowed:
                self._unguard()
        elif finish == "waiting":
            self._confine(self._scheduler.tasks[key], allowed)
        elif finish == "no-worker":
            self._scheduler.loop.add_callback(self._look_for_homeless)

    def worker_left(self) -> None:
        """It may have been the last that was trusted."""
        if self._allowed:
            self._scheduler.loop.add_callback(self._look_for_homeless)

    def _look_for_homeless(self) -> None:
        """Fail what no trusted worker can run any more."""
        for ts in list(self._scheduler.unrunnable):
            allowed = self._allowed.get(ts.key)
            if allowed is None:
                continue
            if ts.key in self._refused:
                self._fail(ts.key, self._refused[ts.key])
            elif not allowed & self._scheduler.workers.keys():
                self._fail(
                    ts.key,
                    f"none of its trusted workers {', '.join(sorted(allowed))} is there any more. "
                    "Submit it again with others",
                )

    # Keys

    def _reads(self, key: Key) -> bool:
        return any(d.key in self._allowed for d in self._scheduler.tasks[key].dependencies)

    def _confine_sources(self, ts: "TaskState") -> "list[TaskState]":
        """What was known before and is read now is private too, as far back as anything is kept."""
        allowed = self._allowed[ts.key]
        found: list[TaskState] = []
        front = [dts for dts in ts.dependencies if self._allowed.get(dts.key) != allowed]
        while front:
            source = front.pop()
            found.append(source)
            self._confine(source, allowed)
            elsewhere = {ws.address for ws in source.who_has or ()} - allowed
            if elsewhere:
                self._refuse(
                    ts,
                    f"{source.key!r}, of which it is made, is held by "
                    f"{', '.join(sorted(elsewhere))}, which is not trusted. Load it on trusted "
                    "workers, within confined()",
                )
            front += [dts for dts in source.dependencies if dts.key not in self._allowed]
        return found

    def _confine(self, ts: "TaskState", allowed: frozenset[str]) -> None:
        """Let only these workers know a task, or fewer if it was confined before."""
        allowed &= self._allowed.get(ts.key, allowed)
        if not self._allowed:
            self._guard()
        self._allowed[ts.key] = allowed
        demanded = None if ts.loose_restrictions else ts.worker_restrictions
        places = allowed & demanded if demanded else allowed
        ts.host_restrictions = None
        ts.worker_restrictions, ts.loose_restrictions = set(places) or set(_NOWHERE), False
        if not places:
            self._refuse(
                ts,
                f"it is to run on {', '.join(sorted(demanded or ())) or 'nobody'}, but depends on "
                f"private data, which only {', '.join(sorted(allowed)) or 'nobody'} may know",
            )
        elif ts.processing_on is not None and ts.processing_on.address not in allowed:
            self._refuse(ts, "it runs on a worker that is not trusted. Submit it within confined()")

    def _refuse(self, ts: "TaskState", reason: str) -> None:
        """Let a task go nowhere; it fails when it is about to be placed."""
        self._refused.setdefault(ts.key, reason)
        ts.worker_restrictions, ts.loose_restrictions = set(_NOWHERE), False
        ts.host_restrictions = None

    def _fail(self, key: Key, reason: str) -> None:
        ts = self._scheduler.tasks.get(key)
        if ts is None or ts.state not in ("no-worker", "processing"):
            return
        if ts.processing_on is not None and not self._barred(key, ts.processing_on.address):
            return
        error = error_message(TrustError(f"{key!r} cannot run: {reason}"))
        details = {
            name: error[name]
            for name in ("exception", "traceback", "exception_text", "traceback_text")
        }
        stimulus = f"dask-coded-trust-{time()}"
        recommendations = self._scheduler.transition(key, "erred", stimulus, cause=key, **details)
        self._scheduler.transitions(recommendations, stimulus)

    # Messages

    def _barred(self, key: Key, address: str) -> bool:
        allowed = self._allowed.get(key)
        return allowed is not None and address not in allowed

    def _guard(self) -> None:
        """Stand between the scheduler and its workers, while there is anything private."""
        for name in ("send_all", "worker_send", "request_acquire_replicas", "gather_on_worker"):
            self._replaced[name] = getattr(self._scheduler, name)
            setattr(self._scheduler, name, partial(getattr(self, f"_{name}"), self._replaced[name]))
        self._copy = self._scheduler.handlers["replicate"]
        self._scheduler.handlers["replicate"] = self._replicate

    def _unguard(self) -> None:
        for name in self._replaced:
            vars(self._scheduler).pop(name, None)
        if self._replaced:
            self._scheduler.handlers["replicate"] = self._copy
        self._replaced.clear()

    def _withheld(self, address: str, message: Mapping[str, Any]) -> bool:
        if message.get("op") != "compute-task" or not self._barred(message["key"], address):
            return False
        reason = f"it was about to be sent to {address}, which is not trusted"
        self._scheduler.loop.add_callback(self._fail, message["key"], reason)
        return True

    def _send_all(self, send: Any, client_msgs: Any, worker_msgs: Any) -> None:
        sent = {
            address: [message for message in messages if not self._withheld(address, message)]
            for address, messages in worker_msgs.items()
        }
        send(client_msgs, sent)

    def _worker_send(self, send: Any, worker: str, msg: dict[str, Any]) -> None:
        if not self._withheld(worker, msg):
            send(worker, msg)

    def _request_acquire_replicas(
        self, request: Any, addr: str, keys: Iterable[Key], *, stimulus_id: str
    ) -> None:
        """Copies go to the trusted worker with the most room instead, if there is another."""
        targets: dict[str, list[Key]] = {}
        for key in keys:
            if not self._barred(key, addr):
                targets.setdefault(addr, []).append(key)
                continue
            holders = self._scheduler.tasks[key].who_has or set()
            trusted = [
                ws for ws in self._scheduler.running - holders if ws.address in self._allowed[key]
            ]
            if trusted:
                roomy = min(trusted, key=lambda ws: ws.nbytes)
                targets.setdefault(roomy.address, []).append(key)
        for address, wanted in targets.items():
            request(address, wanted, stimulus_id=stimulus_id)

    async def _gather_on_worker(
        self, gather: Any, worker_address: str, who_has: dict[Key, list[str]]
    ) -> set[Key]:
        barred = {key for key in who_has if self._barred(key, worker_address)}
        free = {key: holders for key, holders in who_has.items() if key not in barred}
        failed: set[Key] = await gather(worker_address, free) if free else set()
        return failed | barred

    async def _replicate(
        self, keys: Sequence[Key], workers: Iterable[str] | None = None, **options: Any
    ) -> Any:
        """Refuse what would never end: copies that are not made are tried again for ever."""
        scheduler = self._scheduler
        targets = set(scheduler.workers if workers is None else scheduler.workers_list(workers))
        private = [key for key in keys if not targets <= self._allowed.get(key, targets)]
        if private:
            allowed = sorted(self._allowed[private[0]])
            raise TrustError(
                f"{private[0]!r} is private and cannot be replicated to workers that are not "
                f"trusted; replicate it with workers={allowed}"
            )
        return await self._copy(keys=keys, workers=workers, **options)
