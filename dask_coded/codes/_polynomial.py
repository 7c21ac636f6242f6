"""Outer-product codes: the rows of A and the columns of B are cut, the inner dimension is not."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from dask_coded.codes._bilinear import AbstractMatmulCode
from dask_coded.codes._check import (
    arithmetic,
    enough_shares,
    one_of,
    positive,
    seeded,
    unpaired,
)
from dask_coded.codes._points import enough_points, ladder
from dask_coded.codes._random import unit_rows
from dask_coded.codes._registry import register
from dask_coded.errors import ParameterError
from dask_coded.fields import PAIRED, REAL, Field
from dask_coded.typing import Array

__all__ = ["Basis", "Polynomial"]

Basis: TypeAlias = Literal["auto", "random", "points"]


@register("polynomial")
@dataclass(frozen=True)
class Polynomial(AbstractMatmulCode):
    """Any ``m n`` products of coded row blocks of A and coded column blocks of B give ``A @ B``.

    Parameters
    ----------
    n_shares
        Number of shares, at least m n.
    m, n
        Row blocks of A, column blocks of B.
    basis
        ``"random"``: systematic random Khatri-Rao; share ``i n + j`` is ``A_i, B_j``, and parity
        shares hold random combinations of unit norm of each operand. ``"points"``: evaluations
        at distinct points, trigonometric over the reals. ``"auto"`` is random for floats and
        points in an exact field, where only points make every ``m n`` shares certain to decode.
    seed
        Of the random combinations; the same seed gives the same code everywhere.

    References
    ----------
    Yu, Maddah-Ali and Avestimehr (2017), Polynomial codes, arXiv:1705.10464.
    Subramaniam, Heidarzadeh and Narayanan (2019), Random Khatri-Rao-product codes for
    numerically-stable distributed matrix multiplication, arXiv:1907.05965.

    Examples
    --------
    >>> code = Polynomial(6, m=2, n=2)
    >>> code.recovery_threshold, code.decoder([0, 1, 2, 3]).amplification
    (4, 1.0)
    """

    n_shares: int
    m: int
    n: int
    basis: Basis = "auto"
    seed: int = 0
    field: Field = REAL

    def __post_init__(self) -> None:
        arithmetic(self.field)
        seeded(self.seed)
        positive(n_shares=self.n_shares, m=self.m, n=self.n)
        enough_shares("Polynomial", self.n_shares, self.m * self.n, "one per output block")
        if self.basis not in ("auto", "random", "points"):
            raise ParameterError(f"basis={self.basis!r}; choose 'auto', 'random' or 'points'")
        if self.basis == "points":
            unpaired("Polynomial with basis='points'", self.field)
        if self.field.exact and self.basis == "random":
            raise ParameterError(
                f"random combinations in {self.field.name} may happen to be dependent; "
                "use basis='points', which never are"
            )
        enough_points(self.field, self.n_shares)

    @property
    def splits(self) -> tuple[int, int, int]:
        """``(m, 1, n)``."""
        return self.m, 1, self.n

    @property
    def recovery_threshold(self) -> int:
        """``m n``, the least possible."""
        return self.m * self.n

    def generator(self, operand: int = 0) -> Array:
        """Coefficients of A's row blocks ``(N, m)``, or of B's column blocks ``(N, n)``."""
        one_of(operand, 2)
        if self.basis == "points" or self.field.exact:
            size, stride = (self.m, 1) if operand == 0 else (self.n, self.m)
            return ladder(self.field, self.n_shares, size, stride=stride)
        dtype = self.field.dtype
        spare = self.n_shares - self.m * self.n
        if operand == 0:
            parity = unit_rows(self.field, 2 * self.seed, spare, self.m)
            return np.concatenate([np.repeat(np.eye(self.m, dtype=dtype), self.n, axis=0), parity])
        # Paired halves are rows of A; what multiplies them from the right has to be real.
        kind = REAL if self.field == PAIRED else self.field
        parity = unit_rows(kind, 2 * self.seed + 1, spare, self.n).astype(dtype)
        return np.concatenate([np.tile(np.eye(self.n, dtype=dtype), (self.m, 1)), parity])
