"""Who may be given work now, and whether others are about to come back.

Where everybody was silent, as when a network is gone for a while, the first that is heard again
would be given all that the others do. They follow within a heartbeat, if they follow.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from distributed.scheduler import heartbeat_interval

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler

__all__ = ["Returning"]


class Returning:
    """The workers of one scheduler that run, as of the last time somebody looked.

    Parameters
    ----------
    scheduler
        The scheduler.
    gathered
        Called when whoever was to follow the first has had the time to.
    """

    def __init__(self, scheduler: "Scheduler", gathered: Callable[[], None]) -> None:
        self._scheduler = scheduler
        self._gathered = gathered
        self._running: frozenset[str] | None = None
        self._waiting: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Wait for nobody."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def changed(self) -> bool:
        """Whether others run than at the last look."""
        return self._now() != self._running

    def look(self, suspects: Collection[str]) -> None:
        """Notice who runs."""
        before, self._running = self._running, self._now()
        if not (suspects and self._running):
            self.close()
        elif before is not None and not before:
            self.close()
            wait = heartbeat_interval(len(self._scheduler.workers))
            self._waiting = asyncio.get_running_loop().call_later(wait, self._all_here)

    def may_move(self) -> bool:
        """Whether what suspects do may be given to others."""
        return bool(self._scheduler.running) and self._waiting is None

    def _all_here(self) -> None:
        self._waiting = None
        self._gathered()

    def _now(self) -> frozenset[str]:
        return frozenset(ws.address for ws in self._scheduler.running)
