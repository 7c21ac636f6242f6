"""Codes whose shares hide the blocks: noise is encoded along with them.

A share is ``sum_j G[i, j] X_j + sum_t W[i, t] R_t`` with blocks ``R_t`` of uniform noise. Workers
together learn nothing exactly when the rows of G that they see lie in what the same rows of W
span: then every value of their shares is as likely for one X as for another. This is a rank over
the prime field, so it is decided without data, like everything else about a code.
"""

import abc
from collections.abc import Collection
from typing import Any, ClassVar

import numpy as np

from dask_coded.codes._bilinear import AbstractMatmulCode
from dask_coded.codes._check import arithmetic, positive
from dask_coded.codes._code import AbstractCode
from dask_coded.codes._points import rowwise_kron
from dask_coded.errors import ParameterError
from dask_coded.fields import Field, PrimeField
from dask_coded.typing import Array

__all__ = ["M61", "AbstractPrivateCode", "AbstractPrivateMatmulCode", "private_parameters"]

#: The default field of private codes: the widest.
M61 = PrimeField(2**61 - 1)


class AbstractPrivateCode(AbstractCode):
    """A code over a prime field any `colluding` of whose workers together learn nothing.

    A family states, besides what every code states, the coefficients of its noise and which
    shares one worker may be given. All shares of one worker have the same share of operand 0.

    Examples
    --------
    >>> from dask_coded.codes import PrivateEntangled
    >>> code = PrivateEntangled(9, m=1, p=2, n=1, colluding=2)
    >>> code.hides([3, 7]), code.hides([1, 3, 7])
    (True, False)
    """

    colluding: int

    @abc.abstractmethod
    def noise(self, operand: int = 0) -> Array:
        """Coefficients ``(N, W)`` of the operand's W noise blocks, which are uniform."""

    @property
    def workers(self) -> tuple[tuple[int, ...], ...]:
        """Shares that one worker may be given, for each worker; never more than these."""
        return tuple((share,) for share in range(self.n_shares))

    def hides(self, workers: Collection[int]) -> bool:
        """Whether these workers together learn nothing about any operand, whatever it is.

        Parameters
        ----------
        workers
            Indices into :attr:`workers`.

        Raises
        ------
        ParameterError
            If there is no such worker.
        """
        if not set(workers) <= set(range(len(self.workers))):
            raise ParameterError(
                f"{self!r} has workers 0 to {len(self.workers) - 1}; got {sorted(workers)}"
            )
        seen = [share for worker in sorted(set(workers)) for share in self.workers[worker]]
        for operand in range(len(self.operand_grids)):
            noise = self.noise(operand)[seen]
            both = np.concatenate([self.generator(operand)[seen], noise], axis=1)
            if self.field.rank(both) != self.field.rank(noise):
                return False
        return True


class AbstractPrivateMatmulCode(AbstractPrivateCode, AbstractMatmulCode):
    """``C = A @ B`` with noise on both sides; unknown are all products, noise included."""

    operation: ClassVar = AbstractMatmulCode.operation

    def responses(self) -> Array:
        """Row-wise Kronecker product of ``[G | W]`` of both operands."""
        left, right = (
            np.concatenate([self.generator(operand), self.noise(operand)], axis=1)
            for operand in (0, 1)
        )
        return rowwise_kron(self.field, left, right)

    def targets(self) -> Array:
        """One row per output block, with ones at the inner products it sums."""
        m, p, n = self.splits
        rows = m * p + self.noise(0).shape[1]
        columns = p * n + self.noise(1).shape[1]
        wanted: Any = np.zeros((m, n, rows, columns), dtype=self.field.dtype)
        i, j, k = np.ix_(range(m), range(n), range(p))
        wanted[i, j, i * p + k, k * n + j] = 1
        return np.asarray(wanted.reshape(m * n, -1))


def private_parameters(family: str, field: Field, colluding: int) -> None:
    """Raise unless the field hides exactly and somebody is to be hidden from."""
    arithmetic(field)
    if not field.exact:
        raise ParameterError(
            f"{family} hides nothing exactly in floating point, where noise has no uniform "
            f"distribution; got field={field!r}. Use PrimeField(2**61 - 1)"
        )
    positive(colluding=colluding)
