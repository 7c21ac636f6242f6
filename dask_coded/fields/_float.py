"""Floating-point arithmetic for coefficient matrices: real, complex, and real in pairs."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from dask_coded.errors import WeightsError
from dask_coded.typing import Array

__all__ = ["COMPLEX", "PAIRED", "REAL", "FloatField"]

# A singular value this much smaller than the largest is structural zero: the families build their
# matrices from orthonormal functions, whose true singular values spread over far fewer decades.
_RANK_TOLERANCE = 1e-10
# Solving may cut less: what it keeps can amplify rounding, but the amplification is reported.
_SOLVE_TOLERANCE = 1e-12


@dataclass(frozen=True)
class FloatField:
    """Floating-point numbers; use :data:`REAL`, :data:`COMPLEX` or :data:`PAIRED`."""

    name: str
    dtype: np.dtype[Any]

    def __repr__(self) -> str:
        return self.name.upper()

    @property
    def exact(self) -> bool:
        """False: floating-point arithmetic rounds."""
        return False

    def asarray(self, values: Any) -> Array:
        """Coefficients as float64 or complex128.

        Raises
        ------
        WeightsError
            If a coefficient is NaN or infinite.
        """
        array: Array = np.asarray(values, dtype=self.dtype)
        if not np.isfinite(array).all():
            raise WeightsError("coefficients hold NaN or infinity; give finite numbers")
        return array

    def matmul(self, a: Array, b: Array) -> Array:
        """Matrix product ``(i, j) @ (j, k) -> (i, k)``."""
        return cast(Array, np.matmul(a, b))

    def multiply(self, a: Array, b: Array) -> Array:
        """Elementwise product with broadcasting."""
        return cast(Array, np.multiply(a, b))

    def subtract(self, a: Array, b: Array) -> Array:
        """Elementwise difference with broadcasting."""
        return cast(Array, np.subtract(a, b))

    def reciprocal(self, a: Array) -> Array:
        """Elementwise inverse of elements other than zero."""
        return cast(Array, np.divide(1, a))

    def rank(self, a: Array) -> int:
        """Numerical rank of a matrix ``(i, j)``."""
        if a.size == 0:
            return 0
        singular = np.linalg.svd(_lapack(a), compute_uv=False)
        return int((singular > _RANK_TOLERANCE * singular[0]).sum())

    def compress(self, responses: Array) -> Array:
        """Map to orthonormal coordinates of the column space: see :meth:`Field.compress`.

        The compressed responses are rows of a matrix with orthonormal columns, which makes every
        subset of them as well conditioned as the code allows; no monomial is ever formed.
        """
        matrix = _lapack(responses)
        if matrix.shape[0] >= matrix.shape[1]:
            upper = cast("np.ndarray[Any, Any]", np.linalg.qr(matrix, mode="r"))
            if _is_regular(upper, _RANK_TOLERANCE):
                return cast(Array, np.linalg.inv(upper))
        _, singular, wh = np.linalg.svd(matrix, full_matrices=False)
        rank = int((singular > _RANK_TOLERANCE * singular.max(initial=0.0)).sum())
        return cast(Array, wh[:rank].conj().T / singular[:rank])

    def solve(self, basis: Array, functional: Array) -> Array:
        """Least-norm ``D`` of least misfit in ``D @ basis == functional``: :meth:`Field.solve`."""
        b, f = _lapack(basis), _lapack(functional)
        if b.shape[0] >= b.shape[1]:
            # Full column rank is the common case; QR costs a third of an SVD.
            q, upper = np.linalg.qr(b)
            if _is_regular(upper, _SOLVE_TOLERANCE):
                return cast(Array, np.linalg.solve(upper.T, f.T).T @ q.conj().T)
        return cast(Array, np.linalg.lstsq(b.T, f.T, rcond=_SOLVE_TOLERANCE)[0].T)

    def left_null(self, basis: Array) -> Array:
        """Orthonormal rows ``H (c, s)`` with ``H @ basis == 0``."""
        matrix = _lapack(basis)
        rank = matrix.shape[1]
        if matrix.shape[0] >= rank:
            q, upper = np.linalg.qr(matrix, mode="complete")
            if _is_regular(upper[:rank], _RANK_TOLERANCE):
                return cast(Array, np.ascontiguousarray(q[:, rank:].conj().T))
        u, singular, _ = np.linalg.svd(matrix, full_matrices=True)
        rank = int((singular > _RANK_TOLERANCE * singular.max(initial=0.0)).sum())
        return cast(Array, np.ascontiguousarray(u[:, rank:].conj().T))

    def inverse(self, a: Array) -> Array:
        """Inverse of a square matrix."""
        return cast(Array, np.linalg.inv(_lapack(a)))


def _is_regular(upper: np.ndarray[Any, Any], tolerance: float) -> bool:
    """Whether a triangular factor of QR has full rank, by the spread of its diagonal."""
    diagonal = np.abs(np.diagonal(upper))
    return bool(diagonal.min(initial=np.inf) > tolerance * diagonal.max(initial=0.0))


def _lapack(a: Array) -> np.ndarray[Any, Any]:
    """The same array under the type that NumPy's linear algebra is annotated with."""
    return cast("np.ndarray[Any, Any]", a)


#: Real numbers in float64.
REAL = FloatField("real", np.dtype(np.float64))
#: Complex numbers in complex128.
COMPLEX = FloatField("complex", np.dtype(np.complex128))
#: Complex coefficients for *real* blocks, whose upper and lower halves (along the first axis) stand
#: for real and imaginary part. A linear map from the right acts on both halves alike, so workers
#: multiply real arrays and do no more work than under REAL. What it buys is accuracy: the chance
#: that random parity amplifies more than x falls as 1 / x**2 instead of 1 / x
#: (benchmarks/accuracy.py: the worst of 2,100 loss patterns is 10 to 100 times more accurate).
PAIRED = FloatField("paired", np.dtype(np.complex128))
