"""Which precision a sum needs, in every array library alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dask_coded.errors import UnsupportedDtypeError
from dask_coded.typing import AnyArray, Array

__all__ = ["common_dtype", "suits_single"]

_FLOATS = "efdFD"
# float32 sums stay in float32 for rows of at most so many weights, of sizes that sum to at most
# this: their error then is a few roundings of the data.
_SINGLE_TERMS = 32
_SINGLE_SUM = 32.0
# Weights of other sizes might overflow or vanish in float32, or their products might.
_SMALLEST_SINGLE, _LARGEST_SINGLE = 2.0**-64, 2.0**64
# float16 carries so few digits that longer float32 sums of any weights add nothing to its error.
_HALF_TERMS = 1024


def common_dtype(arrays: Sequence[AnyArray]) -> np.dtype[Any]:
    """dtype of the sums of all blocks, in this machine's byte order.

    Raises
    ------
    UnsupportedDtypeError
        If a block holds no numbers of a size that sums well, or integers have no common dtype.
    """
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


def suits_single(weights: Array, *, half: bool) -> bool:
    """Whether sums with these weights lose nothing in float32, of float32 or of `half` blocks."""
    sizes = np.abs(weights)
    terms = int((sizes > 0).sum(axis=1).max(initial=0))
    if sizes.min(initial=1.0, where=sizes > 0) < _SMALLEST_SINGLE:
        return False
    if half:
        return bool(sizes.max(initial=0.0) <= _LARGEST_SINGLE) and terms <= _HALF_TERMS
    return bool(sizes.sum(axis=1).max(initial=0.0) <= _SINGLE_SUM) and terms <= _SINGLE_TERMS
