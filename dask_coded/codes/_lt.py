"""Rateless LT codes: sparse sums that peel."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from dask_coded.codes._algebra import Solver
from dask_coded.codes._check import enough_shares, positive
from dask_coded.codes._linear import AbstractLinearCode
from dask_coded.codes._registry import register
from dask_coded.errors import ParameterError
from dask_coded.fields import REAL, Field
from dask_coded.typing import Array

__all__ = ["LT"]


def _peel(field: Field, responses: Array, targets: Array) -> Array | None:
    """Decode weights by substitution alone, or None where peeling stalls.

    A result that sums one unknown block gives that block; subtract it from the others; repeat.
    The weights are small integers, so an exact result stays exact and rounding hardly grows.
    """
    support = [set(np.flatnonzero(row).tolist()) for row in responses]
    rows = np.eye(len(support))
    known: dict[int, np.ndarray] = {}
    covering: dict[int, list[int]] = {}
    for result, blocks in enumerate(support):
        for block in blocks:
            covering.setdefault(block, []).append(result)
    ready = [result for result, blocks in enumerate(support) if len(blocks) == 1]
    while ready:
        result = ready.pop()
        if len(support[result]) != 1:
            continue
        (block,) = support[result]
        known[block] = rows[result].copy()
        for other in covering[block]:
            support[other].discard(block)
            if other != result:
                rows[other] -= known[block]
                if len(support[other]) == 1:
                    ready.append(other)
    wanted = [int(np.flatnonzero(row)[0]) for row in targets]
    if any(block not in known for block in wanted):
        return None
    return field.asarray(np.stack([known[block] for block in wanted]).astype(np.int64))


@register("lt")
@dataclass(frozen=True)
class LT(AbstractLinearCode):
    """Each share sums a random few blocks; more shares can be made at any time.

    Row i depends on the seed and on i only: ``code.extended(more)`` keeps every share that
    exists. Sets that peel decode by additions; others by elimination.

    Parameters
    ----------
    n_shares
        Number of shares so far.
    k
        Number of blocks.
    seed
        Of the random sums; the same seed gives the same code everywhere.
    c, delta
        Of the robust soliton distribution of how many blocks a share sums.

    Raises
    ------
    ParameterError
        If all shares together do not decode; extend the code or choose another seed.

    References
    ----------
    Luby (2002), LT codes, FOCS. Mallick, Chaudhari, Sheth, Palanikumar and Joshi (2019), Rateless
    codes for near-perfect load balancing in distributed matrix-vector multiplication,
    arXiv:1804.10331.

    Examples
    --------
    >>> code = LT(12, k=5)
    >>> bool((code.extended(20).generator()[:12] == code.generator()).all())
    True
    """

    tight: ClassVar[bool] = False
    solver: ClassVar[Solver] = _peel

    n_shares: int
    k: int
    seed: int = 0
    c: float = 0.03
    delta: float = 0.5
    field: Field = REAL

    def __post_init__(self) -> None:
        positive(n_shares=self.n_shares, k=self.k)
        enough_shares("LT", self.n_shares, self.k, "one per block")
        if not (self.c > 0 and 0 < self.delta < 1):
            raise ParameterError(
                f"need c > 0 and 0 < delta < 1, got c={self.c}, delta={self.delta}"
            )
        if self.field.rank(self.generator()) < self.k:
            raise ParameterError(
                f"the first {self.n_shares} sums of seed {self.seed} do not determine all "
                f"{self.k} blocks; use more shares or another seed"
            )

    @property
    def recovery_threshold(self) -> int:
        """All shares are certain to decode; most smaller sets do: ask :meth:`is_decodable`."""
        return self.n_shares

    def extended(self, n_shares: int) -> "LT":
        """The same code with more shares."""
        return replace(self, n_shares=n_shares)

    def generator(self, operand: int = 0) -> Array:
        """Zeros and ones ``(n_shares, k)``."""
        distribution = np.cumsum(_robust_soliton(self.k, self.c, self.delta))
        rows = np.zeros((self.n_shares, self.k), dtype=self.field.dtype)
        for share, row in enumerate(rows):
            stream = np.random.RandomState([self.seed, share])
            size = 1 + int(np.searchsorted(distribution, stream.random_sample()))
            row[stream.permutation(self.k)[: min(size, self.k)]] = 1
        return rows


def _robust_soliton(k: int, c: float, delta: float) -> npt.NDArray[np.float64]:
    """Probability that a share sums 1, ..., k blocks."""
    degrees = np.arange(1, k + 1)
    ideal = np.concatenate([[1 / k], 1 / (degrees[1:] * (degrees[1:] - 1.0))])
    spike = c * math.log(k / delta) * math.sqrt(k)
    place = max(1, min(k, round(k / spike)))
    boost = np.where(degrees < place, spike / (degrees * k), 0.0)
    boost[place - 1] = spike * max(0.0, math.log(spike / delta)) / k
    weights: npt.NDArray[np.float64] = ideal + boost
    weights /= weights.sum()
    return weights
