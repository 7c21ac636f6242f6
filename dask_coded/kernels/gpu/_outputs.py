"""Device arrays to sum from and into: converted, allocated, checked."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dask_coded.errors import BlockShapeError
from dask_coded.kernels._layout import check_overlap
from dask_coded.kernels.gpu._geometry import shadow
from dask_coded.typing import AnyArray

__all__ = ["converted", "outputs"]


def converted(
    module: Any, blocks: Sequence[AnyArray], dtype: np.dtype[Any], held: list[AnyArray]
) -> list[AnyArray]:
    """The blocks in one dtype; those that have it already are not copied."""
    ready = []
    for block in blocks:
        if block.dtype != dtype:
            block = block.astype(dtype)
            held.append(block)
        ready.append(block)
    return ready


def outputs(
    module: Any,
    out: Sequence[AnyArray] | None,
    count: int,
    blocks: Sequence[AnyArray],
    dtypes: Sequence[np.dtype[Any]],
    held: list[AnyArray],
) -> list[AnyArray]:
    """New arrays of the first of `dtypes`, put into `held` too, or the caller's, checked.

    Raises
    ------
    BlockShapeError
        If `out` does not fit: number, type, shape, dtype (one of `dtypes`, of all arrays), overlap.
    """
    shape = tuple(blocks[0].shape)
    if out is None:
        fortran = all(b.flags.f_contiguous and not b.flags.c_contiguous for b in blocks)
        for _ in range(count):
            held.append(module.empty(shape, dtypes[0], order="F" if fortran else "C"))
        return held[len(held) - count :]
    given = list(out)
    if len(given) != count:
        raise BlockShapeError(f"weights make {count} outputs; out holds {len(given)} arrays")
    for index, array in enumerate(given):
        if not isinstance(array, module.ndarray):
            raise BlockShapeError(
                f"out[{index}] is a {type(array).__module__}.{type(array).__qualname__}; CuPy "
                "blocks need CuPy arrays in out"
            )
        if tuple(array.shape) != shape or array.dtype not in dtypes:
            wanted = " or ".join(str(dtype) for dtype in dtypes)
            raise BlockShapeError(
                f"out[{index}] must be {wanted} of shape {shape}; got {array.dtype} of shape "
                f"{tuple(array.shape)}"
            )
        if array.dtype != given[0].dtype:
            raise BlockShapeError(
                f"arrays of out must have one dtype; out[0] is {given[0].dtype}, out[{index}] is "
                f"{array.dtype}"
            )
    check_overlap([shadow(block) for block in blocks], [shadow(array) for array in given])
    return given
