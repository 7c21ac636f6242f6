"""Lagrange codes: a polynomial map of each block."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dask_coded.codes._check import arithmetic, enough_shares, one_of, positive, unpaired
from dask_coded.codes._code import AbstractCode, Operation
from dask_coded.codes._points import cardinal_ladder, enough_points, ladder, ring_of, spread_first
from dask_coded.codes._registry import register
from dask_coded.fields import REAL, Field
from dask_coded.typing import Array, Grid

__all__ = ["Lagrange"]


@register("lagrange")
@dataclass(frozen=True)
class Lagrange(AbstractCode):
    """``f(X_0), ..., f(X_{k-1})`` for any polynomial f up to a degree.

    A curve is laid through the blocks; each worker evaluates f at one point of it. The results
    lie on a curve of ``degree (k - 1) + 1`` coefficients, which is read where the blocks lie.
    A product of two blocks, ``f(A, B) = A @ B``, has degree 2.

    Parameters
    ----------
    n_shares
        Number of shares, at least ``degree (k - 1) + 1``.
    k
        Number of blocks.
    degree
        Total degree of f.

    References
    ----------
    Yu, Li, Raviv, Kalan, Soltanolkotabi and Avestimehr (2019), Lagrange coded computing,
    arXiv:1806.00939.

    Examples
    --------
    >>> code = Lagrange(8, k=3, degree=2)
    >>> code.recovery_threshold, code.is_decodable([0, 1, 2])
    (5, True)
    """

    operation: ClassVar[Operation] = "polynomial"

    n_shares: int
    k: int
    degree: int
    field: Field = REAL

    def __post_init__(self) -> None:
        arithmetic(self.field)
        unpaired("Lagrange", self.field)
        positive(n_shares=self.n_shares, k=self.k, degree=self.degree)
        needed = max(self.recovery_threshold, self.k)
        enough_shares("Lagrange", self.n_shares, needed, "degree (k - 1) + 1")
        enough_points(self.field, self.n_shares)

    @property
    def operand_grids(self) -> tuple[Grid, ...]:
        """``((k,),)``."""
        return ((self.k,),)

    @property
    def output_grid(self) -> Grid:
        """``(k,)``."""
        return (self.k,)

    @property
    def recovery_threshold(self) -> int:
        """``degree (k - 1) + 1``; the first k shares are an early set."""
        return self.degree * (self.k - 1) + 1

    @property
    def ring(self) -> tuple[int, ...]:
        """Shares in the order of their evaluation points."""
        return ring_of(self._points)

    @property
    def _points(self) -> list[int]:
        return spread_first(self.n_shares, self.k)

    def generator(self, operand: int = 0) -> Array:
        """Values ``(N, k)`` of the interpolating functions."""
        one_of(operand, 1)
        return cardinal_ladder(self.field, self.n_shares, self.k)

    def responses(self) -> Array:
        """Values ``(N, R)`` of the functions in which ``f`` of the curve expands, R = threshold."""
        return ladder(self.field, self.n_shares, self.recovery_threshold)[self._points]

    def targets(self) -> Array:
        """The same functions where the blocks lie, ``(k, R)``."""
        return np.ascontiguousarray(self.responses()[: self.k])
