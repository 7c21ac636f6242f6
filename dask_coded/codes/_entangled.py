"""Entangled codes: all three dimensions are cut."""

from dataclasses import dataclass

from dask_coded.codes._bilinear import AbstractMatmulCode
from dask_coded.codes._check import arithmetic, enough_shares, one_of, positive, unpaired
from dask_coded.codes._points import enough_points, ladder, rowwise_kron
from dask_coded.codes._registry import register
from dask_coded.fields import REAL, Field
from dask_coded.typing import Array

__all__ = ["Entangled", "entangled_generator"]


@register("entangled")
@dataclass(frozen=True)
class Entangled(AbstractMatmulCode):
    """``C = A @ B`` from any ``p m n + p - 1`` of the shares.

    Contains polynomial codes (p = 1) and MatDot (m = n = 1), without their systematic shares.

    Parameters
    ----------
    n_shares
        Number of shares, at least ``p m n + p - 1``.
    m, p, n
        Cuts of the rows of A, of the inner dimension, of the columns of B.

    References
    ----------
    Yu, Maddah-Ali and Avestimehr (2020), Straggler mitigation in distributed matrix
    multiplication: fundamental limits and optimal coding, arXiv:1801.07487.

    Examples
    --------
    >>> Entangled(10, m=2, p=2, n=2).recovery_threshold
    9
    """

    n_shares: int
    m: int
    p: int
    n: int
    field: Field = REAL

    def __post_init__(self) -> None:
        arithmetic(self.field)
        unpaired("Entangled", self.field)
        positive(n_shares=self.n_shares, m=self.m, p=self.p, n=self.n)
        enough_shares("Entangled", self.n_shares, self.recovery_threshold, "p m n + p - 1")
        enough_points(self.field, self.n_shares)

    @property
    def splits(self) -> tuple[int, int, int]:
        """``(m, p, n)``."""
        return self.m, self.p, self.n

    @property
    def recovery_threshold(self) -> int:
        """``p m n + p - 1``."""
        return self.p * self.m * self.n + self.p - 1

    def generator(self, operand: int = 0) -> Array:
        """Coefficients of A's blocks ``(N, m p)``, or of B's ``(N, p n)``."""
        one_of(operand, 2)
        return entangled_generator(self.field, self.n_shares, self.splits, operand)


def entangled_generator(
    field: Field, n_shares: int, splits: tuple[int, int, int], operand: int
) -> Array:
    """Block (i, k) of A has frequency ``k + p i``, block (k, j) of B ``p - 1 - k + p m j``.

    Products with the same inner index meet at frequencies ``p - 1 + p (i + m j)``, one for each
    output; all others lie strictly between.
    """
    m, p, n = splits
    if operand == 0:
        outer = ladder(field, n_shares, m, stride=p)
        return rowwise_kron(field, outer, ladder(field, n_shares, p))
    outer = ladder(field, n_shares, n, stride=p * m)
    return rowwise_kron(field, ladder(field, n_shares, p, reverse=True), outer)
