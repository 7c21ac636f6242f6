"""Strassen's bilinear algorithm, applied any number of times."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["BilinearAlgorithm", "strassen"]

# Columns are the blocks (1, 1), (1, 2), (2, 1), (2, 2); one row for each product.
_LEFT = (
    (1, 0, 0, 1),
    (0, 0, 1, 1),
    (1, 0, 0, 0),
    (0, 0, 0, 1),
    (1, 1, 0, 0),
    (-1, 0, 1, 0),
    (0, 1, 0, -1),
)
_RIGHT = (
    (1, 0, 0, 1),
    (1, 0, 0, 0),
    (0, 1, 0, -1),
    (-1, 0, 1, 0),
    (0, 0, 0, 1),
    (1, 1, 0, 0),
    (0, 0, 1, 1),
)
_OUTPUTS = (
    (1, 0, 0, 1, -1, 0, 1),
    (0, 0, 1, 0, 1, 0, 0),
    (0, 1, 0, 1, 0, 0, 0),
    (1, -1, 1, 0, 0, 1, 0),
)


@dataclass(frozen=True, eq=False)
class BilinearAlgorithm:
    """``C_q = sum_r outputs[q, r] (sum_x left[r, x] A_x) (sum_y right[r, y] B_y)``.

    Blocks are counted row by row; entries are integers.
    """

    left: npt.NDArray[np.int64]
    """Combinations ``(R, size size)`` of the blocks of A."""
    right: npt.NDArray[np.int64]
    """Combinations ``(R, size size)`` of the blocks of B."""
    outputs: npt.NDArray[np.int64]
    """How the R products make the blocks of C, ``(size size, R)``."""
    size: int
    """Cuts of each of the three dimensions."""


def strassen(levels: int) -> BilinearAlgorithm:
    """``2**levels`` cuts of each dimension, ``7**levels`` products; no cut at all for level 0.

    References
    ----------
    Strassen (1969), Gaussian elimination is not optimal, Numerische Mathematik 13.

    Examples
    --------
    >>> strassen(0).outputs, strassen(1).outputs.shape, strassen(2).outputs.shape
    (array([[1]]), (4, 7), (16, 49))
    """
    left, right, outputs = np.ones((3, 1, 1), dtype=np.int64)
    size = 1
    for _ in range(levels):
        left = _nested(left.T, size, np.array(_LEFT).T, 2).T
        right = _nested(right.T, size, np.array(_RIGHT).T, 2).T
        outputs = _nested(outputs, size, np.array(_OUTPUTS), 2)
        size *= 2
    return BilinearAlgorithm(left, right, outputs, size)


def _nested(
    outer: npt.NDArray[np.int64], size: int, inner: npt.NDArray[np.int64], cuts: int
) -> npt.NDArray[np.int64]:
    """Kronecker product whose rows, as places in a matrix of matrices, are put in row order."""
    split = np.kron(outer, inner).reshape(size, size, cuts, cuts, -1)
    return split.transpose(0, 2, 1, 3, 4).reshape(outer.shape[0] * inner.shape[0], -1)
