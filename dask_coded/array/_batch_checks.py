"""Which codes that were asked for may serve a batch."""

from typing import Any

import dask.array as da
import numpy as np

from dask_coded.array._accuracy import worst_amplification
from dask_coded.array._chunks import chunk_library
from dask_coded.codes import AbstractBatchCode, AbstractCode, GeneralizedCSA, Lagrange
from dask_coded.errors import ParameterError, UnsupportedDtypeError, UnsupportedOperationError
from dask_coded.fields import PrimeField

__all__ = ["check_digits", "check_exact"]


def check_exact(code: AbstractCode, dtype: np.dtype[Any], operands: list[da.Array]) -> None:
    """Check that a code over a prime field may serve a batch.

    Raises
    ------
    UnsupportedDtypeError, UnsupportedOperationError
        If products are no integers, chunks are not of NumPy, or the code is none of a batch.
    """
    if not (isinstance(code, AbstractBatchCode | Lagrange) and isinstance(code.field, PrimeField)):
        raise UnsupportedOperationError(
            f"{code!r} computes modulo a prime, and codes no batch; use CrossSubspaceAlignment, "
            "FlexibleCSA, GeneralizedCSA or Lagrange, or a code over REAL"
        )
    if dtype.kind not in "iu":
        raise UnsupportedDtypeError(
            f"{code!r} computes modulo a prime, and the products are {dtype}: it takes integers. "
            "Scale, round and convert operands to int64, or use a code over REAL or COMPLEX"
        )
    if chunk_library(*operands) != "numpy":
        raise UnsupportedOperationError(
            f"{code!r} computes modulo a prime, on the host; the operands lie on a device. "
            "Convert their chunks to NumPy"
        )


def check_digits(code: AbstractCode, limit: float, tolerance: float) -> None:
    """Check that cut operands keep their digits: waiting for more shares does not help there.

    Raises
    ------
    UnsupportedOperationError
        If decoding without its losses would amplify rounding too much.
    """
    if not isinstance(code, GeneralizedCSA):
        return
    try:
        worst = worst_amplification(code, code.n_shares - code.recovery_threshold)
    except ParameterError:
        worst = np.inf
    if worst > limit:
        found = "without end" if worst == np.inf else f"{worst:.1e} times"
        raise UnsupportedOperationError(
            f"decoding {code!r} from {code.recovery_threshold} shares may amplify rounding "
            f"{found}, and tolerance={tolerance:.1e} admits {limit:.1e} times. Cut less, make "
            "groups of fewer pairs, use CrossSubspaceAlignment, which cuts nothing, or raise "
            "tolerance; integers are exact over a PrimeField"
        )
