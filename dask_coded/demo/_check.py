"""Whether the components are right, by an oracle that is not ours."""

from dataclasses import dataclass

import numpy as np

from dask_coded.demo._power import Eigenpairs, subspace_angle

__all__ = ["Check"]


@dataclass(frozen=True)
class Check:
    """How far principal components are from those of ``numpy.linalg.eigh``.

    Parameters
    ----------
    value_error : float
        Largest relative error of an eigenvalue.
    angle : float
        Between the two spaces of components, rad.
    """

    value_error: float
    angle: float

    #: Above what single precision and the number of iterations leave, far below what is visible.
    value_tolerance = 1e-4
    angle_tolerance = 1e-3

    @classmethod
    def of(cls, found: Eigenpairs, expected: Eigenpairs) -> "Check":
        """Compare equally many eigenpairs."""
        error = np.abs(found.values / expected.values - 1).max()
        return cls(float(error), subspace_angle(expected.vectors, found.vectors))

    @property
    def passed(self) -> bool:
        """Whether both are within tolerance."""
        return self.value_error <= self.value_tolerance and self.angle <= self.angle_tolerance

    def __str__(self) -> str:
        return (
            f"{'right' if self.passed else 'WRONG'}: eigenvalues differ by {self.value_error:.1e} "
            f"at most (tolerance {self.value_tolerance:.0e}), "
            f"the spaces by {self.angle:.1e} rad (tolerance {self.angle_tolerance:.0e})"
        )
