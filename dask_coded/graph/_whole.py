"""Checks of whole numbers, under which integers agree to the last bit, wrapped around or not."""

from functools import lru_cache
from typing import Any

import numpy as np

from dask_coded.codes import AbstractCode
from dask_coded.errors import UnsupportedDtypeError
from dask_coded.fields import PrimeField

__all__ = ["EXACT", "free_columns", "whole_checker"]

#: In which whole errors are located: differences of fewer than 61 bits are all told apart.
EXACT = PrimeField(2**61 - 1)


@lru_cache(maxsize=256)
def whole_checker(code: AbstractCode, shares: tuple[int, ...]) -> Any:
    """Check matrix of whole numbers, in the field of :data:`EXACT`; an identity is part of it.

    Raises
    ------
    UnsupportedDtypeError
        If the code has none.
    """
    responses: Any = np.asarray(code.responses())[list(shares)]
    whole = np.rint(responses)
    check = EXACT.left_null(EXACT.asarray(whole.astype(np.int64)))
    signed: Any = EXACT.decode_signed(check)
    exact = (whole == responses).all() and (np.abs(signed) < 2**20).all()
    if not exact or (signed @ whole.astype(np.int64)).any():
        raise UnsupportedDtypeError(
            f"{code!r} has no check of whole numbers, so that integers cannot be verified; use "
            "MDS(k + 1, k, parity='ones') or Replication, or convert to float64"
        )
    return check


def free_columns(check: Any) -> list[int]:
    """For each row a column that is one there and zero in all others."""
    alone = (check != 0).sum(axis=0) == 1
    return [int(np.flatnonzero(alone & (row == 1))[0]) for row in check]
