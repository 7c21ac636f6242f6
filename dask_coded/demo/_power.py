"""Leading eigenvectors of ``A.T @ A`` from products with blocks of vectors, and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Eigenpairs", "Multiply", "block_power", "eigenpairs", "subspace_angle"]

Floats: TypeAlias = npt.NDArray[np.float64]
#: ``V (d, q) -> A.T @ (A @ V)``.
Multiply: TypeAlias = Callable[[Floats], npt.ArrayLike]


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """The largest eigenvalues ``(q,)``, falling, and their eigenvectors ``(d, q)``."""

    values: Floats
    vectors: Floats

    def leading(self, count: int) -> "Eigenpairs":
        """The first `count`."""
        return Eigenpairs(self.values[:count], self.vectors[:, :count])


def block_power(multiply: Multiply, start: npt.ArrayLike, n_iterations: int) -> Eigenpairs:
    """Block power (orthogonal) iteration, with a Rayleigh-Ritz step at the end.

    ``V <- qr(A.T @ (A @ V))``: the angle to the space of the first p eigenvectors shrinks by
    ``value[q] / value[p - 1]`` (counted from 0) each time, so a block of q > p vectors is quick.

    Parameters
    ----------
    multiply : callable
        ``V (d, q) -> A.T @ (A @ V)``, ``(d, q)``.
    start : array_like (d, q)
    n_iterations : int
        So many products.

    References
    ----------
    G. H. Golub and C. F. Van Loan, *Matrix Computations*, 4th edition, sections 7.3.2 and 8.2.4.

    Examples
    --------
    >>> a = np.diag([3.0, 2.0, 1.0, 0.5])
    >>> block_power(lambda v: a.T @ (a @ v), np.ones((4, 2)) + np.eye(4, 2), 30).values.round(6)
    array([9., 4.])
    """
    product = np.asarray(start, dtype=np.float64)
    basis = product
    for _ in range(n_iterations):
        basis = np.linalg.qr(product).Q
        product = np.asarray(multiply(basis), dtype=np.float64)
    small = basis.T @ product
    ritz = eigenpairs((small + small.T) / 2)
    return Eigenpairs(ritz.values, basis @ ritz.vectors)


def eigenpairs(symmetric: Floats) -> Eigenpairs:
    """All eigenpairs of a small symmetric matrix, by LAPACK."""
    values, vectors = np.linalg.eigh(symmetric)
    return Eigenpairs(values[::-1], vectors[:, ::-1])


def subspace_angle(left: Floats, right: Floats) -> float:
    """Largest angle between two spaces of equal dimension, given by orthonormal columns, rad."""
    outside = right - left @ (left.T @ right)
    return float(np.arcsin(min(1.0, np.linalg.norm(outside, 2))))
