"""Codes of one operand, on whose shares workers apply a linear map."""

import abc
from typing import ClassVar

import numpy as np

from dask_coded.codes._code import AbstractCode, Operation
from dask_coded.typing import Array, Grid

__all__ = ["AbstractLinearCode"]


class AbstractLinearCode(AbstractCode):
    """``k`` blocks in, ``k`` outputs: output j is the linear map of block j.

    The unknowns are the outputs themselves, so results respond as shares were generated.
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
