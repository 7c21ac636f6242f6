"""The arithmetic in which a code lives."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from dask_coded.typing import Array

__all__ = ["Field"]


@runtime_checkable
class Field(Protocol):
    """Arithmetic on small coefficient matrices, floating or exact.

    A field is a frozen, hashable, picklable value. Its methods serve the *algebra* of codes
    (matrices of at most a few thousand rows); data blocks go through
    :func:`dask_coded.kernels.combine`.
    """

    @property
    def name(self) -> str:
        """Name used by ``to_dict``: ``"real"``, ``"complex"``, ``"paired"`` or ``"prime:<p>"``."""
        ...

    @property
    def exact(self) -> bool:
        """True when arithmetic never rounds."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """dtype of coefficient matrices: float64, complex128 or int64."""
        ...

    def asarray(self, values: Any) -> Array:
        """Coefficients of this field from numbers; exact fields reduce integers modulo p."""
        ...

    def matmul(self, a: Array, b: Array) -> Array:
        """Matrix product ``(i, j) @ (j, k) -> (i, k)``."""
        ...

    def multiply(self, a: Array, b: Array) -> Array:
        """Elementwise product with NumPy broadcasting."""
        ...

    def subtract(self, a: Array, b: Array) -> Array:
        """Elementwise difference with NumPy broadcasting."""
        ...

    def reciprocal(self, a: Array) -> Array:
        """Elementwise inverse of elements other than zero."""
        ...

    def rank(self, a: Array) -> int:
        """Rank of a matrix ``(i, j)``."""
        ...

    def compress(self, responses: Array) -> Array:
        """Map ``L (R, r)`` to well-conditioned coordinates, r the rank of responses ``(N, R)``.

        ``responses @ L`` has full column rank, and for targets T in the row space of the responses
        ``D @ responses[S] == T`` exactly when ``D @ (responses @ L)[S] == T @ L``.
        """
        ...

    def solve(self, basis: Array, functional: Array) -> Array | None:
        """``D (O, s)`` with ``D @ basis == functional`` for basis ``(s, r)``.

        Exact fields return None if there is none. Floating fields return the least-norm D of
        least misfit, so every survivor is used; how large the misfit may be is the caller's say.
        """
        ...

    def left_null(self, basis: Array) -> Array:
        """``H (c, s)`` whose rows span ``{h : h @ basis == 0}`` for basis ``(s, r)``."""
        ...

    def inverse(self, a: Array) -> Array:
        """Inverse of a square matrix."""
        ...
