"""What is run and what happens to it: the size of the job, and the faults that strike it."""

from dataclasses import dataclass

from dask_coded.errors import ParameterError
from dask_coded.testing import FaultEvent, FaultTrace

__all__ = ["COMPONENTS", "ITERATION", "Story"]

#: The point that a run announces as an iteration begins; the faults wait for it.
ITERATION = "iteration"
#: Components that are shown and checked.
COMPONENTS = 8
_SLOW_BY = 10
_LEAST_WORKERS = 4


@dataclass(frozen=True)
class Story:
    """One run of the demo, the same for both arms.

    Parameters
    ----------
    n_workers : int
        Worker processes of each cluster.
    n_iterations : int
        Products with ``A.T @ A``.
    every : int
        Take one patch of so many.
    plain_limits : pair of float
        Plain Dask is given up when it has iterated for as long as the coded run did; but not
        before so many seconds, and not after so many.
    faults : bool
        Whether there are any.

    Raises
    ------
    ParameterError
        If two of the workers are too many to lose.
    """

    n_workers: int = 10
    n_iterations: int = 20
    every: int = 1
    plain_limits: tuple[float, float] = (30.0, 45.0)
    faults: bool = True

    parity = 2
    #: More vectors than components: the iteration converges that much faster.
    block = COMPONENTS + 4
    slow_worker = "w2"
    frozen_worker = "w3"

    def __post_init__(self) -> None:
        if self.n_workers < _LEAST_WORKERS:
            raise ParameterError(
                f"{self.n_workers} workers are too few to lose {self.parity} of them; "
                f"use --workers {_LEAST_WORKERS} or more"
            )

    @property
    def slow_from(self) -> int:
        """In this iteration, from 0, one worker becomes slow for good."""
        return self.n_iterations // 3

    @property
    def frozen_from(self) -> int:
        """In this iteration, from 0, another worker freezes for good."""
        return 2 * self.n_iterations // 3

    def trace(self) -> FaultTrace:
        """The faults, each as its iteration begins."""
        if not self.faults:
            return FaultTrace(())
        slow = FaultEvent(
            "slow",
            self.slow_worker,
            after=ITERATION,
            occurrence=self.slow_from + 1,
            factor=_SLOW_BY,
        )
        freeze = FaultEvent(
            "freeze", self.frozen_worker, after=ITERATION, occurrence=self.frozen_from + 1
        )
        return FaultTrace((slow, freeze))

    def phases(self) -> list[tuple[str, range]]:
        """What is wrong, and in which iterations."""
        every = range(self.n_iterations)
        if not self.faults:
            return [("all workers well", every)]
        return [
            ("all workers well", every[: self.slow_from]),
            ("one slow", every[self.slow_from : self.frozen_from]),
            ("one slow, one frozen", every[self.frozen_from :]),
        ]

    def plain_limit(self, coded_seconds: float) -> float:
        """How long plain Dask may iterate when the coded run took so long, s."""
        least, most = self.plain_limits
        return min(max(least, coded_seconds), most)

    def event(self, iteration: int) -> str:
        """What strikes in this iteration, in words; empty if nothing does."""
        if self.faults and iteration == self.slow_from:
            return f"worker {self.slow_worker} becomes {_SLOW_BY} times slower"
        if self.faults and iteration == self.frozen_from:
            return f"worker {self.frozen_worker} freezes"
        return ""
