"""The typical recovery threshold: how many results usually suffice."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from dask_coded.codes._check import positive, seeded
from dask_coded.codes._code import AbstractCode
from dask_coded.codes._counted import DecodableSets, decodable_sets
from dask_coded.codes._interval import clopper_pearson
from dask_coded.errors import ParameterError

__all__ = ["TypicalThreshold", "typical_recovery_threshold"]

Bounds: TypeAlias = tuple[float, float]

# Sets looked at in search of an exact answer: 10 microseconds each in floating point, and up to
# milliseconds in an exact field.
_MOST_SETS = 100_000
_MOST_EXACT_SETS = 2_500
_NEARLY_CERTAIN = math.nextafter(1.0, 0.0)


@dataclass(frozen=True)
class TypicalThreshold:
    """How many results suffice, and how sure that is."""

    results: int
    """Least number of results that decode with the probability that was asked for."""
    low: int
    high: int
    """Confidence interval of `results`; both equal to it where that is exact."""
    method: Literal["exact", "sampled"]
    samples: int
    """Orders of arrival that were drawn; 0 if exact."""
    level: float
    """Probability with which the interval covers, at least; 1.0 if exact."""
    probabilities: tuple[float, ...] = field(repr=False)
    """Probability that 0, 1, ..., N results decode."""
    bounds: tuple[Bounds, ...] = field(repr=False)
    """Confidence interval of each probability."""

    @property
    def mean(self) -> float:
        """Expected number of results until they decode."""
        return math.fsum(1 - probability for probability in self.probabilities)


def typical_recovery_threshold(
    code: AbstractCode,
    loss_probability: float,
    confidence: float = 0.99,
    *,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> TypicalThreshold:
    """Results that decode with a probability, where the recovery threshold asks for certainty.

    Results come in the order of their shares, but each share is lost with some probability,
    independently of the others; lost ones are computed again, and come after all others in an
    order of which each is equally likely. Wanted is the least r such that the first r results
    decode with probability `confidence`.

    Without losses that is the number of leading shares that decode: for a systematic alloy code
    the rank of its bilinear algorithm times ``m n``. With `confidence` 1 and losses it is the
    recovery threshold, as then any set may be the first. With a loss probability of 1 all orders
    are equally likely, and the first r results are r shares drawn at random.

    The answer is exact for codes whose sets can be counted: sharp thresholds (MDS, Polynomial),
    copies, groups, and anything of few shares. Otherwise orders are drawn.

    Parameters
    ----------
    loss_probability
        From 0 to 1.
    confidence
        Probability of decoding that is asked for, above 0.
    samples, seed
        Orders to draw where counting is out of reach.
    level
        Probability with which intervals cover what they estimate, where orders are drawn.

    Raises
    ------
    ParameterError
        If a probability or a number is out of range.

    References
    ----------
    Soto (2022), Random alloy codes and the fundamental limits of coded distributed tensors,
    arXiv:2202.03469, whose typical recovery threshold this makes computable for a given code.

    Examples
    --------
    >>> from dask_coded.codes import Alloy, Replication
    >>> code = Alloy(28, levels=1)
    >>> code.recovery_threshold, typical_recovery_threshold(code, 0.1).results
    (25, 18)
    >>> typical_recovery_threshold(Replication(6, k=3), 1.0, confidence=0.75)
    TypicalThreshold(results=4, low=4, high=4, method='exact', samples=0, level=1.0)
    """
    _check(code, loss_probability, confidence, level)
    positive(samples=samples)
    seeded(seed)
    probabilities = _exact(code, loss_probability)
    if probabilities is not None:
        results = _first(probabilities, confidence)
        bounds = tuple((probability, probability) for probability in probabilities)
        return TypicalThreshold(
            results, results, results, "exact", 0, 1.0, tuple(probabilities), bounds
        )
    estimates = _estimates(code, _sampled(code, loss_probability, samples, seed), level)
    found, lows, highs = zip(*estimates, strict=True)
    results, low, high = (_first(each, confidence) for each in (found, highs, lows))
    bounds = tuple(zip(lows, highs, strict=True))
    return TypicalThreshold(results, low, high, "sampled", samples, level, found, bounds)


def _check(code: object, loss_probability: float, confidence: float, level: float) -> None:
    if not isinstance(code, AbstractCode):
        raise ParameterError(f"{code!r} is no code; give one of dask_coded.codes")
    if not 0 <= loss_probability <= 1:
        raise ParameterError(f"loss_probability={loss_probability} must lie within [0, 1]")
    if not 0 < confidence <= 1:
        raise ParameterError(
            f"confidence={confidence} must lie above 0 and not above 1; 1 asks for every set"
        )
    if not 0 < level < 1:
        raise ParameterError(f"level={level} must lie between 0 and 1, and may reach neither")


def _first(probabilities: Sequence[float], confidence: float) -> int:
    return next(r for r, probability in enumerate(probabilities) if probability >= confidence)


def _fewest(code: AbstractCode) -> int:
    """No fewer results can determine the outputs: their rank."""
    targets = code.targets()
    wanted = targets != 0
    if wanted.any(axis=1).all() and (wanted.sum(axis=0) <= 1).all():
        return len(targets)
    return code.field.rank(targets)


def _exact(code: AbstractCode, loss_probability: float) -> list[float] | None:
    """Probability that 0, 1, ..., N results decode, None where that takes too long."""
    sizes = range(code.n_shares + 1)
    if loss_probability == 0:
        return [float(code.is_decodable(range(size))) for size in sizes]
    threshold = code.recovery_threshold
    if _fewest(code) == threshold:
        return [float(size >= threshold) for size in sizes]
    sets = decodable_sets(code, _MOST_EXACT_SETS if code.field.exact else _MOST_SETS)
    return None if sets is None else _from_counts(sets, loss_probability)


def _from_counts(sets: DecodableSets, loss: float) -> list[float]:
    """The same from the numbers of decodable sets.

    The first r results, if so many come without a repetition, are r shares of which the last is
    share ``j - 1`` with the probability that the j-th trial is the r-th success; which r - 1 came
    before is left to chance. If fewer come, the first r are any r shares.
    """
    n_shares = sets.n_shares
    among_all = sets.among_first(n_shares)
    at_random = [count / math.comb(n_shares, size) for size, count in enumerate(among_all)]
    if loss == 1:
        return at_random
    terms: list[list[float]] = [[] for _ in at_random]
    before = [0] * (n_shares + 1)
    for last in range(1, n_shares + 1):
        now = sets.among_first(last)
        for size in range(1, last + 1):
            chance = (1 - loss) ** size * loss ** (last - size)
            terms[size].append((now[size] - before[size]) * chance)
        before[: last + 1] = now
    probabilities = []
    for size in range(n_shares + 1):
        fewer = math.fsum(
            math.comb(n_shares, came) * (1 - loss) ** came * loss ** (n_shares - came)
            for came in range(size)
        )
        total = math.fsum([*terms[size], fewer * at_random[size]])
        # Only rounding tells certainty from what is nearly certain, so the counts have to.
        certain = among_all[size] == math.comb(n_shares, size)
        probabilities.append(1.0 if certain else min(total, _NEARLY_CERTAIN))
    return probabilities


def _sampled(code: AbstractCode, loss_probability: float, samples: int, seed: int) -> list[int]:
    """How many results were needed, for random orders of arrival."""
    stream = np.random.default_rng(seed)
    fewest = _fewest(code)
    drawn = []
    for _ in range(samples):
        lost = stream.random(code.n_shares) < loss_probability
        order = [
            *np.flatnonzero(~lost).tolist(),
            *stream.permutation(np.flatnonzero(lost)).tolist(),
        ]
        sizes = range(fewest, code.n_shares + 1)
        drawn.append(next(size for size in sizes if code.is_decodable(order[:size])))
    return drawn


def _estimates(
    code: AbstractCode, drawn: Sequence[int], level: float
) -> list[tuple[float, float, float]]:
    """Probabilities with their intervals; without width where theorems tell."""
    fewest, threshold = _fewest(code), code.recovery_threshold
    # Where a threshold is tight, some order does not decode before it, drawn or not.
    most = _NEARLY_CERTAIN if code.tight else 1.0
    found = []
    for size in range(code.n_shares + 1):
        if size < fewest or size >= threshold:
            known = float(size >= threshold)
            found.append((known, known, known))
            continue
        count = sum(needed <= size for needed in drawn)
        low, high = clopper_pearson(count, len(drawn), level)
        found.append((min(count / len(drawn), most), low, min(high, most)))
    return found
