"""No code at all: the baseline that a planner may well choose."""

from dataclasses import dataclass

import numpy as np

from dask_coded.codes._check import arithmetic, one_of, positive
from dask_coded.codes._linear import AbstractLinearCode
from dask_coded.codes._registry import register
from dask_coded.fields import REAL, Field
from dask_coded.typing import Array

__all__ = ["Uncoded"]


@register("uncoded")
@dataclass(frozen=True)
class Uncoded(AbstractLinearCode):
    """Share j is block j; every share is needed.

    Parameters
    ----------
    k
        Number of blocks and of shares.

    Examples
    --------
    >>> Uncoded(3).is_decodable([0, 1])
    False
    """

    k: int
    field: Field = REAL

    def __post_init__(self) -> None:
        arithmetic(self.field)
        positive(k=self.k)

    @property
    def n_shares(self) -> int:  # type: ignore[override]
        """Number of shares, k."""
        return self.k

    @property
    def recovery_threshold(self) -> int:
        """All k."""
        return self.k

    def generator(self, operand: int = 0) -> Array:
        """Identity ``(k, k)``."""
        one_of(operand, 1)
        return np.eye(self.k, dtype=self.field.dtype)
