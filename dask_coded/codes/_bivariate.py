"""Bivariate codes: several products to a worker, each of which counts."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from dask_coded.codes._bilinear import AbstractMatmulCode
from dask_coded.codes._check import arithmetic, enough_shares, one_of, positive, seeded, unpaired
from dask_coded.codes._points import enough_points, ladder, random_powers, scattered
from dask_coded.codes._random import orthonormal_rows
from dask_coded.codes._registry import register
from dask_coded.errors import ParameterError
from dask_coded.fields import REAL, Field
from dask_coded.typing import Array

__all__ = ["Bivariate"]


@register("bivariate")
@dataclass(frozen=True)
class Bivariate(AbstractMatmulCode):
    """Any ``m n`` products give ``A @ B``, several of which one worker makes of few shares.

    A worker has `a_shares` of A and `b_shares` of B, and multiplies all pairs of them, in whatever
    order. With one share of A it stores and is sent ``1 + b_shares`` shares for `b_shares`
    products; polynomial codes take twice as many.

    Parameters
    ----------
    n_shares
        Number of products, ``a_shares * b_shares`` for each worker.
    m, n
        Row blocks of A, column blocks of B.
    a_shares, b_shares
        Shares of a worker. Either it has one of the one operand and at most as many of the other
        as that has blocks, or all that there are of the one, and any number of the other.
    seed
        Of the random coefficients of the operand of which a worker has most; the same seed gives
        the same code everywhere.

    Raises
    ------
    ParameterError
        If some products of one worker would repeat what others give, or a prime field is so small
        that random points often coincide.

    Notes
    -----
    Product (w, q) is that of ``A(x_w)`` and ``B(y_wq)``. For ``y_wq ** n = x_w`` it is a value of
    a polynomial in y of degree below ``m n``, so any ``m n`` of them are independent; and what is
    independent for one choice of points is for nearly all. Over floats ``x_w`` lie evenly on a
    circle and the coefficients of B are rows of a random orthogonal matrix, another one for each
    ``x_w``. Over a prime field ``y_wq`` are random: a set of ``m n`` products fails with a chance
    of some thousands over p.

    A worker with all `n` shares of B can make any combination of them, so it goes on with another
    x and other y, as if it were another worker.

    References
    ----------
    Hasircioglu, Gomez-Vilardebo and Gunduz (2020), Bivariate polynomial coding for efficient
    distributed matrix multiplication, arXiv:2001.07227. It takes derivatives at one y in place of
    values at several, and then needs them in order.

    Examples
    --------
    >>> code = Bivariate(12, m=2, n=3, b_shares=3)
    >>> code.recovery_threshold, code.workers[1]
    (6, (1, 5, 9))
    >>> code.is_decodable([0, 4, 8, 1, 5, 2])
    True
    """

    n_shares: int
    m: int
    n: int
    a_shares: int = 1
    b_shares: int = 1
    seed: int = 0
    field: Field = REAL

    def __post_init__(self) -> None:
        arithmetic(self.field)
        unpaired("Bivariate", self.field)
        seeded(self.seed)
        positive(n_shares=self.n_shares, m=self.m, n=self.n)
        positive(a_shares=self.a_shares, b_shares=self.b_shares)
        a, b = self.a_shares, self.b_shares
        if not (self._a_leads or _leads(b, a, self.m)):
            raise ParameterError(
                f"with a_shares={a} of m={self.m} and b_shares={b} of n={self.n} some products "
                "would repeat what others give; take one share of one operand and at most all of "
                "the other, or all of one and any number of the other"
            )
        if self.n_shares % (a * b):
            raise ParameterError(
                f"each worker makes {a} x {b} products, and n_shares={self.n_shares} is no "
                "multiple of that; give one that is"
            )
        enough_shares("Bivariate", self.n_shares, self.m * self.n, "one per output block")
        enough_points(self.field, self.n_shares)
        scattered("Bivariate", self.field)

    @property
    def splits(self) -> tuple[int, int, int]:
        """``(m, 1, n)``."""
        return self.m, 1, self.n

    @property
    def recovery_threshold(self) -> int:
        """``m n``, the least possible, of whichever workers."""
        return self.m * self.n

    @property
    def workers(self) -> tuple[tuple[int, ...], ...]:
        """Shares of each worker, in the order in which those of one leading share are together.

        It is the :meth:`placement` on as many workers.
        """
        count = self.n_shares // (self.a_shares * self.b_shares)
        return tuple(tuple(range(first, self.n_shares, count)) for first in range(count))

    def generator(self, operand: int = 0) -> Array:
        """Coefficients of A's row blocks ``(N, m)``, or of B's column blocks ``(N, n)``."""
        one_of(operand, 2)
        size = (self.m, self.n)[operand]
        leading, following = (self.a_shares, self.b_shares)[:: 1 if self._a_leads else -1]
        count = self.n_shares // (leading * following)
        # Points of one worker lie far apart on the circle: they may be lost together.
        share = np.arange(self.n_shares)
        point = share // (count * following) * count + share % count
        if (operand == 0) == self._a_leads:
            values: Any = ladder(self.field, count * leading, size)[point]
            return cast(Array, values if self.field.exact else values / np.sqrt(size))
        if self.field.exact:
            return random_powers(self.field, self.seed, self.n_shares, size)
        frames: Any = orthonormal_rows(self.field, self.seed, count * leading, following, size)
        return cast(Array, frames[point, share // count % following])

    @property
    def _a_leads(self) -> bool:
        """Whether A has the x and B the y."""
        return _leads(self.a_shares, self.b_shares, self.n)


def _leads(one: int, other: int, blocks: int) -> bool:
    """Whether products by pairs are independent, with so many shares of the other operand."""
    return other <= blocks and (one == 1 or other == blocks)
