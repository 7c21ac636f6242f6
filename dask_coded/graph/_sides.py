"""Which operand of a product a code encodes, and how."""

from typing import Literal, TypeAlias

import numpy as np

from dask_coded.codes import AbstractCode, AbstractLinearCode
from dask_coded.typing import Array

__all__ = ["Side", "generators_of", "splits_of"]

#: The rows of the left operand, the columns of the right one, or both.
Side: TypeAlias = Literal["rows", "columns", "both"]


def splits_of(code: AbstractCode, side: Side) -> tuple[int, int, int]:
    """Blocks of the code along rows, inner dimension and columns, ``(m, p, n)``."""
    if isinstance(code, AbstractLinearCode):
        return (code.k, 1, 1) if side == "rows" else (1, 1, code.k)
    (m, p), (_, n) = code.operand_grids
    return m, p, n


def generators_of(code: AbstractCode, side: Side) -> tuple[Array, Array]:
    """Encoding matrices ``(n_shares, m p)`` and ``(n_shares, p n)`` of both operands.

    An operand that is not encoded goes to every share as it is.
    """
    if side == "both":
        return code.generator(0), code.generator(1)
    as_it_is = np.ones((code.n_shares, 1), dtype=code.field.dtype)
    if side == "rows":
        return code.generator(), as_it_is
    return as_it_is, code.generator()
