"""Replication: the code that everybody uses already."""

from dataclasses import dataclass

import numpy as np

from dask_coded.codes._check import arithmetic, enough_shares, one_of, positive
from dask_coded.codes._linear import AbstractLinearCode
from dask_coded.codes._registry import register
from dask_coded.fields import REAL, Field
from dask_coded.typing import Array

__all__ = ["Replication"]


@register("replication")
@dataclass(frozen=True)
class Replication(AbstractLinearCode):
    """Share i is block ``i mod k``: the first answer of each block wins.

    Parameters
    ----------
    n_shares
        Number of shares, at least k; copies differ by at most one between blocks.
    k
        Number of blocks.

    Examples
    --------
    >>> code = Replication(6, k=3)
    >>> code.recovery_threshold, code.is_decodable([0, 4, 5])
    (5, True)
    """

    n_shares: int
    k: int
    field: Field = REAL

    def __post_init__(self) -> None:
        arithmetic(self.field)
        positive(n_shares=self.n_shares, k=self.k)
        enough_shares("Replication", self.n_shares, self.k, "one per block")

    @property
    def recovery_threshold(self) -> int:
        """``n_shares - n_shares // k + 1``: all copies of one block may be the ones lost."""
        return self.n_shares - self.n_shares // self.k + 1

    def generator(self, operand: int = 0) -> Array:
        """Rows of the identity, repeated, ``(n_shares, k)``."""
        one_of(operand, 1)
        identity = np.eye(self.k, dtype=self.field.dtype)
        return identity[np.arange(self.n_shares) % self.k]
