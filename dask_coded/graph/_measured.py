"""Results that come with the lengths of the rows and columns they were made of.

Rounding moves an entry of a product by a multiple of eps times the length of its row of the left
operand and of its column of the right one. Whoever compares results has to know these: the results
themselves do not tell, because a product may cancel.
"""

from typing import Any, TypeAlias

import numpy as np

from dask_coded.graph._arithmetic import Arithmetic
from dask_coded.graph._unfit import Unfit
from dask_coded.typing import AnyArray

__all__ = [
    "Measured",
    "column_lengths",
    "measured_part",
    "measured_result",
    "pieces_of",
    "row_lengths",
]

# Products of constants all round the same way, and small products are summed one after the other:
# beyond so many terms, pieces of the sum keep the error in bounds. Larger ones BLAS cuts itself.
_CHAIN = 512
_SMALL_PRODUCT = 4e6

#: A result, the Euclidean lengths of the rows of the left operand ``(..., m)`` and those of the
#: columns of the right one ``(..., n)``; None for integers, which do not round.
Measured: TypeAlias = tuple[AnyArray, Any, Any]


def row_lengths(a: AnyArray, product: Any = None) -> AnyArray:
    """Euclidean length of each row, ``(..., m, n) -> (..., m)``; never zero, and finite if `a` is.

    Parameters
    ----------
    a
        An operand.
    product
        The dtype in which it is multiplied; None if that is its own.

    Examples
    --------
    >>> import numpy as np
    >>> row_lengths(np.array([[3.0, 4.0], [1e200, 0.0]]))
    array([5.e+000, 1.e+200])
    """
    if a.dtype.kind in "iu":
        a = a.astype(np.float64)
    info = np.finfo(a.dtype if product is None else product)
    # What underflows in squares counts as if it just did not.
    least = a.shape[-1] * float(info.tiny)
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt(_row_squares(a) + least)
        beyond = ~np.isfinite(lengths)
        if beyond.any():
            rows = a[beyond]
            sizes = np.abs(rows).max(axis=-1, initial=0.0)
            lengths[beyond] = sizes * np.sqrt(_row_squares(rows / sizes[:, None]))
    return lengths


def _row_squares(a: AnyArray) -> AnyArray:
    if a.dtype.kind == "c":
        return _row_squares(a.real) + _row_squares(a.imag)
    wide = np.float32 if a.dtype == np.float16 else a.dtype
    return np.einsum("...ij,...ij->...i", a, a, dtype=wide)


def column_lengths(b: Any, product: Any = None) -> Any:
    """Euclidean length of each column, ``(..., n)``, or a number for a vector."""
    if b.ndim < 2:
        return row_lengths(b[None], product)[0]
    return row_lengths(np.swapaxes(b, -1, -2), product)


def measured_part(
    arithmetic: Arithmetic, lengths: Any, before: Any, *tiles: Any
) -> Measured | Unfit:
    """``before + a_0 b_0 + a_1 b_1 + ...`` for tiles ``a_0, a_1, ..., b_0, b_1, ...``, measured.

    Parameters
    ----------
    arithmetic
        How tiles are multiplied and added.
    lengths
        Row lengths of the only tile of the left operand, if they are known; else None.
    before
        What an earlier part gave, or None.
    """
    for tile in (before, *tiles):
        if isinstance(tile, Unfit):
            return tile
    half = len(tiles) // 2
    total, rows, columns = (None, 0.0, 0.0) if before is None else before
    # What overflows in a mixture need not overflow in any output.
    with np.errstate(over="ignore", invalid="ignore"):
        for a, b in zip(tiles[:half], tiles[half:], strict=True):
            if isinstance(b, list):
                b = np.concatenate(b)
            product = _in_pieces(arithmetic, a, b)
            total = product if total is None else arithmetic.add(total, product)
            if product.dtype.kind in "iu":
                rows = columns = None
                continue
            own = row_lengths(a, product.dtype) if lengths is None else lengths
            rows = np.hypot(rows, own)
            columns = np.hypot(columns, column_lengths(b, product.dtype))
    return total, rows, columns


def pieces_of(inner: int, entries: int) -> list[slice]:
    """Pieces of a sum of `inner` products in each of so many entries, if that is to be cut."""
    if inner <= _CHAIN or entries * inner > _SMALL_PRODUCT:
        return [slice(inner)]
    return [slice(start, start + _CHAIN) for start in range(0, inner, _CHAIN)]


def _in_pieces(arithmetic: Arithmetic, a: AnyArray, b: AnyArray) -> AnyArray:
    """``a b``, summed in pieces if the product is small and its sums are long."""
    columns = 1 if b.ndim == 1 else b.shape[-1]
    pieces = pieces_of(a.shape[-1], a.shape[-2] * columns)
    if len(pieces) == 1:
        return arithmetic.multiply(a, b)
    total = None
    for piece in pieces:
        part = arithmetic.multiply(a[..., piece], b[piece] if b.ndim == 1 else b[..., piece, :])
        total = part if total is None else arithmetic.add(total, part)
    return total


def measured_result(
    arithmetic: Arithmetic, lengths: Any, before: Any, *tiles: Any
) -> Measured | Unfit:
    """The measured result of a share; parameters as for :func:`measured_part`."""
    measured = measured_part(arithmetic, lengths, before, *tiles)
    if isinstance(measured, Unfit):
        return measured
    total, rows, columns = measured
    return arithmetic.finish(total), rows, columns
