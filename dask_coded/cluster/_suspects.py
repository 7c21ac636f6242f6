"""Which workers are silent for too long. Pure: times in, names out."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Suspicion", "Watch"]

#: A worker may be silent for so many times the longest silence of late that proved harmless, but
#: never for longer than so many limits: a busy worker is not accused again and again, and one that
#: freezes is still known well within two limits, with time left to decode what it owes.
_OWN_FACTOR, _MOST_LIMITS = 2.0, 1.5
#: Seconds in which the memory of a long silence halves.
_HALF_LIFE = 10.0
#: The first heartbeat of a worker comes so many seconds after it registered, whatever follows.
_FIRST_HEARTBEAT = 1.0


@dataclass(frozen=True)
class Suspicion:
    """How long silence may last, in seconds or heartbeats."""

    factor: float = 3.0
    """Heartbeats that may be missed."""
    minimum: float = 1.5

    def limit(self, heartbeat: float) -> float:
        return max(self.minimum, self.factor * heartbeat)


@dataclass
class Watch:
    """Workers that were silent for longer than the limit, and since when they are suspect.

    A watcher that was stopped itself, or too busy to read its mail, has not heard anybody: the
    time between two looks counts as silence only as far as it was expected. A worker that was
    silent for longer than usual, and came back by itself, may be so again.

    Examples
    --------
    >>> watch = Watch(Suspicion(factor=3, minimum=1))
    >>> watch.look({"a": 10.0, "b": 7.9}, now=10.0, heartbeat=0.5, interval=0.1)
    (frozenset({'b'}), frozenset())
    >>> watch.look({"a": 10.0, "b": 10.05}, now=10.1, heartbeat=0.5, interval=0.1)
    (frozenset(), frozenset({'b'}))
    """

    suspicion: Suspicion
    since: dict[str, float] = field(default_factory=dict)
    """When each suspect became one."""
    _last_look: float | None = None
    _deaf_until: float = float("-inf")
    _heard: dict[str, float] = field(default_factory=dict)
    _silences: dict[str, float] = field(default_factory=dict)
    """Longest silence of each worker that it broke itself, fading with time."""

    def look(
        self, last_heard: Mapping[str, float], now: float, heartbeat: float, interval: float
    ) -> tuple[frozenset[str], frozenset[str]]:
        """New suspects, and suspects that are trusted again.

        Parameters
        ----------
        last_heard
            When each worker was last heard of.
        now
            The present, on the same clock.
        heartbeat
            Seconds between two heartbeats of a healthy worker.
        interval
            Seconds after which the next look was meant to come.
        """
        limit = self.suspicion.limit(heartbeat)
        if self._last_look is not None and now - self._last_look > max(5 * interval, limit / 2):
            self._deaf_until = now
        self._last_look = now
        self._learn(last_heard, limit)
        silent = {
            worker
            for worker, heard in last_heard.items()
            if now - max(heard, self._deaf_until) > self._limit(worker, limit)
        }
        heard_again = {
            worker
            for worker, since in self.since.items()
            if worker not in last_heard or last_heard[worker] > since
        }
        new = silent - self.since.keys()
        for worker in heard_again:
            del self.since[worker]
        self.since.update(dict.fromkeys(new, now))
        return frozenset(new), frozenset(heard_again)

    def _learn(self, last_heard: Mapping[str, float], limit: float) -> None:
        for worker, heard in last_heard.items():
            before = self._heard.get(worker)
            if before is None or heard <= before or before < self._deaf_until:
                continue
            silence = heard - before
            faded = self._silences.get(worker, 0.0) * 0.5 ** (silence / _HALF_LIFE)
            # Busy workers are silent for a little too long. Who was silent for longer than anybody
            # may be was frozen, and is not waited for any longer the next time.
            frozen = silence > _MOST_LIMITS * limit
            self._silences[worker] = faded if frozen else max(silence, faded)
        self._heard = dict(last_heard)
        self._silences = {w: s for w, s in self._silences.items() if w in last_heard}

    def _limit(self, worker: str, limit: float) -> float:
        own = _OWN_FACTOR * self._silences.get(worker, _FIRST_HEARTBEAT)
        return min(max(limit, own), _MOST_LIMITS * limit)

    def rest(self) -> None:
        """Nobody looks for a while; the time until the next look says nothing."""
        self._last_look = None
        self._heard.clear()

    @property
    def suspects(self) -> frozenset[str]:
        return frozenset(self.since)
