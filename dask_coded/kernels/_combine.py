"""The one hot primitive of the library: weighted sums of blocks."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dask_coded.errors import BlockShapeError, WeightsError
from dask_coded.fields import COMPLEX, PAIRED, REAL, Field
from dask_coded.kernels._backends import backend_for
from dask_coded.kernels._paired import combine_paired
from dask_coded.typing import AnyArray, Array

__all__ = ["combine"]


def combine(
    weights: Any,
    blocks: Sequence[AnyArray],
    *,
    field: Field = REAL,
    out: Sequence[AnyArray] | None = None,
) -> list[AnyArray]:
    """Weighted sums of blocks, ``out[q] = sum_j weights[q, j] * blocks[j]``: encode and decode.

    Parameters
    ----------
    weights
        Matrix ``(o, i)`` of finite numbers; taken as float64 (``REAL``), complex128 (``COMPLEX``,
        ``PAIRED``) or elements of the prime field, whatever the dtype of the data.
    blocks
        The i arrays, all of one shape, in any memory layout: each its own array, not stacked.
    field
        Arithmetic. ``REAL`` also serves complex blocks, and integer ones where the weights are
        whole; ``COMPLEX`` makes complex outputs; ``PAIRED`` takes real blocks, whose upper and
        lower halves along the first axis are real and imaginary part; ``PrimeField`` takes
        integer blocks of elements.
    out
        The o arrays to write into, if they are there already; they must not overlap the blocks
        or each other.

    Returns
    -------
    list of arrays
        The o outputs, of the shape of the blocks; the arrays of `out` where it was given.

    Raises
    ------
    WeightsError
        If the weights are no matrix, hold NaN or infinity, or are complex under ``REAL``.
    BlockShapeError
        If there are no blocks, or not as many as weight columns; if blocks or `out` differ in
        shape; if `out` has the wrong dtype, is read-only, or overlaps; if paired blocks have an
        odd first axis.
    UnsupportedDtypeError
        If there is no accurate arithmetic for the blocks: integers with fractional weights,
        objects, long doubles, arrays of an unknown library.
    FieldRangeError
        If a block or weight is no element of the prime field.

    Notes
    -----
    *Precision.* float64 and complex128 are summed in their own precision. float32 and complex64
    are summed in float32 where that costs a few roundings of the data only (at most 32 weights a
    row, of sizes that sum to at most 32), else in float64 with one rounding at the end: weights
    that amplify, as decode weights do, never lose digits of their own or of the sum.
    float16 is summed in float32 and rounded once; float32 arrays in `out` skip that.

    *Integers and booleans* are summed modulo ``2**bits``, booleans modulo 2, so that an all-ones
    parity is inverted exactly.

    *Not a number.* A block is read only where its weight is not zero: an output whose weight for
    it is zero does not see its NaN or infinity. A row with a single one copies that block bit for
    bit. Zero weights skip signed zeros as well: ``0 * x + y`` is y.

    *Memory.* Besides the outputs, less than a few MiB: data goes through tiles that fit a core's
    second-level cache.

    Examples
    --------
    >>> import numpy as np
    >>> a, b = np.array([1.0, 2.0]), np.array([10.0, 20.0])
    >>> combine([[1, 1], [1, -1]], [a, b])
    [array([11., 22.]), array([ -9., -18.])]
    """
    matrix = _checked_weights(weights, field)
    given = list(blocks)
    if len(given) != matrix.shape[1]:
        raise BlockShapeError(
            f"weights of shape {matrix.shape} combine {matrix.shape[1]} blocks; got {len(given)}. "
            "Give one block per column"
        )
    if not given:
        raise BlockShapeError("no blocks were given, so outputs have no shape; give at least one")
    backend = backend_for(given)
    shape = tuple(given[0].shape)
    for index, block in enumerate(given):
        if tuple(block.shape) != shape:
            raise BlockShapeError(
                f"blocks must have one shape; block 0 has {shape}, block {index} has "
                f"{tuple(block.shape)}. Pad the smaller ones"
            )
    if field == PAIRED:
        return combine_paired(backend, matrix, given, out)
    return backend(matrix, given, field=field, out=out)


def _checked_weights(weights: Any, field: Field) -> Array:
    """The weights as a finite matrix of the field's dtype."""
    array = np.asarray(weights)
    if array.ndim != 2:
        raise WeightsError(
            f"weights are a matrix with a row per output and a column per block; got shape "
            f"{array.shape}"
        )
    kind = array.dtype.kind
    if kind not in "biufc" and not (kind == "O" and field.exact):
        raise WeightsError(f"weights are numbers; got dtype {array.dtype}")
    if kind in "fc" and not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise WeightsError(
            f"weights must be finite; the weight of block {column} in output {row} is "
            f"{array[row, column]}. Look at how they were solved for"
        )
    if kind == "c" and field not in (COMPLEX, PAIRED):
        raise WeightsError(f"complex weights need field=COMPLEX or field=PAIRED; got {field!r}")
    return field.asarray(weights)
