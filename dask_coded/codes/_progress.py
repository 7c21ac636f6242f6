"""What a growing set of survivors already determines, kept one survivor at a time.

Asking anew for every arrival would cost a factorisation each; extending costs two small products.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from dask_coded.fields import Field
from dask_coded.typing import Array

__all__ = ["Progress", "peeled"]

# What is left of a row, relative to the row, that still counts as a new direction.
_DEPENDENT = 1e-10
# A coefficient this small beside its row is no pivot.
_PIVOT = 1e-6
# What is left of the outputs, relative to the largest, that counts as nothing.
_DETERMINED = 1e-9


@dataclass(frozen=True, eq=False)
class Progress:
    """Immutable: directions that the survivors span, and what of the outputs lies outside."""

    field: Field
    columns: Any
    """Coordinates ``(c,)`` that were unknown at the start; only these are worked on."""
    span: Any
    """Rows ``(d, c)`` spanning the survivors: orthonormal, or reduced with unit pivots if exact."""
    pivots: tuple[int, ...]
    """Pivot column of each row; used in exact fields only."""
    open: Any
    """Functional ``(O, c)`` less its part in the span: zero when every output is determined.

    None if the outputs are the coordinates: then the span has to be everything."""
    scale: float

    @classmethod
    def start(cls, field: Field, columns: Array, functional: Array | None) -> Self:
        """No direction yet.

        Parameters
        ----------
        field
            Arithmetic of the rows.
        columns
            Coordinates that are not known already.
        functional
            Wanted outputs ``(O, r)`` in all r coordinates; None if they are the coordinates.
        """
        empty = np.zeros((0, len(columns)), dtype=field.dtype)
        if functional is None:
            return cls(field, columns, empty, (), None, 0.0)
        wanted: Any = functional[:, columns]
        scale = 0.0 if field.exact else float(np.abs(wanted).max(initial=0.0))
        return cls(field, columns, empty, (), wanted, scale)

    @property
    def decodable(self) -> bool:
        """Whether every output is determined."""
        if len(self.span) == len(self.columns):
            return True
        if self.open is None:
            return False
        if self.field.exact:
            return not self.open.any()
        return bool(np.abs(self.open).max(initial=0.0) <= _DETERMINED * self.scale)

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return int(self.span.nbytes + (0 if self.open is None else self.open.nbytes))

    def extended(self, row: Array) -> Self:
        """With one more survivor, whose row is ``(r,)``; `self` if that brings nothing new."""
        return self._extended_exact(row) if self.field.exact else self._extended_float(row)

    def _extended_float(self, row: Any) -> Self:
        span = self.span
        new = row[self.columns]
        least = _DEPENDENT * float(np.sqrt((row * row.conj()).real.sum()))
        # Projecting twice keeps the directions orthogonal to rounding.
        for _ in range(2):
            new = new - (span @ new.conj()).conj() @ span
            length = float(np.sqrt((new * new.conj()).real.sum()))
            if length <= least:
                return self
        new = new / length
        rest = self.open
        if rest is not None:
            rest = rest - np.multiply.outer(rest @ new.conj(), new)
        return self._with(np.concatenate([span, new[None]]), (), rest)

    def _extended_exact(self, row: Any) -> Self:
        field, span = self.field, self.span
        new: Any = row[self.columns]
        if self.pivots:
            part = field.matmul(new[None, list(self.pivots)], span)[0]
            new = field.subtract(new, part)
        nonzero = np.flatnonzero(new)
        if nonzero.size == 0:
            return self
        pivot = int(nonzero[0])
        new = field.multiply(new, field.reciprocal(new[pivot : pivot + 1]))
        span = field.subtract(span, field.multiply(span[:, pivot : pivot + 1], new[None]))
        rest = self.open
        if rest is not None:
            rest = field.subtract(rest, field.multiply(rest[:, pivot : pivot + 1], new[None]))
        return self._with(np.concatenate([span, new[None]]), (*self.pivots, pivot), rest)

    def _with(self, span: Any, pivots: tuple[int, ...], rest: Any) -> Self:
        return type(self)(self.field, self.columns, span, pivots, rest, self.scale)


def peeled(field: Field, rows: Any) -> tuple[list[int], list[int]]:
    """Columns and rows ``(s, r)`` that are left when what can be read off one by one is taken off.

    A row with one unknown gives that unknown, which leaves fewer in the other rows. This is exact,
    costs no arithmetic, and most of what sparse codes need.
    """
    support = rows != 0
    usable = support
    if not field.exact:
        sizes = np.abs(rows)
        usable = sizes > _PIVOT * sizes.max(axis=1, initial=0.0, keepdims=True)
    unknown = np.ones(rows.shape[1], dtype=bool)
    counts = support.sum(axis=1)
    while (single := np.flatnonzero(counts == 1)).size:
        found = (usable[single] & unknown).any(axis=0)
        if not found.any():
            break
        unknown &= ~found
        counts -= support[:, found].sum(axis=1)
    return np.flatnonzero(unknown).tolist(), np.flatnonzero(counts > 0).tolist()
