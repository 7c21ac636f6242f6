"""Product codes: an MDS code on the rows of A, another on the columns of B."""

from dataclasses import dataclass

import numpy as np

from dask_coded.codes._bilinear import AbstractMatmulCode
from dask_coded.codes._check import one_of
from dask_coded.codes._linear import AbstractLinearCode
from dask_coded.codes._registry import register
from dask_coded.errors import ParameterError
from dask_coded.fields import PAIRED, REAL, Field
from dask_coded.typing import Array

__all__ = ["Product"]


@register("product")
@dataclass(frozen=True)
class Product(AbstractMatmulCode):
    """The grid of coded row blocks of A times coded column blocks of B.

    Share ``u * columns.n_shares + v`` holds coded row block u of A and coded column block v of B.
    Most loss patterns far beyond the guaranteed one decode as well.

    Parameters
    ----------
    rows
        Code of the row blocks of A.
    columns
        Code of the column blocks of B, over the same field (REAL if the rows are PAIRED).

    References
    ----------
    Lee, Suh and Ramchandran (2017), High-dimensional coded matrix multiplication, ISIT.

    Examples
    --------
    >>> from dask_coded.codes import MDS
    >>> code = Product(MDS(4, k=3), MDS(4, k=3))
    >>> code.n_shares, code.recovery_threshold
    (16, 13)
    """

    rows: AbstractLinearCode
    columns: AbstractLinearCode

    def __post_init__(self) -> None:
        for side in (self.rows, self.columns):
            if not isinstance(side, AbstractLinearCode):
                raise ParameterError(
                    f"Product takes two codes of one operand such as MDS, got {side!r}"
                )
        # Pairs are rows of A, so only the side of the rows may pair them.
        expected = REAL if self.rows.field == PAIRED else self.rows.field
        if self.columns.field != expected:
            raise ParameterError(
                f"with rows over {self.rows.field.name} the columns must live in {expected.name}, "
                f"got {self.columns.field.name}"
            )

    @property
    def field(self) -> Field:  # type: ignore[override]
        """Field of the rows; of both sides but for PAIRED rows with REAL columns."""
        return self.rows.field

    @property
    def n_shares(self) -> int:  # type: ignore[override]
        """Product of the numbers of shares of the sides."""
        return self.rows.n_shares * self.columns.n_shares

    @property
    def splits(self) -> tuple[int, int, int]:
        """``(rows.k, 1, columns.k)``."""
        return self.rows.k, 1, self.columns.k

    @property
    def recovery_threshold(self) -> int:
        """``N - d_rows d_columns + 1``; for a side of threshold K, ``d = n - K + 1``."""
        d_rows, d_columns = (
            side.n_shares - side.recovery_threshold + 1 for side in (self.rows, self.columns)
        )
        return self.n_shares - d_rows * d_columns + 1

    def generator(self, operand: int = 0) -> Array:
        """Generator of the side, each row repeated along the other side, ``(N, k)``."""
        one_of(operand, 2)
        if operand == 0:
            return np.repeat(self.rows.generator(), self.columns.n_shares, axis=0)
        columns = self.columns.generator().astype(self.field.dtype)
        return np.tile(columns, (self.rows.n_shares, 1))
