"""Four messages that a worker of distributed 2026.8 takes badly, made harmless on the worker.

*To hang up on a peer* again, before an attempt to connect to it has taken notice of the first time,
fails (``ConnectionPool.remove``). *To drop a copy* that a running task reads fails too,
although the scheduler is promised a refusal (``Scheduler.request_remove_replicas``). Either failure
ends the stream from the scheduler, and with it the worker. A busy worker, which reads its mail late
and in bulk, meets both.

*To compute* from what was itself computed from it once, as shares at rest are rebuilt from each
other, closes a ring of tasks that keep each other known for ever. *To compute* what was cancelled a
moment ago, told by one mail, starts it without the inputs that were dropped between the two.
"""

from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dask.typing import Key
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.metrics import time
from distributed.worker_state_machine import (
    FindMissingEvent,
    RemoveWorkerEvent,
    RescheduleEvent,
    StateMachineEvent,
)

if TYPE_CHECKING:
    from distributed import Worker

__all__ = ["GUARD_NAME", "GuardWorkerPlugin"]

GUARD_NAME = "dask-coded-guard"
#: Seconds until the scheduler is told of a copy that could not be dropped.
_TELL_LATER = 1.0
#: Seconds after which a fetch that was decided on has begun to connect.
_BEGUN = 0.05
_READING = frozenset({"executing", "long-running"})
#: States of tasks that wait for no input.
_AT_REST = frozenset({"memory", "released", "fetch", "flight", "missing", "error"})


class GuardWorkerPlugin(WorkerPlugin):  # type: ignore[misc]
    """Stands before three of a worker's stream handlers, and before what runs a task."""

    name = GUARD_NAME
    idempotent = True

    def setup(self, worker: "Worker") -> None:
        """Run on the worker."""
        self.worker = worker
        handlers = worker.stream_handlers
        ours = {
            "compute-task": self.compute,
            "remove-replicas": self.drop,
            "remove-worker": self.hang_up,
        }
        self._before = {op: handlers[op] for op in ours}
        self._compute: Callable[..., Any] = handlers["compute-task"]
        self._drop: Callable[..., Any] = handlers["remove-replicas"]
        handlers.update(ours)
        self._execute: Callable[..., Awaitable[StateMachineEvent]] = worker.execute
        worker.execute = self.execute

    def teardown(self, worker: "Worker") -> None:
        """Give the handlers back."""
        worker.stream_handlers.update(self._before)
        del worker.execute

    async def execute(self, key: Key, *, stimulus_id: str) -> StateMachineEvent:
        """Run a task; ask for it anew where its inputs were let go of meanwhile."""
        state = self.worker.state
        ts = state.tasks.get(key)
        if ts is not None and any(
            dep.key not in self.worker.data and dep.key not in state.actors
            for dep in ts.dependencies
        ):
            return RescheduleEvent(key=key, stimulus_id=f"dask-coded-inputs-{time()}")
        return await self._execute(key, stimulus_id=stimulus_id)

    def compute(self, key: Key, **message: Any) -> None:
        """Compute a task; what was made of it earlier no longer counts as waiting for it."""
        ts = self.worker.state.tasks.get(key)
        if ts is not None:
            for reader in [reader for reader in ts.dependents if reader.state in _AT_REST]:
                reader.dependencies.discard(ts)
                ts.dependents.discard(reader)
        self._compute(key=key, **message)

    def hang_up(self, worker: str, stimulus_id: str) -> None:
        """Break connections to a peer, and ask at once who else has what it was to send."""
        self._break(worker)
        self.worker.handle_stimulus(
            RemoveWorkerEvent(worker=worker, stimulus_id=stimulus_id),
            FindMissingEvent(stimulus_id=stimulus_id),
        )
        # What was to be fetched from it by the same mail has not begun to connect, and would wait
        # for as long as connecting may take.
        self.worker.loop.call_later(_BEGUN, self._break, worker)

    def _break(self, worker: str) -> None:
        # Raised where an attempt to connect is being given up already.
        with suppress(RuntimeError):
            self.worker.rpc.remove(worker)

    def drop(self, keys: Collection[Key], stimulus_id: str) -> None:
        """Drop copies, except those that are being read; say later that these are still here."""
        read = [key for key in keys if self._is_read(key)]
        kept = set(read)
        self._drop(keys=[key for key in keys if key not in kept], stimulus_id=stimulus_id)
        if read:
            # At once, the scheduler would repeat its request at once.
            self.worker.loop.call_later(_TELL_LATER, self._tell, read, stimulus_id)

    def _is_read(self, key: Key) -> bool:
        ts = self.worker.state.tasks.get(key)
        return ts is not None and any(reader.state in _READING for reader in ts.dependents)

    def _tell(self, keys: list[Key], stimulus_id: str) -> None:
        here = [
            key
            for key in keys
            if (ts := self.worker.state.tasks.get(key)) is not None and ts.state == "memory"
        ]
        if here:
            self.worker.batched_stream.send(
                {"op": "add-keys", "keys": here, "stimulus_id": stimulus_id}
            )
