"""Sums of device blocks modulo a prime, with a check that every value read is a residue."""

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from dask_coded.errors import (
    BlockShapeError,
    FieldRangeError,
    ParameterError,
    UnsupportedDtypeError,
    WeightsError,
)
from dask_coded.kernels.gpu._arithmetic import GOLDILOCKS, MERSENNE, modular
from dask_coded.kernels.gpu._device import cupy, shared_device
from dask_coded.kernels.gpu._memory import device_memory
from dask_coded.kernels.gpu._outputs import converted, outputs
from dask_coded.kernels.gpu._sums import sum_blocks
from dask_coded.typing import AnyArray

__all__ = ["check_integers", "combine_modulo", "combine_residues"]


def combine_modulo(
    weights: Any, blocks: Sequence[AnyArray], p: int, *, out: Sequence[AnyArray] | None = None
) -> list[AnyArray]:
    """Weighted sums modulo an odd prime of CuPy blocks of unsigned integers.

    What ``combine`` does under a ``PrimeField``, for primes that it does not know: it stops at
    ``2**61 - 1``, and ``2**64 - 2**32 + 1`` needs all bits of a uint64.

    Parameters
    ----------
    weights
        Matrix ``(o, i)`` of whole numbers of any size, reduced modulo p.
    blocks
        The i CuPy arrays of residues, integers in ``[0, p)`` of one shape. uint64 and int64 are
        read as they are, uint32 and int32 too where p is ``2**31 - 1``; others are converted.
    p
        An odd prime below ``2**61``, or ``2**64 - 2**32 + 1``. That it is prime is not checked.
    out
        The o arrays to write into, uint64, int64 or, for p below ``2**31``, uint32 or int32.

    Returns
    -------
    list of arrays
        The o outputs, uint64 unless `out` says otherwise.

    Raises
    ------
    ParameterError
        If p is even or too large.
    BlockShapeError
        If weights, blocks and `out` do not fit together.
    WeightsError
        If a weight is no whole number.
    UnsupportedDtypeError
        If a block holds no integers, or is no CuPy array.
    FieldRangeError
        If a value is no residue.
    DeviceError, DeviceMemoryError
        If the arrays lie on several devices, or outputs do not fit.

    Examples
    --------
    >>> combine_modulo([[2, 1]], [], 2**64)
    Traceback (most recent call last):
    dask_coded.errors.ParameterError: sums on a GPU are taken modulo an odd prime below 2**61 or \
2**64 - 2**32 + 1; got 18446744073709551616
    """
    prime = int(p)
    if prime != GOLDILOCKS and (prime % 2 == 0 or not 2 < prime < 2**61):
        raise ParameterError(
            f"sums on a GPU are taken modulo an odd prime below 2**61 or 2**64 - 2**32 + 1; got {p}"
        )
    matrix = _whole(weights)
    given = list(blocks)
    if matrix.ndim != 2 or matrix.shape[1] != len(given) or not given:
        raise BlockShapeError(
            f"weights of shape {matrix.shape} and {len(given)} blocks were given; there must be a "
            "column per block, and at least one"
        )
    module = cupy()
    for index, block in enumerate(given):
        if not isinstance(block, module.ndarray):
            raise UnsupportedDtypeError(
                f"combine_modulo takes CuPy arrays; block {index} is a "
                f"{type(block).__module__}.{type(block).__qualname__}. Convert with cupy.asarray, "
                "or use combine with a PrimeField"
            )
    if any(block.shape != given[0].shape for block in given):
        raise BlockShapeError(
            f"blocks must have one shape; got {sorted({tuple(block.shape) for block in given})}"
        )
    name = f"prime:{prime}"
    check_integers(given, name)
    allowed: list[np.dtype[Any]] = [np.dtype(np.uint64), np.dtype(np.int64)]
    if prime < 2**31:
        allowed += [np.dtype(np.uint32), np.dtype(np.int32)]
    named = [(f"block {index}", block) for index, block in enumerate(given)]
    named += [
        (f"out[{index}]", array)
        for index, array in enumerate(out or [])
        if isinstance(array, module.ndarray)
    ]
    with shared_device(named), device_memory("combine_modulo") as demand:
        return combine_residues(module, matrix, given, prime, name, allowed, out, demand)


def _whole(weights: Any) -> Any:
    """The weights as an array of whole numbers of any size."""
    array = np.asarray(weights)
    for index, value in np.ndenumerate(array):
        whole = isinstance(value, int | np.integer | np.bool_) or (
            isinstance(value, float | np.floating) and value.is_integer()
        )
        if not whole:
            raise WeightsError(
                f"weights modulo a prime are whole numbers; the weight at {index} is {value!r}. A "
                "quotient is a product with pow(divisor, -1, p)"
            )
    return array


def check_integers(blocks: Sequence[AnyArray], name: str) -> None:
    """Raise UnsupportedDtypeError unless all blocks hold integers."""
    for index, block in enumerate(blocks):
        if block.dtype.kind not in "biu":
            raise UnsupportedDtypeError(
                f"{name} combines integer blocks of its elements; block {index} has dtype "
                f"{block.dtype}. Scale and round, then encode with field.encode_signed"
            )


def combine_residues(
    module: Any,
    weights: Any,
    blocks: Sequence[AnyArray],
    p: int,
    name: str,
    allowed: Sequence[np.dtype[Any]],
    out: Sequence[AnyArray] | None,
    demand: device_memory,
) -> list[AnyArray]:
    """Sums modulo p on the current device, in the first dtype of `allowed` unless in `out`."""
    if out is None:
        demand.add(len(weights) * blocks[0].size * 8)
    sources = _readable(blocks, p, demand)
    made = outputs(module, out, len(weights), blocks, allowed)
    if not blocks[0].size or not len(weights):
        return made
    targets = made
    if p != MERSENNE and made[0].dtype.itemsize == 4:
        demand.add(len(made) * blocks[0].size * 8)
        targets = [module.empty(array.shape, np.uint64) for array in made]
    flag = module.zeros(1, np.uint32)
    sum_blocks(module, modular(weights, p), sources, targets, demand, flag.data.ptr)
    if int(flag[0]):
        _refuse(blocks, p, name)
    for array, target in zip(targets, made, strict=True):
        if array is not target:
            target[...] = array
    return made


def _readable(blocks: Sequence[AnyArray], p: int, demand: device_memory) -> list[AnyArray]:
    """Blocks of eight bytes an element, or all of four where their kernel takes these."""
    sizes = {block.dtype.itemsize if block.dtype.kind in "iu" else 0 for block in blocks}
    if sizes == {8} or (sizes == {4} and p == MERSENNE):
        # Whether signed makes no difference: what is negative is too large as unsigned.
        return [block.view(f"u{block.dtype.itemsize}") for block in blocks]
    return [
        block.view("u8")
        if block.dtype.kind in "iu" and block.dtype.itemsize == 8
        else converted([block], np.dtype(np.int64), demand)[0].view("u8")
        for block in blocks
    ]


def _refuse(blocks: Sequence[AnyArray], p: int, name: str) -> NoReturn:
    for index, block in enumerate(blocks):
        lowest, highest = int(block.min()), int(block.max())
        if lowest < 0 or highest >= p:
            raise FieldRangeError(
                f"{name} has elements 0 to {p - 1}; block {index} holds values from {lowest} to "
                f"{highest}. Encode signed data with field.encode_signed, or take a larger prime"
            )
    raise AssertionError("a flag was set, so a block has a value out of range")
