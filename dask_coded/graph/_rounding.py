"""How far results may disagree and still be right: from rounding, never from a constant."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np

from dask_coded.codes import AbstractCode
from dask_coded.errors import ParameterError
from dask_coded.graph._sides import Side
from dask_coded.typing import Array

__all__ = ["Verification", "Verify", "share_dtype", "unit_rounding"]

#: What a user says: notice wrong results, or do without them; a number of those to prepare for.
Verify: TypeAlias = Literal["detect", "correct"] | int

# Chance that rounding alone looks like a wrong result anywhere in a group.
_FALSE_ALARM = 1e-9


@dataclass(frozen=True)
class Verification:
    """How wrong results of a group are dealt with.

    Parameters
    ----------
    correct
        Whether to decode without wrong results. If not, they are an error.
    wrong
        How many to prepare for: so many independent ones can be found among the results that are
        waited for. 0: that there are any is noticed.
    inner
        Products summed in each entry of a result.
    shares_eps
        Precision in which shares were encoded; 0 if exactly. None: that of the results.
    side
        Which operand the code encodes; None: the rows, or both if it is made for both.
    """

    correct: bool
    wrong: int
    inner: int
    shares_eps: float | None = None
    side: Side | None = None

    @classmethod
    def asked(cls, verify: Verify, inner: int, shares_eps: float | None = None) -> "Verification":
        """What a user asked for.

        Raises
        ------
        ParameterError
            If it is neither ``"detect"``, ``"correct"`` nor a positive int.
        """
        if verify == "detect":
            return cls(False, 0, inner, shares_eps)
        if verify == "correct":
            return cls(True, 1, inner, shares_eps)
        if type(verify) is not int or verify < 1:
            raise ParameterError(
                f"verify={verify!r}: choose 'detect', 'correct', or a positive number of wrong "
                "results to correct"
            )
        return cls(True, verify, inner, shares_eps)


def share_dtype(verification: Verification, results: np.dtype[Any]) -> np.dtype[Any]:
    """The coarsest dtype that shares or their results were in; of complex numbers, their parts."""
    eps = max(float(np.finfo(results).eps), verification.shares_eps or 0.0)
    fits = [kind for kind in ("f8", "f4") if np.finfo(kind).eps >= eps]
    return np.dtype(fits[0] if fits else "f2")


def unit_rounding(
    verification: Verification,
    code: AbstractCode,
    shares: tuple[int, ...],
    check: Array,
    dtype: np.dtype[Any],
    entries: int,
) -> float:
    """By what rounding may move ``h @ results`` for operands of length one.

    A sum of n products is rounded n times, each time by at most u = eps / 2 of a partial sum that
    is at most the product of both lengths: by ``n u`` together. As rounding goes either way, it is
    in fact ``lambda sqrt(n) u`` with probability ``1 - 2 n exp(-lambda**2 / 2)``; lambda is such
    that no entry of any result exceeds it but once in 10**9 groups. Sums of constants, which round
    the same way each time, stay within it because they are taken in pieces. To this come the
    roundings of the encoding, of the comparison itself, and of the check matrix.

    Parameters
    ----------
    verification
        Tells n, and how precise the shares are.
    code, shares, check
        The check matrix of these shares; rows of unit norm.
    dtype
        Of the results.
    entries
        In each result.

    References
    ----------
    Higham and Mary (2019), A new approach to probabilistic rounding error analysis, SIAM Journal
    on Scientific Computing 41(5), theorem 3.1.

    Examples
    --------
    >>> from dask_coded.codes import MDS
    >>> code, how = MDS(4, k=3), Verification.asked("detect", inner=1000)
    >>> everyone = tuple(range(4))
    >>> bound = unit_rounding(how, code, everyone, code.checker(everyone), np.dtype("f8"), 100)
    >>> print(f"{bound:.0e}")
    3e-14
    """
    unit = float(np.finfo(dtype).eps) / 2
    n, count = max(1, verification.inner), len(shares)
    spread = math.sqrt(count)  # a row of unit norm adds up to at most this
    luck = math.sqrt(2 * math.log(2 * n * max(1, entries) * count / _FALSE_ALARM))
    product = min(n * spread, luck * math.sqrt(n))
    encoding, drift = _coefficients(code, shares)
    share_unit = unit if verification.shares_eps is None else verification.shares_eps / 2
    total = (product + spread * (count + 2)) * unit + spread * encoding * share_unit + drift
    # A complex product is four real ones, in a plane.
    return total * (2 * math.sqrt(2) if dtype.kind == "c" else 1.0)


@lru_cache(maxsize=256)
def _coefficients(code: AbstractCode, shares: tuple[int, ...]) -> tuple[float, float]:
    """Roundings of the encoding, and by how much the check matrix misses zero."""
    encoding = 0.0
    for operand in range(len(code.operand_grids)):
        size: Any = np.abs(np.asarray(code.generator(operand)))
        terms = (size > 0).sum(axis=1)
        copied = (terms == 1) & (size.max(axis=1) == 1)
        encoding += float(((terms + 1) * size.sum(axis=1) * ~copied).max(initial=0.0))
    responses: Any = code.responses()[list(shares)]
    missed = np.abs(np.asarray(code.checker(shares)) @ responses).sum(axis=1)
    return encoding, float(missed.max(initial=0.0))
