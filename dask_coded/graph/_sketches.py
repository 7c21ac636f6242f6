"""Sketches of a matrix: its products with a few random columns, by which others are checked.

    r^T (A_b^T y_b) = (A_b r)^T y_b          whatever y_b is

The right side takes one small sketch of each block; the left one the result. Both agree, to
rounding, for a result that is right, and hardly ever for one that is not: a single wrong entry of
the result is never overlooked, and several cancel in a sketch no more often than chance has it.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from dask._task_spec import Task, TaskRef
from dask.typing import Key

from dask_coded.errors import UnverifiableError
from dask_coded.typing import AnyArray

__all__ = ["Sketch", "disagrees", "sketch_columns", "sketch_task"]

# Errors that would cancel in one sketch have to do so in all. Integers that err in their highest
# bit only cancel in every other one.
_COLUMNS, _EXACT_COLUMNS = 4, 8
# Chance that rounding alone looks like a wrong result.
_FALSE_ALARM = 1e-12
# A sketch is seldom a hundred times shorter than it should be: a matrix that claims to be longer
# than a thousand of them would hide its errors.
_MOST_SIZE = 1e3


@lru_cache(maxsize=4)
def sketch_columns(count: int, kind: str) -> Any:
    """The random columns, ``(count, few)``.

    Parameters
    ----------
    count
        Columns of the matrix.
    kind
        ``"f"``: floats from one to two in size, so that no entry is overlooked. ``"i"`` or
        ``"u"``: integers of 64 bits, odd in the first column, which no entry vanishes by.
    """
    rng = np.random.default_rng(count)
    if kind == "f":
        shape = (count, _COLUMNS)
        columns: Any = rng.uniform(1.0, 2.0, shape) * rng.choice([-1.0, 1.0], shape)
    else:
        info = np.iinfo(f"{kind}8")
        shape = (count, _EXACT_COLUMNS)
        columns = rng.integers(info.min, info.max, shape, dtype=info.dtype, endpoint=True)
        columns[:, 0] |= 1
    columns.flags.writeable = False
    return columns


@dataclass(frozen=True, eq=False)
class Sketch:
    """A block times the random columns.

    Parameters
    ----------
    values
        ``(h, few)``.
    size
        Frobenius norm of the block.
    """

    values: AnyArray
    size: float


def sketch_task(key: Key, values: Key, lengths: Key, tile: Key) -> Task:
    """The task of a block's sketch.

    Parameters
    ----------
    key
        Of the sketch.
    values, lengths
        The block times the random columns, and the lengths of its rows.
    tile
        The block itself, beside which the sketch is to stay.
    """
    return Task(key, _sketch, TaskRef(values), TaskRef(lengths), TaskRef(tile))


def _sketch(values: AnyArray, lengths: AnyArray, tile: Any) -> Sketch:
    if values.dtype.kind in "iu":
        return Sketch(values, 0.0)
    most = _MOST_SIZE * float(_norms(values.reshape(-1)))
    return Sketch(values, min(float(_norms(lengths)), most))


def _norms(a: AnyArray) -> Any:
    """Length of a vector, or of each column of a matrix, though squares be beyond range."""
    sizes = np.abs(a).astype(np.float64, copy=False)
    top = sizes.max(axis=0, initial=0.0)
    unit = np.where((top > 0) & np.isfinite(top), top, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        return unit * np.linalg.norm(sizes / unit, axis=0)


def disagrees(result: AnyArray, y: AnyArray, sketch: Sketch, drift: float) -> bool:
    """Whether a result is something else than ``A_b^T conj(y_b)``, by more than rounding.

    Parameters
    ----------
    result
        ``(c,)`` or ``(c, q)``, finite.
    y
        ``(h,)`` or ``(h, q)``.
    sketch
        Of the block ``(h, c)``.
    drift
        By what decoding may have moved the sketch, relative to the length of each row.

    Raises
    ------
    UnverifiableError
        If NaN or infinity in the operands leave nothing to compare with.

    Examples
    --------
    >>> a, y = np.arange(12.0).reshape(3, 4), np.ones(3)
    >>> sketch = Sketch(a @ sketch_columns(4, "f"), float(np.linalg.norm(a)))
    >>> disagrees(a.T @ y, y, sketch, 0.0), disagrees(a.T @ y + [0, 0, 1e-9, 0], y, sketch, 0.0)
    (False, True)
    """
    if y.dtype.kind == "c":
        y = y.conj()
    if result.dtype.kind in "iu":
        # Modulo a power of two, whatever the wider of both is.
        columns = sketch_columns(len(result), sketch.values.dtype.kind).astype(result.dtype)
        expected = sketch.values.astype(result.dtype).T @ y.astype(result.dtype)
        return bool((columns.T @ result != expected).any())
    wide = np.complex128 if result.dtype.kind == "c" else np.float64
    columns = sketch_columns(len(result), "f")
    with np.errstate(over="ignore", invalid="ignore"):
        expected = sketch.values.T @ y.astype(np.result_type(y.dtype, np.float64), copy=False)
        lengths = _norms(y)
        difference = np.abs(columns.T @ result.astype(wide, copy=False) - expected)
        limit = _rounding(result.dtype, len(y), len(result), drift) * sketch.size * lengths
    floor = 4 * len(result) * (len(y) + 1) * float(np.finfo(result.dtype).tiny)
    if not (np.isfinite(expected).all() and np.isfinite(limit).all()):
        raise UnverifiableError(
            "a product with the transpose cannot be verified: what it is made of has NaN or "
            "infinity, or is beyond the range in which results are compared. Use no verify="
        )
    # Written so that NaN counts.
    return not bool((difference <= limit + floor).all())


def _rounding(dtype: Any, inner: int, columns: int, drift: float) -> float:
    """By what rounding moves a sketch of a product, for operands of length one.

    A sum of n products moves by ``lambda sqrt(n) u`` times both lengths, as for other results (see
    :func:`unit_rounding`); then come the sums of the sketch, in double precision. No random number
    is larger than two.
    """
    unit, double = float(np.finfo(dtype).eps) / 2, float(np.finfo(np.float64).eps) / 2
    luck = math.sqrt(2 * math.log(2 * (inner + 1) * (columns + 1) / _FALSE_ALARM))
    product = min(inner, luck * math.sqrt(inner)) * max(unit, double)
    sums = luck * (math.sqrt(inner) + math.sqrt(columns)) * double
    total = 2 * (product + 2 * sums + 4 * double + drift)
    return total * (2 * math.sqrt(2) if np.dtype(dtype).kind == "c" else 1.0)
