"""Codes of one operand, on whose shares workers apply a linear map."""

import abc
from typing import ClassVar

import numpy as np

from dask_coded.codes._code import AbstractCode, Operation
from dask_coded.typing import Array, Grid

__all__ = ["AbstractLinearCode"]


class AbstractLinearCode(AbstractCode):
    """``k`` blocks in, ``k`` outputs: output j is the linear map of block j.

    The unknowns are the outputs themselves, so results respond as shares were generated. A family
    states its parameters, its recovery threshold and its generator, with rows of norm near one.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from dask_coded.fields import REAL, Field
    >>> @dataclass(frozen=True)
    ... class SumOfTwo(AbstractLinearCode):
    ...     field: Field = REAL
    ...     n_shares, k, recovery_threshold = 3, 2, 2
    ...
    ...     def generator(self, operand=0):
    ...         return np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> SumOfTwo().decoder([0, 2]).weights
    array([[ 1.,  0.],
           [-1.,  1.]])
    """

    operation: ClassVar[Operation] = "linear"

    k: int

    @property
    def operand_grids(self) -> tuple[Grid, ...]:
        """``((k,),)``."""
        return ((self.k,),)

    @property
    def output_grid(self) -> Grid:
        """``(k,)``."""
        return (self.k,)

    @abc.abstractmethod
    def generator(self, operand: int = 0) -> Array:
        """Encoding matrix ``(N, k)``."""

    def responses(self) -> Array:
        """The generator: linear maps commute with encoding."""
        return self.generator()

    def targets(self) -> Array:
        """Identity ``(k, k)``."""
        return np.eye(self.k, dtype=self.field.dtype)
