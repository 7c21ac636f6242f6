"""Device arrays to sum from and into: converted, allocated, checked."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dask_coded.errors import BlockShapeError
from dask_coded.kernels._layout import check_overlap
from dask_coded.kernels.gpu._geometry import shadow
from dask_coded.kernels.gpu._memory import device_memory
from dask_coded.typing import AnyArray

__all__ = ["aligned", "converted", "copied_by_parts", "is_aligned", "outputs"]


def converted(
    blocks: Sequence[AnyArray], dtype: np.dtype[Any], demand: device_memory
) -> list[AnyArray]:
    """The blocks in one dtype; those that have it already are not copied."""
    other = [block.size for block in blocks if block.dtype != dtype]
    demand.add(sum(other) * dtype.itemsize)
    return [block if block.dtype == dtype else block.astype(dtype) for block in blocks]


def is_aligned(array: AnyArray) -> bool:
    """Whether a kernel may take each element in one access.

    A complex view of real numbers may start between two of them.
    """
    itemsize: int = array.dtype.itemsize
    steps = [step for length, step in zip(array.shape, array.strides, strict=True) if length > 1]
    return array.dtype.kind != "c" or not any(n % itemsize for n in (array.data.ptr, *steps))


def aligned(module: Any, blocks: Sequence[AnyArray], demand: device_memory) -> list[AnyArray]:
    """The blocks, those copied whose elements a kernel cannot take in one access."""
    other = [block.nbytes for block in blocks if not is_aligned(block)]
    demand.add(sum(other))
    return [
        block
        if is_aligned(block)
        else copied_by_parts(block, module.empty(block.shape, block.dtype))
        for block in blocks
    ]


def copied_by_parts(source: AnyArray, target: AnyArray) -> AnyArray:
    """`target`, with the complex elements of `source`, which need be aligned as real ones only."""
    target.real[...] = source.real
    target.imag[...] = source.imag
    return target


def outputs(
    module: Any,
    out: Sequence[AnyArray] | None,
    count: int,
    blocks: Sequence[AnyArray],
    dtypes: Sequence[np.dtype[Any]],
) -> list[AnyArray]:
    """New arrays of the first of `dtypes`, or the caller's, checked.

    Raises
    ------
    BlockShapeError
        If `out` does not fit: number, type, shape, dtype (one of `dtypes`, of all arrays), overlap.
    """
    shape = tuple(blocks[0].shape)
    if out is None:
        fortran = all(b.flags.f_contiguous and not b.flags.c_contiguous for b in blocks)
        order = "F" if fortran else "C"
        return [module.empty(shape, dtypes[0], order=order) for _ in range(count)]
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
