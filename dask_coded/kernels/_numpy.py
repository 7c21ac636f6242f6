"""NumPy backend: which arithmetic combines blocks of which dtype."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dask_coded.errors import UnsupportedDtypeError, UnsupportedOperationError
from dask_coded.fields import COMPLEX, Field, PrimeField
from dask_coded.kernels._integer import combine_integers
from dask_coded.kernels._layout import NDArray, outputs
from dask_coded.kernels._panels import Arithmetic, combine_panels
from dask_coded.kernels._precision import common_dtype, suits_single
from dask_coded.kernels._prime import combine_elements
from dask_coded.typing import AnyArray, Array

__all__ = ["combine_numpy"]

_SINGLE = {"e": np.float32, "f": np.float32, "F": np.complex64}
_DOUBLE = {"e": np.float64, "f": np.float64, "F": np.complex128}


def combine_numpy(
    weights: Array,
    blocks: Sequence[AnyArray],
    *,
    field: Field,
    out: Sequence[AnyArray] | None,
) -> list[AnyArray]:
    """:func:`dask_coded.kernels.combine` for NumPy arrays."""
    arrays = [_plain(index, block) for index, block in enumerate(blocks)]
    if isinstance(field, PrimeField):
        made = outputs(out, len(weights), arrays, [field.dtype])
        combine_elements(weights, arrays, made, field)
        return made
    if field.exact:
        raise UnsupportedOperationError(
            f"NumPy blocks are combined over REAL, COMPLEX and PrimeField; got {field!r}"
        )
    common = common_dtype(arrays)
    if common.kind in "biu":
        if field == COMPLEX:
            raise UnsupportedDtypeError(
                f"blocks of {common} have no complex sums; convert with astype(complex128)"
            )
        return combine_integers(weights, arrays, out, common)
    result = np.result_type(common, np.complex64) if field == COMPLEX else common
    # float16 blocks may be summed into float32 arrays, which keeps the digits of the sum.
    allowed = [result, np.dtype(np.float32)] if result.char == "e" else [result]
    made = outputs(out, len(weights), arrays, allowed)
    combine_panels(weights, arrays, made, Arithmetic(_gathered(weights, result)))
    return made


def _plain(index: int, block: AnyArray) -> NDArray:
    if isinstance(block, np.ma.MaskedArray):
        raise UnsupportedDtypeError(
            f"block {index} is a masked array, and sums of it would lose the mask; "
            "give block.filled(value)"
        )
    return np.asarray(block)


def _gathered(weights: NDArray, result: np.dtype[Any]) -> np.dtype[Any]:
    """What blocks are converted to: float32 data to float64 unless float32 is as good."""
    if result.char not in _SINGLE:
        return result
    single = suits_single(weights, half=result.char == "e")
    return np.dtype((_SINGLE if single else _DOUBLE)[result.char])
