"""Which codes keep the digits that were asked for, whichever shares are late.

A code that does not would still be right: the runtime waits for one more share where decoding
would amplify too much. But then it no longer bears the losses that it was chosen for.
"""

import itertools
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from dask_coded.codes import AbstractCode
from dask_coded.errors import NotDecodableError

__all__ = ["Accuracy", "default_tolerance", "worst_amplification"]

#: So many sets of lost shares are tried one by one, if the code is not too large.
_ALL_SETS = 400
_ALL_SHARES = 20_000
#: Of more sets, a sample of about so many shares in all.
_SAMPLED_SHARES = 6000
#: The worst of all sets is taken for so many times the worst of a sample.
_UNSEEN = 4.0


def default_tolerance(dtype: np.dtype[Any] | None) -> float:
    """Accepted amplification times eps: about half of the digits of the dtype.

    A code with well-behaved parity stays far below; a set of survivors that would amplify more
    waits for one more share. What is not known is taken for float64.
    """
    if dtype is None:
        return float(np.sqrt(np.finfo(np.float64).eps))
    if dtype.kind not in "fc":
        return 1.0
    return float(np.sqrt(np.finfo(dtype).eps))


class Accuracy:
    """What amplification may be, and which codes were left out because theirs is larger.

    Parameters
    ----------
    dtype
        Of the results; None if it is not known, which is taken for float64. Codes of integers
        are exact.
    tolerance
        Largest amplification times eps, None for a default.

    Examples
    --------
    >>> from dask_coded.codes import MDS, Replication
    >>> accuracy = Accuracy(np.dtype("f8"), 1e-15)
    >>> accuracy.admits(MDS(9, k=8), lost=1), accuracy.admits(Replication(4, k=2), lost=1)
    (False, True)
    >>> accuracy.note()
    'left out, as decoding may amplify rounding by more than 4.5: MDS of 9 shares (8)'
    """

    def __init__(self, dtype: np.dtype[Any] | None, tolerance: float | None) -> None:
        tolerance = default_tolerance(dtype) if tolerance is None else tolerance
        floats = dtype is None or dtype.kind in "fc"
        eps = float(np.finfo(np.float64 if dtype is None else dtype).eps) if floats else 0.0
        self.limit = tolerance / eps if floats else math.inf
        self._refused: dict[AbstractCode, float] = {}

    def admits(self, code: AbstractCode, lost: int, places: int | None = None) -> bool:
        """Whether a code stays within the tolerance; parameters as `worst_amplification`."""
        if self.limit == math.inf:
            return True
        worst = worst_amplification(code, lost, places, self.limit)
        if worst > self.limit:
            self._refused[code] = worst
        return worst <= self.limit

    def note(self) -> str:
        """Which codes were left out, and why; empty if none was."""
        if not self._refused:
            return ""
        named = [
            f"{type(code).__name__} of {code.n_shares} shares ({worst:.2g})"
            for code, worst in self._refused.items()
        ]
        few = ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
        return f"left out, as decoding may amplify rounding by more than {self.limit:.2g}: {few}"


@lru_cache(maxsize=512)
def worst_amplification(
    code: AbstractCode, lost: int, places: int | None = None, limit: float = math.inf
) -> float:
    """Largest amplification when any `lost` of the shares are missing, or more than `limit`.

    Few enough sets of lost shares are all tried. Of more, runs of neighbors, which are the worst
    of many families, and random ones, the same in every call; the result is then an estimate.

    Parameters
    ----------
    code
        A code over floats.
    lost
        Shares that are missing; workers, if `places` is given.
    places
        Workers over which the shares are dealt, several to each.
    limit
        A set that exceeds this ends the search.

    Examples
    --------
    >>> from dask_coded.codes import MDS
    >>> worst_amplification(MDS(9, k=8), lost=1)
    8.0
    """
    everyone = frozenset(range(code.n_shares))
    if places is None:
        holdings = tuple((share,) for share in range(code.n_shares))
        orders = [tuple(range(code.n_shares)), code.ring]
    else:
        holdings = code.placement(places)
        orders = [tuple(range(len(holdings)))]
    sets = math.comb(len(holdings), lost)
    every = sets <= _ALL_SETS and sets * code.n_shares <= _ALL_SHARES
    found = itertools.combinations(range(len(holdings)), lost)
    worst = 0.0
    for gone in found if every else _sample(orders, lost, code.n_shares):
        missing = {share for place in gone for share in holdings[place]}
        try:
            amplification = code.decoder(everyone - missing).amplification
            worst = max(worst, amplification if every else _UNSEEN * amplification)
        except NotDecodableError:
            return math.inf
        if worst > limit:
            break
    return worst


def _sample(orders: list[tuple[int, ...]], lost: int, n_shares: int) -> Iterator[tuple[int, ...]]:
    count = len(orders[0])
    each = max(20, min(_ALL_SETS, _SAMPLED_SHARES // n_shares) // 2)
    for order in dict.fromkeys(orders):
        for start in range(0, count, max(1, count // each)):
            yield tuple(order[(start + step) % count] for step in range(lost))
    stream = np.random.default_rng(0)
    for _ in range(each):
        yield tuple(stream.choice(count, lost, replace=False).tolist())
