"""Two messages that can close a worker of distributed 2026.8, made harmless on the worker.

*To hang up on a peer* again, before an attempt to connect to it has taken notice of the first time,
fails (``ConnectionPool.remove``). *To drop a copy* that a running task reads fails too,
although the scheduler is promised a refusal (``Scheduler.request_remove_replicas``). Either failure
ends the stream from the scheduler, and with it the worker. A busy worker, which reads its mail late
and in bulk, meets both.
"""

from collections.abc import Callable, Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dask.typing import Key
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.worker_state_machine import FindMissingEvent, RemoveWorkerEvent

if TYPE_CHECKING:
    from distributed import Worker

__all__ = ["GUARD_NAME", "GuardWorkerPlugin"]

GUARD_NAME = "dask-coded-guard"
#: Seconds until the scheduler is told of a copy that could not be dropped.
_TELL_LATER = 1.0
_READING = frozenset({"executing", "long-running"})


class GuardWorkerPlugin(WorkerPlugin):  # type: ignore[misc]
    """Stands before two of a worker's stream handlers."""

    name = GUARD_NAME
    idempotent = True

    def setup(self, worker: "Worker") -> None:
        """Run on the worker."""
        self.worker = worker
        handlers = worker.stream_handlers
        self._before = {op: handlers[op] for op in ("remove-worker", "remove-replicas")}
        self._drop: Callable[..., Any] = handlers["remove-replicas"]
        handlers["remove-worker"] = self.hang_up
        handlers["remove-replicas"] = self.drop

    def teardown(self, worker: "Worker") -> None:
        """Give the handlers back."""
        worker.stream_handlers.update(self._before)

    def hang_up(self, worker: str, stimulus_id: str) -> None:
        """Break connections to a peer, and ask at once who else has what it was to send."""
        # Raised where an attempt to connect is being given up already.
        with suppress(RuntimeError):
            self.worker.rpc.remove(worker)
        self.worker.handle_stimulus(
            RemoveWorkerEvent(worker=worker, stimulus_id=stimulus_id),
            FindMissingEvent(stimulus_id=stimulus_id),
        )

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
