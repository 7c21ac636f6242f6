"""Generalized cross-subspace alignment: a batch of products whose operands are cut into blocks."""

import itertools
from dataclasses import dataclass

import numpy as np

from dask_coded.codes._batch import AbstractBatchCode, Pairs
from dask_coded.codes._check import arithmetic, enough_shares, one_of, positive, unpaired
from dask_coded.codes._points import enough_points
from dask_coded.codes._registry import register
from dask_coded.fields import Field, PrimeField
from dask_coded.typing import Array, Grid

__all__ = ["GeneralizedCSA"]

_LARGE = PrimeField(2**31 - 1)


@register("generalized_csa")
@dataclass(frozen=True)
class GeneralizedCSA(AbstractBatchCode):
    """``A_q @ B_q`` for all q of a batch, A_q in ``m x p`` blocks and B_q in ``p x n``.

    An entangled code lies around a pole of each pair: the blocks of its operands are powers of the
    distance to it, and the orders below ``m p n`` hold the product. Poles of one group share a
    share's product; see :class:`CrossSubspaceAlignment`, which is the case of uncut operands. One
    pair is an :class:`Entangled` code.

    Over floats, poles lie evenly among the points, all at Chebyshev's places, and shares have unit
    norm. Each cut, group and further pair costs digits: with two shares lost, two pairs cut in two
    are amplified by some hundreds, cut in four by some ten thousands, cut in eight by more than
    10**8. There a batch of uncut operands, tile by tile, has shares as small without these poles.

    Parameters
    ----------
    n_shares
        Number of shares, at least ``m p n ((groups + 1) size - 1) + p - 1``.
    size, groups
        Pairs of a group, and groups; pair q belongs to group ``q % groups``.
    m, p, n
        Row cuts of the left operands, inner cuts, column cuts of the right operands.

    References
    ----------
    Jia and Jafar (2019), Cross subspace alignment codes for coded distributed batch computation,
    arXiv:1909.13873.

    Examples
    --------
    >>> from dask_coded.fields import PrimeField
    >>> code = GeneralizedCSA(16, size=2, p=2, m=1, n=2, field=PrimeField(257))
    >>> code.recovery_threshold, code.output_grid
    (13, (2, 1, 2))
    """

    n_shares: int
    size: int
    groups: int = 1
    m: int = 1
    p: int = 1
    n: int = 1
    field: Field = _LARGE

    def __post_init__(self) -> None:
        arithmetic(self.field)
        positive(
            n_shares=self.n_shares,
            size=self.size,
            groups=self.groups,
            m=self.m,
            p=self.p,
            n=self.n,
        )
        unpaired("GeneralizedCSA", self.field)
        reason = "m p n ((groups + 1) size - 1) + p - 1"
        enough_shares("GeneralizedCSA", self.n_shares, self.recovery_threshold, reason)
        enough_points(self.field, self.n_shares + self.size * self.groups)

    @property
    def pairs(self) -> Pairs:
        """All products of blocks that outputs are sums of, in the order of the outputs."""
        return tuple(itertools.chain.from_iterable(self.sums))

    @property
    def sums(self) -> tuple[Pairs, ...]:
        """For output (q, i, j) the pairs of its inner blocks."""
        m, p, n = self.m, self.p, self.n
        return tuple(
            tuple((((q * m) + i) * p + u, ((q * p) + u) * n + j) for u in range(p))
            for q in range(self.size * self.groups)
            for i in range(m)
            for j in range(n)
        )

    @property
    def terms(self) -> int:
        """``groups``."""
        return self.groups

    @property
    def operand_grids(self) -> tuple[Grid, ...]:
        """``((pairs, m, p), (pairs, p, n))`` for each group."""
        count = self.size * self.groups
        return ((count, self.m, self.p), (count, self.p, self.n)) * self.groups

    @property
    def output_grid(self) -> Grid:
        """``(pairs, m, n)``."""
        return self.size * self.groups, self.m, self.n

    @property
    def recovery_threshold(self) -> int:
        """``m p n ((groups + 1) size - 1) + p - 1``."""
        return self.m * self.p * self.n * ((self.groups + 1) * self.size - 1) + self.p - 1

    def generator(self, operand: int = 0) -> Array:
        """Powers ``(N, blocks)`` of distances to the poles of group ``operand // 2``."""
        one_of(operand, 2 * self.groups)
        if self.field.exact:
            return self._values(operand)
        # One scale for all groups of a share, whose products it adds up.
        every = [self._values(2 * group + operand % 2) for group in range(self.groups)]
        norms = np.linalg.norm(np.concatenate(every, axis=1), axis=1, keepdims=True)
        return np.ascontiguousarray(every[operand // 2] / norms)

    def _values(self, operand: int) -> Array:
        group, right = divmod(operand, 2)
        m, p, n = self.m, self.p, self.n
        members = range(group, self.size * self.groups, self.groups)
        distances = {q: self._distance(q) for q in members}
        grid = self.operand_grids[right]
        values = np.zeros((self.n_shares, *grid), dtype=self.field.dtype)
        for q in members:
            orders = (
                [[p - 1 - u + p * m * j for j in range(n)] for u in range(p)]
                if right
                else [[u + p * i for u in range(p)] for i in range(m)]
            )
            # Left operands are multiplied by the distances to all poles of the group.
            common = self._power(self.field.reciprocal(distances[q]), m * p * n)
            for other in () if right else members:
                product = self._power(distances[other], m * p * n)
                common = self.field.multiply(common, product)
            for row, line in enumerate(orders):
                for column, order in enumerate(line):
                    power = self._power(distances[q], order)
                    values[:, q, row, column] = self.field.multiply(common, power)
        return values.reshape(self.n_shares, -1)

    def _distance(self, pair: int) -> Array:
        if not self.field.exact:
            poles = self.size * self.groups
            count = self.n_shares + poles
            places = np.cos(np.pi * (2 * np.arange(count) + 1) / (2 * count))
            chosen = [(2 * pole + 1) * count // (2 * poles) for pole in range(poles)]
            return self.field.asarray(places[chosen[pair]] - np.delete(places, chosen))
        points = self.field.asarray(np.arange(1, self.n_shares + 1))
        pole = self.field.asarray(np.full(self.n_shares, self.n_shares + 1 + pair))
        return self.field.subtract(pole, points)

    def _power(self, base: Array, order: int) -> Array:
        power = np.ones_like(base)
        for _ in range(order):
            power = self.field.multiply(power, base)
        return power
