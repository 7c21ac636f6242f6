"""A sequence of faults as a value: drawn from one seed, written as JSON, replayed on any graph.

Every arm of a benchmark gets the same trace; so does every rerun of a failing test.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from dask_coded.errors import ParameterError
from dask_coded.testing._events import REMEDY, FaultEvent, FaultKind, FaultTarget
from dask_coded.testing._faults import TaskFaults
from dask_coded.testing._playback import Playback

__all__ = ["FaultTrace"]


@dataclass(frozen=True)
class FaultTrace:
    """A sequence of faults, immutable and readable by people.

    Parameters
    ----------
    events : tuple of FaultEvent
        In any order; each is done when its own time or point comes.
    seed : int or None
        The seed it was drawn from; None when it was written by hand.

    Examples
    --------
    >>> trace = FaultTrace.random(seed=1, workers=["w0", "w1"], duration=9.0, rate=0.2)
    >>> [(event.kind, event.worker, round(event.at, 1)) for event in trace.events]
    [('freeze', 'w1', 5.4), ('thaw', 'w1', 7.7)]
    >>> FaultTrace.from_json(trace.to_json()) == trace
    True
    """

    events: tuple[FaultEvent, ...]
    seed: int | None = None

    @classmethod
    def random(
        cls,
        seed: int,
        workers: Sequence[str],
        *,
        kinds: Sequence[FaultKind] = ("freeze",),
        duration: float = 60.0,
        rate: float = 0.1,
        hold: float | None = None,
        together: int = 1,
        factor: float = 10.0,
        faults: TaskFaults | None = None,
        points: Sequence[str] = (),
        occurrences: int = 1,
    ) -> "FaultTrace":
        """Faults at random times on random workers, each put right after a while.

        Parameters
        ----------
        seed : int
            Decides everything.
        workers : sequence of str
            Who may be hit.
        kinds : sequence of {"freeze", "kill", "slow", "inject"}
            What may happen; ended by thaw, replace, restore and clear.
        duration : float
            No fault begins later than this, s.
        rate : float
            Mean number of faults per second, over all workers.
        hold : float, optional
            How long each fault lasts, s; drawn between 1 s and 10 s by default.
        together : int
            At most so many workers are hit at the same time; a fault that would be one too many is
            left out. With `points`, when a fault strikes is not known: only so many are drawn.
        factor : float
            By which ``"slow"`` divides the quota.
        faults : TaskFaults, optional
            What ``"inject"`` injects; each time with a seed of its own.
        points : sequence of str
            When given, each fault strikes within the first second after a random one of these
            points, instead of at a time of its own.
        occurrences : int
            With `points`: after which occurrence, at random from 1 to this.

        Raises
        ------
        ParameterError
            If a kind has no remedy, there are no workers, or a number is out of range.
        """
        if not workers or not kinds or not set(kinds) <= set(REMEDY):
            raise ParameterError(
                f"a random trace needs workers and kinds among {sorted(REMEDY)}; "
                f"got {list(workers)} and {list(kinds)}"
            )
        if duration <= 0 or rate <= 0 or together < 1 or occurrences < 1:
            raise ParameterError(
                f"duration={duration}, rate={rate}, together={together} and "
                f"occurrences={occurrences} must be positive"
            )
        if ("inject" in kinds) != (faults is not None):
            raise ParameterError("kind 'inject' and faults= are given together or not at all")
        rng = np.random.default_rng(seed)
        events: list[FaultEvent] = []
        until: dict[str, float] = {}  # worker -> when its fault ends
        begin = float(rng.exponential(1 / rate))
        while begin <= duration:
            worker = str(rng.choice(list(workers)))
            kind = kinds[int(rng.integers(len(kinds)))]
            lasts = float(rng.uniform(1.0, 10.0)) if hold is None else hold
            own_seed = int(rng.integers(2**31))
            point = points[int(rng.integers(len(points)))] if points else None
            occurrence = int(rng.integers(1, occurrences + 1))
            offset = float(rng.uniform(0.0, 1.0))
            hit = sum(end > begin for end in until.values()) if not points else len(until)
            if until.get(worker, 0.0) <= begin and hit < together:
                until[worker] = float("inf") if points else begin + lasts
                event = FaultEvent(
                    kind,
                    worker,
                    at=offset if points else begin,
                    after=point,
                    occurrence=occurrence if points else 1,
                    factor=factor if kind == "slow" else None,
                    faults=replace(faults, seed=own_seed) if kind == "inject" and faults else None,
                )
                remedy = replace(
                    event, kind=REMEDY[kind], at=event.at + lasts, factor=None, faults=None
                )
                events += [event, remedy]
            begin += float(rng.exponential(1 / rate))
        return cls(tuple(sorted(events, key=lambda event: event.at)), seed)

    def to_json(self) -> str:
        """The trace as JSON text."""
        events = [event.to_dict() for event in self.events]
        return json.dumps({"seed": self.seed, "events": events}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "FaultTrace":
        """Inverse of :meth:`to_json`."""
        values = json.loads(text)
        return cls(tuple(map(FaultEvent.from_dict, values["events"])), values["seed"])

    @contextmanager
    def play(self, cluster: FaultTarget, *, undo: bool = True) -> Iterator[Playback]:
        """Do it, on a thread of its own, while the body of the ``with`` block runs.

        Leaving the block ends the playing, done or not. With `undo`, workers that are then still
        frozen, slow or injected are put right, so that the next arm begins on a healthy cluster;
        killed ones stay away.

        Yields
        ------
        Playback
            Says what was done, and waits for it.

        Raises
        ------
        EmulationError
            On leaving the block, if a worker could not be put right.
        """
        playback = Playback(self.events, cluster)
        try:
            yield playback
        finally:
            playback.stop(undo=undo)
