"""What a growing set of survivors already determines, kept one survivor at a time.

Asking anew for every arrival would cost a factorisation each; extending costs two small products.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from dask_coded.fields import Field
from dask_coded.typing import Array

__all__ = ["Progress"]

# Rows of the basis have norm at most 1; a remainder this small carries no new direction.
_DEPENDENT = 1e-10
_DETERMINED = 1e-9


@dataclass(frozen=True, eq=False)
class Progress:
    """Immutable: directions that the survivors span, and what of the outputs lies outside."""

    field: Field
    span: Any
    """Rows ``(d, r)`` spanning the survivors: orthonormal, or reduced with unit pivots if exact."""
    pivots: tuple[int, ...]
    """Pivot column of each row; used in exact fields only."""
    open: Any
    """Functional ``(O, r)`` less its part in the span: zero when every output is determined."""
    scale: float

    @classmethod
    def start(cls, field: Field, basis: Array, functional: Array) -> Self:
        """No survivor yet."""
        scale = 0.0 if field.exact else float(np.abs(functional).max(initial=0.0))
        empty = np.zeros((0, basis.shape[1]), dtype=basis.dtype)
        return cls(field, empty, (), functional, scale)

    @property
    def decodable(self) -> bool:
        """Whether every output is determined."""
        if self.field.exact:
            return not self.open.any()
        return bool(np.abs(self.open).max(initial=0.0) <= _DETERMINED * self.scale)

    def extended(self, row: Array) -> Self:
        """With one more survivor, whose basis row is `row` ``(r,)``."""
        return self._extended_exact(row) if self.field.exact else self._extended_float(row)

    def _extended_float(self, row: Any) -> Self:
        span = self.span
        # Projecting twice keeps the directions orthogonal to rounding.
        new = row - (span @ row.conj()).conj() @ span
        new = new - (span @ new.conj()).conj() @ span
        length = float(np.sqrt((new * new.conj()).real.sum()))
        if length <= _DEPENDENT:
            return self
        new = new / length
        rest = self.open - np.multiply.outer(self.open @ new.conj(), new)
        return type(self)(self.field, np.concatenate([span, new[None]]), (), rest, self.scale)

    def _extended_exact(self, row: Any) -> Self:
        field: Any = self.field
        span = self.span
        if self.pivots:
            part = field.matmul(row[None, list(self.pivots)], span)[0]
            row = field.subtract(row, part)
        nonzero = np.flatnonzero(row)
        if nonzero.size == 0:
            return self
        pivot = int(nonzero[0])
        row = field.multiply(row, field.reciprocal(row[pivot : pivot + 1]))
        span = field.subtract(span, field.multiply(span[:, pivot : pivot + 1], row[None]))
        rest = field.subtract(self.open, field.multiply(self.open[:, pivot : pivot + 1], row[None]))
        grown = np.concatenate([span, row[None]])
        return type(self)(self.field, grown, (*self.pivots, pivot), rest, self.scale)
