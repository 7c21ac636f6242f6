"""Confidence interval of a probability, from independent trials."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["clopper_pearson"]

# Halvings of [0, 1] until no float lies between.
_STEPS = 60


def clopper_pearson(successes: int, trials: int, level: float) -> tuple[float, float]:
    """Interval that covers the probability of success with probability `level` or more.

    It inverts the binomial tails themselves and approximates nothing, so it holds for no success,
    for nothing but successes, and for few trials. Either end fails with probability
    ``(1 - level) / 2`` at most.

    References
    ----------
    Clopper and Pearson (1934), The use of confidence or fiducial limits illustrated in the case
    of the binomial, Biometrika 26.

    Examples
    --------
    >>> low, high = clopper_pearson(0, 100, 0.95)
    >>> low, round(high, 4)
    (0.0, 0.0362)
    """
    tail = (1 - level) / 2
    low, high = 0.0, 1.0
    if successes > 0:
        low = _where_false(lambda p: _at_least(successes, trials, p) < tail)
    if successes < trials:
        high = _where_false(lambda p: _at_most(successes, trials, p) > tail)
    return low, high


def _where_false(holds: Callable[[float], bool]) -> float:
    """The probability at which a condition that holds for small ones ceases to."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return (low + high) / 2


def _at_least(successes: int, trials: int, p: float) -> float:
    return float(_binomial(trials, p)[successes:].sum())


def _at_most(successes: int, trials: int, p: float) -> float:
    return float(_binomial(trials, p)[: successes + 1].sum())


def _binomial(trials: int, p: float) -> Any:
    """Probabilities ``(trials + 1,)`` of each number of successes, for 0 < p < 1."""
    counts = np.arange(trials + 1)
    return np.exp(_log_choices(trials) + counts * math.log(p) + (trials - counts) * math.log1p(-p))


@lru_cache(maxsize=8)
def _log_choices(trials: int) -> Any:
    factorials = np.array([math.lgamma(count + 1) for count in range(trials + 1)])
    return factorials[-1] - factorials - factorials[::-1]
