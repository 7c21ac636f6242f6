"""Plays fault events on a cluster, on a thread of its own, and records what was really done."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from dask_coded.errors import EmulationError, ParameterError
from dask_coded.testing._events import REMEDY, FaultEvent, FaultKind, FaultTarget, perform

__all__ = ["Playback", "PlayedFault"]


@dataclass(frozen=True)
class PlayedFault:
    """What was really done.

    Parameters
    ----------
    event : FaultEvent
        What was to be done.
    due, done : float
        When it was to happen and when it had happened, s after the trace began to play.
    error : str or None
        Why it could not be done, for example because the worker was gone already.
    """

    event: FaultEvent
    due: float
    done: float
    error: str | None = None


class Playback:
    """Events being played; what :meth:`FaultTrace.play` yields."""

    def __init__(self, events: Sequence[FaultEvent], cluster: FaultTarget) -> None:
        self._cluster = cluster
        self._pending = list(events)
        self._record: list[PlayedFault] = []
        self._changed = threading.Condition()
        self._stopped = False
        self._start_position = cluster.points.position()
        self._start = time.monotonic()
        self._thread = threading.Thread(target=self._play, name="fault-trace", daemon=True)
        self._thread.start()

    @property
    def record(self) -> tuple[PlayedFault, ...]:
        """What was done so far, in order."""
        with self._changed:
            return tuple(self._record)

    def wait(self, count: int | None = None, timeout: float | None = None) -> bool:
        """Wait until `count` events, or all of the trace, were done; says whether they were."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._pending if count is None else len(self._record) >= count,
                timeout,
            )

    def stop(self, *, undo: bool) -> None:
        """Play no further; put right what is still wrong."""
        with self._changed:
            self._stopped = True
        # The player may be about to wait: wake it until it has left.
        while self._thread.is_alive():
            self._cluster.points.wake()
            self._thread.join(0.05)
        if not undo:
            return
        failed = []
        for remedy in self._open_faults():
            try:
                perform(remedy, self._cluster)
            except EmulationError as error:
                failed.append(f"{remedy.kind} {remedy.worker}: {error}")
        if failed:
            raise EmulationError("after the trace, could not " + "; ".join(failed))

    def _open_faults(self) -> list[FaultEvent]:
        still: dict[tuple[FaultKind, str], None] = {}
        gone: set[str] = set()
        for played in self._record:
            kind, worker = played.event.kind, played.event.worker
            if played.error is not None:
                continue
            if kind in ("kill", "replace"):
                (gone.add if kind == "kill" else gone.discard)(worker)
                still = {key: None for key in still if key[1] != worker}
            elif kind in REMEDY:
                still[REMEDY[kind], worker] = None
            else:
                still.pop((kind, worker), None)
        return [FaultEvent(kind, worker) for kind, worker in still if worker not in gone]

    def _due(self, event: FaultEvent) -> float | None:
        """When to do it, s since the start; None while its point was not reached."""
        if event.after is None:
            return event.at
        points = self._cluster.points
        point = points.find(event.after, event.occurrence, start=self._start_position)
        return None if point is None else point.at - self._start + event.at

    def _play(self) -> None:
        points = self._cluster.points
        while True:
            seen = points.position()
            with self._changed:
                if self._stopped or not self._pending:
                    return
                waiting = list(self._pending)
            due = {event: when for event in waiting if (when := self._due(event)) is not None}
            first = min(due, key=due.__getitem__, default=None)
            left = None if first is None else due[first] - (time.monotonic() - self._start)
            if first is not None and left is not None and left <= 0:
                self._do(first, due[first])
            else:
                points.wait_for_change(seen, left)

    def _do(self, event: FaultEvent, due: float) -> None:
        error = None
        try:
            perform(event, self._cluster)
        except (EmulationError, ParameterError) as refusal:
            error = str(refusal)
        done = time.monotonic() - self._start
        with self._changed:
            self._pending.remove(event)
            self._record.append(PlayedFault(event, due, done, error))
            self._changed.notify_all()
