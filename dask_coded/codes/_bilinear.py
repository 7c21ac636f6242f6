"""Codes of two operands, whose shares workers multiply."""

import abc
from typing import ClassVar

import numpy as np

from dask_coded.codes._code import AbstractCode, Operation
from dask_coded.codes._points import rowwise_kron
from dask_coded.typing import Array, Grid

__all__ = ["AbstractMatmulCode"]


class AbstractMatmulCode(AbstractCode):
    """``C = A @ B`` with A in ``m x p`` blocks, B in ``p x n``, ``C_ij = sum_k A_ik B_kj``.

    The unknowns are all products ``Z[(i, k), (l, j)] = A_ik B_lj``, wanted or not. A family states
    its parameters, its recovery threshold, its splits and a generator for each operand.

    Examples
    --------
    >>> from dask_coded.codes import MatDot
    >>> code = MatDot(5, p=2)
    >>> code.operand_grids, code.output_grid, code.responses().shape
    (((1, 2), (2, 1)), (1, 1), (5, 4))
    """

    operation: ClassVar[Operation] = "matmul"

    @property
    @abc.abstractmethod
    def splits(self) -> tuple[int, int, int]:
        """``(m, p, n)``: cuts of the rows of A, of the inner dimension, of the columns of B."""

    @property
    def operand_grids(self) -> tuple[Grid, ...]:
        """``((m, p), (p, n))``."""
        m, p, n = self.splits
        return (m, p), (p, n)

    @property
    def output_grid(self) -> Grid:
        """``(m, n)``."""
        m, _, n = self.splits
        return (m, n)

    def responses(self) -> Array:
        """Row-wise Kronecker product of the two generators, ``(N, m p p n)``."""
        return rowwise_kron(self.field, self.generator(0), self.generator(1))

    def targets(self) -> Array:
        """One row per output block, with ones at the inner products it sums, ``(m n, m p p n)``."""
        m, p, n = self.splits
        wanted = np.zeros((m, n, m, p, p, n), dtype=self.field.dtype)
        i, j, k = np.ix_(range(m), range(n), range(p))
        wanted[i, j, i, k, k, j] = 1
        return wanted.reshape(m * n, -1)
