"""Cross-subspace alignment codes: a batch of pairs, each of its own two operands."""

from dataclasses import dataclass

import numpy as np

from dask_coded.codes._batch import AbstractBatchCode, Pairs
from dask_coded.codes._check import arithmetic, enough_shares, one_of, positive, unpaired
from dask_coded.codes._curves import cardinal, differences
from dask_coded.codes._points import enough_points, ring_of, spread_first
from dask_coded.codes._registry import register
from dask_coded.fields import REAL, Field
from dask_coded.typing import Array

__all__ = ["CrossSubspaceAlignment"]


@register("cross_subspace_alignment")
@dataclass(frozen=True)
class CrossSubspaceAlignment(AbstractBatchCode):
    """``A_q @ B_q`` for all q of a batch, from the first ``L = groups * size`` shares or any K.

    Pair q belongs to group ``q % groups``. A share holds one mixture of the left operands and one
    of the right operands of each group, and adds up their products. In this form both are curves
    through the operands: a left curve through those of its group, of degree ``size - 1``, a right
    curve of degree ``L - 1`` that vanishes where the pairs of other groups lie. What pairs of one
    group have to do with each other is thus the same for all groups, and is counted once. Where a
    pair lies, only its own operands are left: the first L shares compute the products themselves.

    One group is a Lagrange code; groups of one pair each hold every operand in every share.

    Parameters
    ----------
    n_shares
        Number of shares, at least ``(groups + 1) size - 1``.
    size
        Pairs of a group.
    groups
        Number of groups; more of them lower the threshold, and a share that is no pair costs as
        many products.

    References
    ----------
    Jia and Jafar (2019), Cross subspace alignment codes for coded distributed batch computation,
    arXiv:1909.13873.

    Examples
    --------
    >>> [CrossSubspaceAlignment(9, size=6 // g, groups=g).recovery_threshold for g in (2, 3, 6)]
    [8, 7, 6]
    >>> CrossSubspaceAlignment(9, size=4).direct()
    (0, 1, 2, 3)
    """

    n_shares: int
    size: int
    groups: int = 1
    field: Field = REAL

    def __post_init__(self) -> None:
        arithmetic(self.field)
        unpaired("CrossSubspaceAlignment", self.field)
        positive(n_shares=self.n_shares, size=self.size, groups=self.groups)
        enough_shares(
            "CrossSubspaceAlignment",
            self.n_shares,
            self.recovery_threshold,
            "(groups + 1) size - 1",
        )
        enough_points(self.field, self.n_shares)

    @property
    def pairs(self) -> Pairs:
        """``((0, 0), (1, 1), ...)``."""
        return tuple((q, q) for q in range(self.groups * self.size))

    @property
    def terms(self) -> int:
        """``groups``."""
        return self.groups

    @property
    def recovery_threshold(self) -> int:
        """``(groups + 1) size - 1``; the first ``groups * size`` shares are an early set."""
        return (self.groups + 1) * self.size - 1

    @property
    def ring(self) -> tuple[int, ...]:
        """Shares in the order of their evaluation points."""
        return ring_of(self._places)

    @property
    def _places(self) -> list[int]:
        return spread_first(self.n_shares, self.groups * self.size)

    def generator(self, operand: int = 0) -> Array:
        """Values ``(N, L)`` of the curves of group ``operand // 2``; zero for other groups."""
        one_of(operand, 2 * self.groups)
        count = self.groups * self.size
        group, right = divmod(operand, 2)
        members = list(range(group, count, self.groups))
        gaps = differences(self.field, self._places)
        values = np.zeros((self.n_shares, count), dtype=gaps.dtype)
        if right:
            values[:, members] = cardinal(self.field, gaps, range(count))[:, members]
        else:
            values[:, members] = cardinal(self.field, gaps, members)
        # Where pairs of other groups lie the right curve is zero, and the left one is not needed.
        values[:count] = 0
        values[members, members] = 1
        return np.ascontiguousarray(self.field.asarray(values))
