"""CuPy backend of ``combine``: which arithmetic sums blocks of which dtype, on their device."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dask_coded.errors import (
    UnsupportedDtypeError,
    UnsupportedOperationError,
)
from dask_coded.fields import COMPLEX, Field, PrimeField
from dask_coded.kernels._precision import common_dtype, suits_single
from dask_coded.kernels._support import plan_rows
from dask_coded.kernels.gpu._arithmetic import floating, wrapping
from dask_coded.kernels.gpu._device import cupy, shared_device
from dask_coded.kernels.gpu._memory import device_memory
from dask_coded.kernels.gpu._modular import check_integers, combine_residues
from dask_coded.kernels.gpu._outputs import aligned, converted, copied_by_parts, is_aligned, outputs
from dask_coded.kernels.gpu._sums import sum_blocks, sums_by_route
from dask_coded.typing import AnyArray, Array

__all__ = ["combine_cupy"]


def combine_cupy(
    weights: Array,
    blocks: Sequence[AnyArray],
    *,
    field: Field,
    out: Sequence[AnyArray] | None,
) -> list[AnyArray]:
    """:func:`dask_coded.kernels.combine` for CuPy arrays, on the current stream of their device.

    Sums are those of NumPy blocks, to the same precision; bfloat16 (of ml_dtypes) is summed as
    float16 is. Blocks of one dtype are read where they lie, in any layout of up to four joined
    axes; others are converted or copied first, on the device. Nothing is copied to the host but
    one word under a prime field, which says whether a value was no element.

    Raises
    ------
    DeviceError
        If blocks or `out` lie on several devices.
    DeviceMemoryError
        If the outputs do not fit.
    """
    module = cupy()
    named = [(f"block {index}", block) for index, block in enumerate(blocks)]
    named += [
        (f"out[{index}]", array)
        for index, array in enumerate(out or [])
        if isinstance(array, module.ndarray)
    ]
    # Whatever the functions called here make is theirs to be forgotten when memory runs out.
    with shared_device(named), device_memory("combine") as demand:
        if isinstance(field, PrimeField):
            return _residues(module, weights, blocks, field, out, demand)
        if field.exact:
            raise UnsupportedOperationError(
                f"CuPy blocks are combined over REAL, COMPLEX and PrimeField; got {field!r}"
            )
        common = _common_dtype(blocks)
        if common.kind in "biu":
            return _integers(module, weights, blocks, field, common, out, demand)
        return _floats(module, weights, blocks, field, common, out, demand)


def _common_dtype(blocks: Sequence[AnyArray]) -> np.dtype[Any]:
    dtypes = {block.dtype for block in blocks}
    brain: list[np.dtype[Any]] = [dtype for dtype in dtypes if dtype.name == "bfloat16"]
    if not brain:
        return common_dtype(blocks)
    if len(dtypes) > 1:
        raise UnsupportedDtypeError(
            f"bfloat16 blocks are combined with each other only; got also "
            f"{', '.join(sorted(str(dtype) for dtype in dtypes - set(brain)))}. Convert all blocks "
            "to one dtype with astype"
        )
    return brain[0]


def _floats(
    module: Any,
    weights: Array,
    blocks: Sequence[AnyArray],
    field: Field,
    common: np.dtype[Any],
    out: Sequence[AnyArray] | None,
    demand: device_memory,
) -> list[AnyArray]:
    result = common
    half = common.itemsize == 2
    if field == COMPLEX:
        if common.name == "bfloat16":
            raise UnsupportedDtypeError(
                "bfloat16 blocks have no complex sums; convert with astype(float32)"
            )
        result = np.result_type(common, np.complex64)
    allowed = [result, np.dtype(np.float32)] if half and result == common else [result]
    if result.char in "dD":
        wide = True
    else:
        wide = not suits_single(weights, half=half and result == common)
    if out is None:
        demand.add(len(weights) * blocks[0].size * result.itemsize)
    sources = aligned(module, converted(blocks, common, demand), demand)
    if out is None and result == common and not half and wide == (result.char in "dD"):
        product = sums_by_route(module, weights, sources, demand)
        if product is not None:
            return product
    made = outputs(module, out, len(weights), blocks, allowed)
    if not blocks[0].size:
        return made
    demand.add(sum(array.nbytes for array in made if not is_aligned(array)))
    targets = [
        array if is_aligned(array) else module.empty(array.shape, array.dtype) for array in made
    ]
    steps = plan_rows(weights)
    for row in steps.zeros:
        targets[row][...] = 0
    for row, column in steps.copies:
        targets[row][...] = sources[column]
    for group in steps.groups:
        chosen = weights[np.ix_(group.rows, group.columns)]
        sum_blocks(
            module,
            floating(chosen, common.kind == "c", wide),
            [sources[column] for column in group.columns],
            [targets[row] for row in group.rows],
            demand,
        )
    for array, target in zip(targets, made, strict=True):
        if array is not target:
            copied_by_parts(array, target)
    return made


def _integers(
    module: Any,
    weights: Array,
    blocks: Sequence[AnyArray],
    field: Field,
    common: np.dtype[Any],
    out: Sequence[AnyArray] | None,
    demand: device_memory,
) -> list[AnyArray]:
    if field == COMPLEX:
        raise UnsupportedDtypeError(
            f"blocks of {common} have no complex sums; convert with astype(complex128)"
        )
    whole = np.rint(weights)
    if (whole != weights).any():
        row, column = np.argwhere(whole != weights)[0]
        raise UnsupportedDtypeError(
            f"blocks of {common} have exact sums for whole weights only; the weight of block "
            f"{column} in output {row} is {weights[row, column]}. Use a code over a PrimeField, or "
            "convert the blocks with astype(float64)"
        )
    if out is None:
        demand.add(len(weights) * blocks[0].size * common.itemsize)
    sources = converted(blocks, common, demand)
    made = outputs(module, out, len(weights), blocks, [common])
    if blocks[0].size and len(weights):
        sum_blocks(module, wrapping(weights, common), sources, made, demand)
    return made


def _residues(
    module: Any,
    weights: Array,
    blocks: Sequence[AnyArray],
    field: PrimeField,
    out: Sequence[AnyArray] | None,
    demand: device_memory,
) -> list[AnyArray]:
    check_integers(blocks, field.name)
    if field.p == 2:
        raise UnsupportedOperationError(
            "CuPy blocks are combined over primes other than 2; convert the blocks with "
            "astype(bool), whose sums are modulo 2, and use field=REAL"
        )
    allowed: list[np.dtype[Any]] = [np.dtype(np.int64), np.dtype(np.uint64)]
    if field.p < 2**31:
        allowed += [np.dtype(np.int32), np.dtype(np.uint32)]
    return combine_residues(module, weights, blocks, field.p, field.name, allowed, out, demand)
