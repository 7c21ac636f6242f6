"""Rateless LT codes: sparse sums that peel."""

import heapq
import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dask_coded.codes._algebra import Solver
from dask_coded.codes._check import arithmetic, enough_shares, one_of, positive, seeded
from dask_coded.codes._linear import AbstractLinearCode
from dask_coded.codes._registry import register
from dask_coded.errors import ParameterError
from dask_coded.fields import REAL, Field
from dask_coded.typing import Array

__all__ = ["LT"]

# Floats lose so many roundings to substitution before elimination over all survivors is used,
# which is slower and reads more, but amplifies less. Typical are k to 10 k.
_LARGEST_GROWTH = 1e5


def _peel(field: Field, responses: Array, targets: Array) -> Array | None:
    """Decode weights by substitution alone, or None where peeling stalls.

    A result that sums one unknown block gives that block; taken off the others, it may leave one
    unknown there; and so on. Weights are small integers, so exact results stay exact.
    """
    wanted = {int(np.flatnonzero(row)[0]) for row in targets}
    steps = _peeling_order(responses, wanted, math.inf if field.exact else _LARGEST_GROWTH)
    if steps is None:
        return None
    rows: dict[int, Any] = {}
    for result, block, others in steps:
        row = np.zeros(len(responses), dtype=field.dtype)
        row[result] = 1
        for other in others:
            row = field.subtract(row, rows[other])
        rows[block] = row
    return np.stack([rows[int(np.flatnonzero(row)[0])] for row in targets])


def _peeling_order(
    responses: Array, wanted: set[int], most: float
) -> list[tuple[int, int, list[int]]] | None:
    """Steps ``(result, block that it gives, other blocks in it)``, or None if peeling stalls.

    It also stalls where errors would grow by more than `most`.

    Of all derivations of a block the one with the least growth of errors comes first: growth is
    one plus that of the blocks taken off, so Dijkstra's order finds it. Taken as they come, blocks
    hang in chains of substitutions in which the weights grow exponentially.
    """
    support = [np.flatnonzero(row).tolist() for row in responses]
    covering: dict[int, list[int]] = {}
    for result, blocks in enumerate(support):
        for block in blocks:
            covering.setdefault(block, []).append(result)
    unknown = [len(blocks) for blocks in support]
    growth = [1] * len(support)
    ready = [(1, result) for result, count in enumerate(unknown) if count == 1]
    known: set[int] = set()
    missing = set(wanted)
    steps = []
    while missing and ready:
        total, result = heapq.heappop(ready)
        if unknown[result] == 0:
            continue
        if total > most:
            return None
        (block,) = (block for block in support[result] if block not in known)
        steps.append((result, block, [other for other in support[result] if other != block]))
        known.add(block)
        missing.discard(block)
        for other in covering[block]:
            unknown[other] -= 1
            growth[other] += total
            if unknown[other] == 1:
                heapq.heappush(ready, (growth[other], other))
    return None if missing else steps


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
        arithmetic(self.field)
        seeded(self.seed)
        positive(n_shares=self.n_shares, k=self.k)
        enough_shares("LT", self.n_shares, self.k, "one per block")
        numbers = isinstance(self.c, int | float) and isinstance(self.delta, int | float)
        if not (numbers and 0 < self.c < math.inf and 0 < self.delta < 1):
            raise ParameterError(
                f"need c > 0 and 0 < delta < 1, got c={self.c}, delta={self.delta}"
            )
        generator = self.generator()
        peels = _peeling_order(generator, set(range(self.k)), math.inf) is not None
        if not peels and self.field.rank(generator) < self.k:
            raise ParameterError(
                f"the first {self.n_shares} sums of seed {self.seed} do not determine all "
                f"{self.k} blocks; use more shares or another seed"
            )

    @property
    def recovery_threshold(self) -> int:
        """All shares are certain to decode; most smaller sets do: ask :meth:`is_decodable`."""
        return self.n_shares

    def extended(self, n_shares: int) -> "LT":
        """The same code with more shares.

        Raises
        ------
        ParameterError
            If that is fewer than there are.
        """
        enough_shares("The extended LT", n_shares, self.n_shares, "those that exist")
        return replace(self, n_shares=n_shares)

    def generator(self, operand: int = 0) -> Array:
        """Zeros and ones ``(n_shares, k)``."""
        one_of(operand, 1)
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
