"""Codes of a batch: products of many pairs of operands, each of which may occur in several."""

import abc
import math
from typing import ClassVar, TypeAlias

import numpy as np

from dask_coded.codes._code import AbstractCode, Operation
from dask_coded.codes._points import rowwise_kron
from dask_coded.typing import Array, Grid

__all__ = ["AbstractBatchCode", "Pairs"]

#: Which products are wanted: ``(left, right)`` by operand index, counted from 0.
Pairs: TypeAlias = tuple[tuple[int, int], ...]


class AbstractBatchCode(AbstractCode):
    """``A_i @ B_j`` for some pairs (i, j) of left and right operands.

    A share holds ``terms`` coded left operands and as many right ones; its result is the sum of
    their products. Left operands are coded operand ``2 t`` of term t, right ones ``2 t + 1``. The
    unknowns are all products ``Z[i, j] = A_i B_j``, wanted or not.

    Examples
    --------
    >>> from dask_coded.codes import CrossSubspaceAlignment
    >>> code = CrossSubspaceAlignment(5, size=2)
    >>> code.pairs, code.operand_grids, code.output_grid
    (((0, 0), (1, 1)), ((2,), (2,)), (2,))
    """

    operation: ClassVar[Operation] = "batch"

    @property
    @abc.abstractmethod
    def pairs(self) -> Pairs:
        """The products that outputs are made of, in the order of the outputs."""

    @property
    def sums(self) -> tuple[Pairs, ...]:
        """For each output the products that it is the sum of: one, unless operands are cut."""
        return tuple((pair,) for pair in self.pairs)

    @property
    def terms(self) -> int:
        """Products that the task of one share adds up, at most."""
        return 1

    @property
    def operand_grids(self) -> tuple[Grid, ...]:
        """``((left,), (right,))`` for each term."""
        left, right = (1 + max(ends) for ends in zip(*self.pairs, strict=True))
        return ((left,), (right,)) * self.terms

    @property
    def output_grid(self) -> Grid:
        """``(pairs,)``."""
        return (len(self.pairs),)

    def responses(self) -> Array:
        """Sum over terms of row-wise Kronecker products, ``(N, left * right)``."""
        total: Array | None = None
        zero = np.zeros((), dtype=self.field.dtype)
        for term in range(self.terms):
            product = rowwise_kron(
                self.field, self.generator(2 * term), self.generator(2 * term + 1)
            )
            # The field knows differences only.
            negative = self.field.subtract(zero, product)
            total = product if total is None else self.field.subtract(total, negative)
        assert total is not None
        return total

    def targets(self) -> Array:
        """One row for each output, with ones at its products, ``(outputs, left * right)``."""
        left, right = map(math.prod, self.operand_grids[:2])
        wanted = np.zeros((len(self.sums), left, right), dtype=self.field.dtype)
        for output, products in enumerate(self.sums):
            wanted[output, [i for i, _ in products], [j for _, j in products]] = 1
        return wanted.reshape(len(self.sums), -1)
