"""NumPy backend: which arithmetic combines blocks of which dtype."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dask_coded.errors import UnsupportedDtypeError, UnsupportedOperationError
from dask_coded.fields import COMPLEX, Field, PrimeField
from dask_coded.kernels._integer import combine_integers
from dask_coded.kernels._layout import NDArray, outputs
from dask_coded.kernels._panels import Arithmetic, combine_panels
from dask_coded.kernels._prime import combine_elements
from dask_coded.typing import AnyArray, Array

__all__ = ["combine_numpy"]

_FLOATS = "efdFD"
_SINGLE = {"e": np.float32, "f": np.float32, "F": np.complex64}
_DOUBLE = {"e": np.float64, "f": np.float64, "F": np.complex128}
# float32 sums stay in float32 for rows of at most so many weights, of sizes that sum to at most
# this: their error then is a few roundings of the data.
_SINGLE_TERMS = 32
_SINGLE_SUM = 32.0
# Weights of other sizes might overflow or vanish in float32, or their products might.
_SMALLEST_SINGLE, _LARGEST_SINGLE = 2.0**-64, 2.0**64
# float16 carries so few digits that longer float32 sums of any weights add nothing to its error.
_HALF_TERMS = 1024


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
    common = _common_dtype(arrays)
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
    combine_panels(weights, arrays, made, _arithmetic(weights, result))
    return made


def _plain(index: int, block: AnyArray) -> NDArray:
    if isinstance(block, np.ma.MaskedArray):
        raise UnsupportedDtypeError(
            f"block {index} is a masked array, and sums of it would lose the mask; "
            "give block.filled(value)"
        )
    return np.asarray(block)


def _common_dtype(arrays: Sequence[NDArray]) -> np.dtype[Any]:
    """dtype of the sums of all blocks, in this machine's byte order."""
    for index, array in enumerate(arrays):
        if array.dtype.kind not in "biu" and array.dtype.char not in _FLOATS:
            raise UnsupportedDtypeError(
                f"block {index} has dtype {array.dtype}, which has no fast accurate sums; "
                "convert with astype(float64)"
            )
    common = np.result_type(*{array.dtype.newbyteorder("=") for array in arrays})
    if common.kind == "f" and all(array.dtype.kind in "biu" for array in arrays):
        raise UnsupportedDtypeError(
            "int64 and uint64 blocks have no common integer dtype; convert to one of them"
        )
    return common


def _arithmetic(weights: NDArray, result: np.dtype[Any]) -> Arithmetic:
    """How floating blocks are summed: float32 data in float64 unless float32 is as good."""
    if result.char in _SINGLE:
        single = _suits_half(weights) if result.char == "e" else _suits_single(weights)
        gathered = np.dtype((_SINGLE if single else _DOUBLE)[result.char])
    else:
        gathered = result
    return Arithmetic(gathered)


def _suits_single(weights: NDArray) -> bool:
    sizes = np.abs(weights)
    return bool(
        sizes.sum(axis=1).max(initial=0.0) <= _SINGLE_SUM
        and (sizes > 0).sum(axis=1).max(initial=0) <= _SINGLE_TERMS
        and sizes.min(initial=1.0, where=sizes > 0) >= _SMALLEST_SINGLE
    )


def _suits_half(weights: NDArray) -> bool:
    sizes = np.abs(weights)
    return bool(
        sizes.max(initial=0.0) <= _LARGEST_SINGLE
        and (sizes > 0).sum(axis=1).max(initial=0) <= _HALF_TERMS
        and sizes.min(initial=1.0, where=sizes > 0) >= _SMALLEST_SINGLE
    )
