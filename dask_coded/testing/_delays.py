"""How long tasks are held up: the delay distributions of the straggler literature, as values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from dask_coded.errors import ParameterError

__all__ = [
    "Bimodal",
    "ConstantDelay",
    "Delay",
    "ParetoDelay",
    "ShiftedExponential",
    "delay_from_dict",
    "delay_to_dict",
]

Seconds: TypeAlias = float


class Delay(Protocol):
    """A distribution of delays: a frozen, hashable value."""

    @property
    def mean(self) -> Seconds:
        """Expectation, s; infinite where the tail is that heavy."""
        ...

    def sample(self, rng: np.random.Generator) -> Seconds:
        """One delay, s."""
        ...


def _require(holds: bool, delay: object, rule: str) -> None:
    if not holds:
        raise ParameterError(f"{delay} cannot be: {rule}")


@dataclass(frozen=True)
class ConstantDelay:
    """Always the same.

    Parameters
    ----------
    seconds : float
        The delay, s.
    """

    seconds: Seconds

    def __post_init__(self) -> None:
        _require(self.seconds >= 0, self, "seconds must be at least 0")

    @property
    def mean(self) -> Seconds:
        return self.seconds

    def sample(self, rng: np.random.Generator) -> Seconds:
        return self.seconds


@dataclass(frozen=True)
class ShiftedExponential:
    """``shift + Exp(scale)``: least service time plus memoryless waiting.

    Parameters
    ----------
    shift, scale : float
        Least delay, and mean of what comes on top, s.

    Raises
    ------
    ParameterError
        If shift is negative or scale is not positive.

    References
    ----------
    Lee, Lam, Pedarsani, Papailiopoulos, Ramchandran, 2018, arXiv:1512.02673.

    Examples
    --------
    >>> ShiftedExponential(shift=1.0, scale=0.5).mean
    1.5
    """

    shift: Seconds
    scale: Seconds

    def __post_init__(self) -> None:
        _require(self.shift >= 0 < self.scale, self, "shift must be at least 0, scale positive")

    @property
    def mean(self) -> Seconds:
        return self.shift + self.scale

    def sample(self, rng: np.random.Generator) -> Seconds:
        return self.shift + float(rng.exponential(self.scale))


@dataclass(frozen=True)
class ParetoDelay:
    """``P(delay > t) = (minimum / t) ** alpha``: the heavy tail of large clusters.

    Parameters
    ----------
    minimum : float
        Least delay, s.
    alpha : float
        Tail index; the mean is infinite up to 1, the variance up to 2.

    Raises
    ------
    ParameterError
        If either is not positive.

    Examples
    --------
    >>> ParetoDelay(minimum=1.0, alpha=3.0).mean
    1.5
    """

    minimum: Seconds
    alpha: float

    def __post_init__(self) -> None:
        _require(self.minimum > 0 < self.alpha, self, "minimum and alpha must be positive")

    @property
    def mean(self) -> Seconds:
        return float("inf") if self.alpha <= 1 else self.alpha * self.minimum / (self.alpha - 1)

    def sample(self, rng: np.random.Generator) -> Seconds:
        return self.minimum * (1.0 + float(rng.pareto(self.alpha)))


@dataclass(frozen=True)
class Bimodal:
    """Mostly `fast`, now and then `slow`.

    Parameters
    ----------
    fast, slow : float
        The two delays, s.
    probability : float
        Of the slow one.

    Raises
    ------
    ParameterError
        If a delay is negative or the probability lies outside ``[0, 1]``.

    Examples
    --------
    >>> Bimodal(fast=0.0, slow=2.0, probability=0.25).mean
    0.5
    """

    fast: Seconds
    slow: Seconds
    probability: float

    def __post_init__(self) -> None:
        _require(
            self.fast >= 0 and self.slow >= 0 and 0 <= self.probability <= 1,
            self,
            "delays must be at least 0, the probability within [0, 1]",
        )

    @property
    def mean(self) -> Seconds:
        return self.fast + self.probability * (self.slow - self.fast)

    def sample(self, rng: np.random.Generator) -> Seconds:
        return self.slow if rng.random() < self.probability else self.fast


DELAYS: dict[str, type[ConstantDelay | ShiftedExponential | ParetoDelay | Bimodal]] = {
    "constant": ConstantDelay,
    "shifted-exponential": ShiftedExponential,
    "pareto": ParetoDelay,
    "bimodal": Bimodal,
}


def delay_to_dict(delay: Any) -> dict[str, Any]:
    """``{"name": ..., "configuration": {...}}`` of one of the distributions here.

    Raises
    ------
    ParameterError
        If it is some other object: a trace must be readable without the code that wrote it.

    Examples
    --------
    >>> delay_to_dict(ConstantDelay(0.5))
    {'name': 'constant', 'configuration': {'seconds': 0.5}}
    """
    for name, family in DELAYS.items():
        if type(delay) is family:
            return {"name": name, "configuration": asdict(delay)}
    raise ParameterError(
        f"{delay!r} cannot be written down; only {[f.__name__ for f in DELAYS.values()]} can"
    )


def delay_from_dict(value: Mapping[str, Any]) -> Delay:
    """Inverse of :func:`delay_to_dict`.

    Raises
    ------
    ParameterError
        If the name is unknown.

    Examples
    --------
    >>> delay_from_dict({"name": "pareto", "configuration": {"minimum": 0.1, "alpha": 2.0}})
    ParetoDelay(minimum=0.1, alpha=2.0)
    """
    family = DELAYS.get(value["name"])
    if family is None:
        raise ParameterError(f"no delay is called {value['name']!r}; there are {sorted(DELAYS)}")
    return family(**value["configuration"])
