"""Keeping a silent worker from holding up the others: public scheduler interfaces only."""

import logging
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from distributed.comm.core import CommClosedError
from distributed.core import Status
from distributed.metrics import time

from dask_coded.cluster._copies import keep_off

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler

__all__ = ["EVICTION", "Isolation"]

logger = logging.getLogger("distributed.scheduler.dask_coded")

#: Begins the stimulus of every eviction.
EVICTION = "dask-coded-evict"

_STATUS = "worker-status-change"
#: What a worker goes back and forth between while it works; nothing else is hidden.
_OURS = (Status.running, Status.paused)

# Requests are gathered, and repeated only so often: who waits for a silent worker again meanwhile
# loses no more than this.
_GATHER = 0.01
#: Seconds after which a transfer that was decided on has begun to connect.
_BEGUN = 0.05
_REPEAT = 0.5


class Isolation:
    """What is done about suspects of one scheduler. None of it but :meth:`evict` harms them."""

    def __init__(self, scheduler: "Scheduler", guarded: Collection[str]) -> None:
        self._scheduler = scheduler
        self._guarded = guarded
        self._declared: dict[str, Status] = {}
        """Isolated workers, and what each says of itself meanwhile: running, or paused."""
        deliver = scheduler.stream_handlers[_STATUS]
        scheduler.stream_handlers[_STATUS] = partial(self._status_change, deliver)
        self._hung_up: dict[str, float] = {}
        self._due: dict[str, object] = {}

    def close(self) -> None:
        """Forget what was still to be done."""
        for handle in self._due.values():
            self._scheduler.loop.remove_timeout(handle)
        self._due.clear()
        handler = self._scheduler.stream_handlers.get(_STATUS)
        if isinstance(handler, partial) and handler.func == self._status_change:
            self._scheduler.stream_handlers[_STATUS] = handler.args[0]

    def isolate(self, address: str, suspects: Iterable[str]) -> None:
        """Place nothing new on a worker, and look for nothing there that others hold."""
        logger.warning("%s is silent: its results do not count until it is heard again", address)
        self._pause(address)
        try:
            keep_off(self._scheduler, address, suspects)
        except CommClosedError:
            # It is about to be removed, and has no copies any more then.
            logger.debug("%s cannot be told to drop copies", address, exc_info=True)

    def _pause(self, address: str) -> None:
        ws = self._scheduler.workers.get(address)
        if ws is None or address in self._declared or ws.status not in _OURS:
            return
        self._declared[address] = ws.status
        stimulus = f"dask-coded-suspect-{time()}"
        self._scheduler.handle_worker_status_change(Status.paused, ws, stimulus)

    def trust(self, address: str) -> None:
        """Undo :meth:`isolate`: the worker is again what it said of itself."""
        ws = self._scheduler.workers.get(address)
        status = self._declared.pop(address, None)
        if ws is not None and status is not None and ws.status == Status.paused:
            stimulus = f"dask-coded-trusted-{time()}"
            self._scheduler.handle_worker_status_change(status, ws, stimulus)

    def forget(self, address: str) -> None:
        """A worker was removed; whoever comes with its address is another one."""
        self._declared.pop(address, None)
        # Who gathers results from it may have decided so, and not have begun to connect. It would
        # try for as long as connecting may take.
        self._scheduler.loop.call_later(_BEGUN, self._give_up, address)

    def _give_up(self, address: str) -> None:
        if address not in self._scheduler.workers:
            with suppress(RuntimeError):  # an attempt to connect is being given up already
                self._scheduler.rpc.remove(address)

    def _status_change(
        self,
        deliver: Callable[..., None],
        status: str | Status,
        worker: str,
        stimulus_id: str,
    ) -> None:
        # Scheduled on our account as paused, a worker may pause, or go on, for reasons of its own:
        # that counts when it is trusted again.
        if worker in self._declared:
            declared = Status[status] if isinstance(status, str) else status
            if declared in _OURS:
                self._declared[worker] = declared
                return
            del self._declared[worker]
        deliver(status=status, worker=worker, stimulus_id=stimulus_id)

    def hang_up(self, addresses: Iterable[str]) -> None:
        """Break every transfer from these workers: who waits for one asks again where to go.

        Call it when what they hold is no longer looked for there; a transfer that is broken
        earlier begins again.
        """
        for address in addresses:
            if address not in self._due:
                wait = max(_GATHER, self._hung_up.get(address, 0.0) + _REPEAT - time())
                self._due[address] = self._scheduler.loop.call_later(wait, self._hang_up, address)

    def _hang_up(self, address: str) -> None:
        del self._due[address]
        known, now = self._scheduler.workers, time()
        self._hung_up = {a: when for a, when in self._hung_up.items() if a in known}
        self._hung_up[address] = now
        with suppress(RuntimeError):  # an attempt to connect is being given up already
            self._scheduler.rpc.remove(address)
        message = {
            "op": "remove-worker",
            "worker": address,
            "stimulus_id": f"dask-coded-hang-up-{now}",
        }
        for other in known:
            # Without the guard it may close a worker that hears it twice in one go.
            if other != address and other in self._guarded:
                self._scheduler.worker_send(other, message)

    def evict(self, address: str) -> None:
        """Remove a worker from the cluster without waiting for it."""
        self._declared.pop(address, None)
        self._scheduler.loop.add_callback(
            self._scheduler.remove_worker,
            address=address,
            stimulus_id=f"{EVICTION}-{time()}",
            close=False,
        )
