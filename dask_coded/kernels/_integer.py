"""Integer and boolean sums modulo ``2**bits``, as NumPy's integer arithmetic wraps."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dask_coded.errors import UnsupportedDtypeError
from dask_coded.kernels._layout import NDArray, coalesced, outputs, tiles
from dask_coded.kernels._panels import Arithmetic, combine_panels
from dask_coded.kernels._support import plan_rows
from dask_coded.typing import AnyArray

__all__ = ["combine_integers"]

# Elements of a tile: accumulator and one product stay in the first-level cache.
_TILE = 2048


def combine_integers(
    weights: NDArray,
    blocks: Sequence[NDArray],
    out: Sequence[AnyArray] | None,
    dtype: np.dtype[Any],
) -> list[AnyArray]:
    """Sums in `dtype` with whole weights, modulo ``2**bits``; booleans modulo 2.

    Raises
    ------
    UnsupportedDtypeError
        If a weight is not whole.
    """
    whole = np.rint(weights)
    if (whole != weights).any():
        row, column = np.argwhere(whole != weights)[0]
        raise UnsupportedDtypeError(
            f"blocks of {dtype} have exact sums for whole weights only; the weight of block "
            f"{column} in output {row} is {weights[row, column]}. Use a code over a PrimeField, or "
            "convert the blocks with astype(float64)"
        )
    made = outputs(out, len(weights), blocks, [dtype])
    bits = 1 if dtype.kind == "b" else 8 * dtype.itemsize
    wrapped = _balanced(whole, bits)
    largest = _largest(dtype) * np.abs(wrapped).sum(axis=1).max(initial=0.0)
    boolean = dtype.kind == "b"
    if largest < 2**24:
        exact = Arithmetic(np.dtype(np.float32), np.dtype(np.int32), boolean)
        combine_panels(wrapped, blocks, made, exact)
    elif largest < 2**53:
        exact = Arithmetic(np.dtype(np.float64), np.dtype(np.int64), boolean)
        combine_panels(wrapped, blocks, made, exact)
    else:
        _combine_passes(wrapped, blocks, made, dtype)
    return made


def _balanced(weights: NDArray, bits: int) -> NDArray:
    """The same weights modulo ``2**bits``, in ``[-2**(bits - 1), 2**(bits - 1))``; exact."""
    modulus = 2.0**bits
    rest = np.fmod(weights, modulus)
    rest = np.where(rest >= modulus / 2, rest - modulus, rest)
    balanced: NDArray = np.where(rest < -modulus / 2, rest + modulus, rest)
    return balanced


def _largest(dtype: np.dtype[Any]) -> float:
    if dtype.kind == "b":
        return 1.0
    limits = np.iinfo(dtype)
    return float(max(-int(limits.min), int(limits.max)))


def _combine_passes(
    weights: NDArray, blocks: Sequence[NDArray], out: Sequence[NDArray], dtype: np.dtype[Any]
) -> None:
    """Multiply-add passes over tiles, for sums that no float holds."""
    views = coalesced([*blocks, *out])
    sources, targets = views[: len(blocks)], views[len(blocks) :]
    plan = plan_rows(weights)
    for row in plan.zeros:
        targets[row][...] = 0
    for row, column in plan.copies:
        np.copyto(targets[row], sources[column], casting="unsafe")
    wrapping = weights.astype(np.int64).astype(dtype)
    rows = [row for group in plan.groups for row in group.rows]
    if not rows:
        return
    for index, shape in tiles(targets[0].shape, _TILE):
        total, term = np.empty(shape, dtype), np.empty(shape, dtype)
        for row in rows:
            total[...] = 0
            for block in np.flatnonzero(weights[row]):
                source = sources[block][index]
                if weights[row, block] == 1:
                    np.add(total, source, out=total)
                elif weights[row, block] == -1:
                    np.subtract(total, source, out=total)
                else:
                    np.multiply(source, wrapping[row, block], out=term)
                    np.add(total, term, out=total)
            targets[row][index] = total
