"""MatDot codes: the inner dimension is cut, every share computes a full-size product."""

from dataclasses import dataclass

from dask_coded.codes._bilinear import AbstractMatmulCode
from dask_coded.codes._check import arithmetic, enough_shares, one_of, positive, unpaired
from dask_coded.codes._points import cardinal_ladder, enough_points, ring_of, spread_first
from dask_coded.codes._registry import register
from dask_coded.fields import REAL, Field
from dask_coded.typing import Array

__all__ = ["MatDot"]


@register("matdot")
@dataclass(frozen=True)
class MatDot(AbstractMatmulCode):
    """``C = sum_k A_k B_k`` from the first p shares, or from any ``2 p - 1``.

    Both operands are interpolated through the first p evaluation points, where the shares are
    the blocks themselves. The product is interpolated through any ``2 p - 1`` results and summed
    over the first p points.

    Parameters
    ----------
    n_shares
        Number of shares, at least ``2 p - 1``.
    p
        Column blocks of A and row blocks of B.

    References
    ----------
    Dutta, Fahim, Haddadpour, Jeong, Cadambe and Grover (2020), On the optimal recovery threshold
    of coded matrix multiplication, arXiv:1801.10292.

    Examples
    --------
    >>> code = MatDot(7, p=3)
    >>> code.recovery_threshold, code.is_decodable([0, 1, 2]), code.is_decodable([0, 1, 5])
    (5, True, False)
    """

    n_shares: int
    p: int
    field: Field = REAL

    def __post_init__(self) -> None:
        arithmetic(self.field)
        unpaired("MatDot", self.field)
        positive(n_shares=self.n_shares, p=self.p)
        enough_shares("MatDot", self.n_shares, 2 * self.p - 1, "2 p - 1")
        enough_points(self.field, self.n_shares)

    @property
    def splits(self) -> tuple[int, int, int]:
        """``(1, p, 1)``."""
        return 1, self.p, 1

    @property
    def recovery_threshold(self) -> int:
        """``2 p - 1``; the first p shares are an early set."""
        return 2 * self.p - 1

    @property
    def ring(self) -> tuple[int, ...]:
        """Shares in the order of their evaluation points."""
        return ring_of(spread_first(self.n_shares, self.p))

    def generator(self, operand: int = 0) -> Array:
        """Values ``(N, p)`` of the interpolating functions, the same for both operands."""
        one_of(operand, 2)
        return cardinal_ladder(self.field, self.n_shares, self.p)
