"""One thing done to one worker at one moment, as a value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, TypeAlias, get_args

from dask_coded.errors import ParameterError
from dask_coded.testing._faults import TaskFaults
from dask_coded.testing._points import PointBoard

__all__ = ["REMEDY", "FaultEvent", "FaultKind", "FaultTarget", "perform"]

FaultKind: TypeAlias = Literal[
    "freeze", "thaw", "kill", "replace", "slow", "restore", "inject", "clear"
]
#: What ends each lasting fault. A node that is slow or gone is put right like one that is frozen.
REMEDY: dict[FaultKind, FaultKind] = {
    "freeze": "thaw",
    "kill": "replace",
    "slow": "restore",
    "inject": "clear",
}


@dataclass(frozen=True)
class FaultEvent:
    """One thing done to one worker.

    Parameters
    ----------
    kind : {"freeze", "thaw", "kill", "replace", "slow", "restore", "inject", "clear"}
        What is done, by the method of that name of :class:`EmulatedCluster` (``"clear"`` injects
        no faults).
    worker : str
        To whom.
    at : float
        Seconds after the trace began to play or, with `after`, after that point.
    after : str, optional
        A point to wait for: ``"name"``, or ``"name@worker"`` for one reached by that worker.
    occurrence : int
        Which one of the points of that name since the trace began to play, from 1.
    factor : float, optional
        For ``"slow"``: divides the worker's quota.
    faults : TaskFaults, optional
        For ``"inject"``.

    Raises
    ------
    ParameterError
        If the kind is unknown, a time is negative, or the kind's own parameter is missing.

    Examples
    --------
    >>> FaultEvent("freeze", "w3", at=0.05, after="product-started", occurrence=7).worker
    'w3'
    """

    kind: FaultKind
    worker: str
    at: float = 0.0
    after: str | None = None
    occurrence: int = 1
    factor: float | None = None
    faults: TaskFaults | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise ParameterError(f"kind={self.kind!r} is none of {get_args(FaultKind)}")
        if self.at < 0 or self.occurrence < 1:
            raise ParameterError(f"{self}: at must be at least 0, occurrence at least 1")
        if (self.kind == "slow") != (self.factor is not None):
            raise ParameterError(f"{self}: 'slow' takes a factor, and nothing else does")
        if (self.kind == "inject") != (self.faults is not None):
            raise ParameterError(f"{self}: 'inject' takes faults, and nothing else does")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; parameters that were left out stay out."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        values = {f.name: given[f.name] for f in fields(self) if given[f.name] != f.default}
        if self.faults is not None:
            values["faults"] = self.faults.to_dict()
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "FaultEvent":
        """Inverse of :meth:`to_dict`."""
        faults = values.get("faults")
        if faults is None:
            return cls(**values)
        return cls(**{**values, "faults": TaskFaults.from_dict(faults)})


class FaultTarget(Protocol):
    """What a trace can be played on; :class:`EmulatedCluster` is one."""

    @property
    def points(self) -> PointBoard: ...

    def freeze(self, worker: str) -> None: ...

    def thaw(self, worker: str) -> None: ...

    def kill(self, worker: str) -> None: ...

    def replace(self, worker: str) -> str: ...

    def slow(self, worker: str, factor: float) -> None: ...

    def restore(self, worker: str) -> None: ...

    def inject(self, worker: str, faults: TaskFaults | None) -> None: ...


def perform(event: FaultEvent, cluster: FaultTarget) -> None:
    """Do one event now."""
    deeds: dict[FaultKind, Callable[[], object]] = {
        "freeze": lambda: cluster.freeze(event.worker),
        "thaw": lambda: cluster.thaw(event.worker),
        "kill": lambda: cluster.kill(event.worker),
        "replace": lambda: cluster.replace(event.worker),
        "slow": lambda: cluster.slow(event.worker, event.factor or 1.0),
        "restore": lambda: cluster.restore(event.worker),
        "inject": lambda: cluster.inject(event.worker, event.faults),
        "clear": lambda: cluster.inject(event.worker, None),
    }
    deeds[event.kind]()
