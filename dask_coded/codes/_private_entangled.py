"""Private entangled codes: all three dimensions are cut, and noise fills the gaps."""

from dataclasses import dataclass

import numpy as np

from dask_coded.codes._check import enough_shares, one_of, positive
from dask_coded.codes._points import enough_points, ladder
from dask_coded.codes._private import M61, AbstractPrivateMatmulCode, private_parameters
from dask_coded.codes._registry import register
from dask_coded.fields import Field
from dask_coded.typing import Array

__all__ = ["PrivateEntangled"]


@register("private_entangled")
@dataclass(frozen=True)
class PrivateEntangled(AbstractPrivateMatmulCode):
    """``C = A @ B`` from any ``(m p + T)(n + 1) - 1`` shares, T of which together tell nothing.

    With m = n = 1 these are T-private MatDot codes, with threshold ``2 (p + T) - 1``; with p = 1
    they are T-private polynomial codes. Every worker has one share.

    Parameters
    ----------
    n_shares
        Number of shares, and of workers.
    m, p, n
        Cuts of the rows of A, of the inner dimension, of the columns of B.
    colluding
        Workers T that may put together what they were given.

    Notes
    -----
    ``A(x) = sum A_ik x^(k + p i) + sum_t R_t x^(m p + t)`` and
    ``B(x) = sum B_kj x^(p - 1 - k + (m p + T) j) + sum_t S_t x^((m p + T)(n - 1) + m p + t)``.
    ``C_ij`` is the coefficient of ``x^(p - 1 + p i + (m p + T) j)`` of their product: the noise
    of A lies above the last of these and below the first of the next j, the noise of B above all.
    Noise coefficients of T workers are a Vandermonde matrix of distinct points other than zero,
    with its rows scaled, and so regular.

    References
    ----------
    Kakar, Ebadifar and Sezgin (2018), Rate-efficiency and straggler-robustness through partition
    in distributed two-sided secure matrix computation, arXiv:1810.13006, for p = 1; Yu, Maddah-Ali
    and Avestimehr (2020), arXiv:1801.07487, for the cut of the inner dimension.

    Examples
    --------
    >>> PrivateEntangled(8, m=1, p=2, n=1, colluding=1).recovery_threshold
    5
    """

    n_shares: int
    m: int
    p: int
    n: int
    colluding: int
    field: Field = M61

    def __post_init__(self) -> None:
        private_parameters("PrivateEntangled", self.field, self.colluding)
        positive(n_shares=self.n_shares, m=self.m, p=self.p, n=self.n)
        reason = "(m p + T)(n + 1) - 1"
        enough_shares("PrivateEntangled", self.n_shares, self.recovery_threshold, reason)
        enough_points(self.field, self.n_shares)

    @property
    def splits(self) -> tuple[int, int, int]:
        """``(m, p, n)``."""
        return self.m, self.p, self.n

    @property
    def recovery_threshold(self) -> int:
        """``(m p + T)(n + 1) - 1``."""
        return self._stride * (self.n + 1) - 1

    @property
    def _stride(self) -> int:
        """Coefficients of A, noise included."""
        return self.m * self.p + self.colluding

    def generator(self, operand: int = 0) -> Array:
        """Powers of the point of each share, ``(N, m p)`` or ``(N, p n)``."""
        one_of(operand, 2)
        if operand == 0:
            return self._powers(np.arange(self.m * self.p))
        k, j = np.ix_(range(self.p), range(self.n))
        return self._powers((self.p - 1 - k + self._stride * j).ravel())

    def noise(self, operand: int = 0) -> Array:
        """The next T powers above all blocks of the operand, ``(N, T)``."""
        one_of(operand, 2)
        first = self.m * self.p + (self._stride * (self.n - 1) if operand else 0)
        return self._powers(first + np.arange(self.colluding))

    def _powers(self, exponents: Array) -> Array:
        return ladder(self.field, self.n_shares, int(exponents.max()) + 1)[:, exponents]
