"""Private Lagrange codes: a polynomial map of each block, with noise at further nodes."""

from dataclasses import dataclass
from typing import ClassVar

from dask_coded.codes._check import enough_shares, one_of, positive
from dask_coded.codes._code import Operation
from dask_coded.codes._points import enough_points, ladder
from dask_coded.codes._private import M61, AbstractPrivateCode, private_parameters
from dask_coded.codes._registry import register
from dask_coded.fields import Field
from dask_coded.typing import Array, Grid

__all__ = ["PrivateLagrange"]


@register("private_lagrange")
@dataclass(frozen=True)
class PrivateLagrange(AbstractPrivateCode):
    """``f(X_0), ..., f(X_{k-1})`` for a polynomial f, of which any T workers learn nothing.

    A curve is laid through the k blocks and T blocks of noise; each worker evaluates f at a point
    of it that is none of these. A batch of products ``f(A, B) = A @ B`` has degree 2.

    Parameters
    ----------
    n_shares
        Number of shares, and of workers, at least ``degree (k + T - 1) + 1``.
    k
        Number of blocks.
    degree
        Total degree of f.
    colluding
        Workers T that may put together what they were given.

    References
    ----------
    Yu, Li, Raviv, Kalan, Soltanolkotabi and Avestimehr (2019), Lagrange coded computing,
    arXiv:1806.00939.

    Examples
    --------
    >>> PrivateLagrange(9, k=3, degree=2, colluding=2).recovery_threshold
    9
    """

    operation: ClassVar[Operation] = "polynomial"

    n_shares: int
    k: int
    degree: int
    colluding: int
    field: Field = M61

    def __post_init__(self) -> None:
        private_parameters("PrivateLagrange", self.field, self.colluding)
        positive(n_shares=self.n_shares, k=self.k, degree=self.degree)
        reason = "degree (k + T - 1) + 1"
        enough_shares("PrivateLagrange", self.n_shares, self.recovery_threshold, reason)
        enough_points(self.field, self._n_points)

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
        """``degree (k + T - 1) + 1``."""
        return self.degree * (self.k + self.colluding - 1) + 1

    @property
    def _n_points(self) -> int:
        """Shares come first, then the blocks, then the noise: no share is a block."""
        return self.n_shares + self.k + self.colluding

    def generator(self, operand: int = 0) -> Array:
        """Values ``(N, k)`` of the functions that interpolate through the blocks."""
        one_of(operand, 1)
        return self._cardinal()[:, : self.k]

    def noise(self, operand: int = 0) -> Array:
        """Values ``(N, T)`` of the functions that interpolate through the noise."""
        one_of(operand, 1)
        return self._cardinal()[:, self.k :]

    def _cardinal(self) -> Array:
        values = ladder(self.field, self._n_points, self.k + self.colluding)
        at_nodes = self.field.inverse(values[self.n_shares :])
        return self.field.matmul(values[: self.n_shares], at_nodes)

    def responses(self) -> Array:
        """Powers ``(N, R)`` in which ``f`` of the curve expands, R = threshold."""
        return ladder(self.field, self.n_shares, self.recovery_threshold)

    def targets(self) -> Array:
        """The same powers where the blocks lie, ``(k, R)``."""
        values = ladder(self.field, self.n_shares + self.k, self.recovery_threshold)
        return values[self.n_shares :]
