"""Private bivariate codes: several sub-tasks to a worker, each of which counts."""

from dataclasses import dataclass

import numpy as np

from dask_coded.codes._check import enough_shares, one_of, positive, seeded
from dask_coded.codes._points import enough_points, ladder, random_powers, rowwise_kron, scattered
from dask_coded.codes._private import M61, AbstractPrivateMatmulCode, private_parameters
from dask_coded.codes._registry import register
from dask_coded.errors import ParameterError
from dask_coded.fields import Field
from dask_coded.typing import Array

__all__ = ["PrivateBivariate"]


@register("private_bivariate")
@dataclass(frozen=True)
class PrivateBivariate(AbstractPrivateMatmulCode):
    """``C = A @ B`` from any ``(m + T) n + s (m + T - 1)`` of s products per worker.

    A worker has one share of A and s shares of B, so that it stores and is sent ``1 + s`` shares
    for s products; what a slow worker finished counts. T workers together learn nothing.

    Parameters
    ----------
    n_shares
        Number of products, s for each worker: shares ``s w`` to ``s w + s - 1`` are worker w's.
    m, n
        Row blocks of A and column blocks of B.
    per_worker
        Sub-tasks s of a worker, at most n.
    colluding
        Workers T that may put together what they were given.
    seed
        Seed of the evaluation points, which are public.

    Notes
    -----
    ``A(x) = sum_k A_k x^k + sum_t R_t x^(m + t)`` and
    ``B(x, y) = sum_l B_l y^l + sum_t sum_{j < s} S_tj x^(m + t) y^j``. Sub-task (w, q) multiplies
    ``A(x_w)`` by ``B(x_w, y_wq)``. The paper takes derivatives at one y in place of values at
    several, and then needs them in order; with values any sub-tasks count, as far as the random
    points are generic: a set of threshold size fails with a chance of some thousands over p.
    Privacy leaves nothing to chance: the noise coefficients of T workers are regular because the
    ``x_w`` differ from each other and from zero, and the ``y_wq`` of one worker from each other.

    References
    ----------
    Hasircioglu, Gomez-Vilardebo and Gunduz (2021), Speeding up private distributed matrix
    multiplication via bivariate polynomial codes, arXiv:2102.08304.

    Examples
    --------
    >>> code = PrivateBivariate(16, m=2, n=2, per_worker=2, colluding=1)
    >>> code.recovery_threshold, code.workers[3]
    (10, (6, 7))
    """

    n_shares: int
    m: int
    n: int
    per_worker: int
    colluding: int
    seed: int = 0
    field: Field = M61

    def __post_init__(self) -> None:
        private_parameters("PrivateBivariate", self.field, self.colluding)
        positive(n_shares=self.n_shares, m=self.m, n=self.n, per_worker=self.per_worker)
        seeded(self.seed)
        if self.per_worker > self.n or self.n_shares % self.per_worker:
            raise ParameterError(
                f"PrivateBivariate gives each worker the same number of sub-tasks, at most n = "
                f"{self.n}; got n_shares={self.n_shares} and per_worker={self.per_worker}. "
                "Take a multiple, and no more than n"
            )
        scattered("PrivateBivariate", self.field)
        reason = "(m + T) n + s (m + T - 1)"
        enough_shares("PrivateBivariate", self.n_shares, self.recovery_threshold, reason)
        enough_points(self.field, self.n_shares)

    @property
    def splits(self) -> tuple[int, int, int]:
        """``(m, 1, n)``."""
        return self.m, 1, self.n

    @property
    def recovery_threshold(self) -> int:
        """``(m + T) n + s (m + T - 1)`` products, of whichever workers."""
        size = self.m + self.colluding
        return size * self.n + self.per_worker * (size - 1)

    @property
    def workers(self) -> tuple[tuple[int, ...], ...]:
        """Runs of s shares."""
        size = self.per_worker
        return tuple(tuple(range(first, first + size)) for first in range(0, self.n_shares, size))

    def generator(self, operand: int = 0) -> Array:
        """Powers of x for A, ``(N, m)``, and of y for B, ``(N, n)``."""
        one_of(operand, 2)
        return self._x(self.m) if operand == 0 else self._y(self.n)

    def noise(self, operand: int = 0) -> Array:
        """The next T powers of x, ``(N, T)``; for B times s powers of y, ``(N, T s)``."""
        one_of(operand, 2)
        above = self._x(self.m + self.colluding)[:, self.m :]
        return rowwise_kron(self.field, above, self._y(self.per_worker)) if operand else above

    def _x(self, size: int) -> Array:
        """Powers of the worker's point."""
        powers = ladder(self.field, self.n_shares // self.per_worker, size)
        return np.repeat(powers, self.per_worker, axis=0)

    def _y(self, size: int) -> Array:
        """Powers of the sub-task's point."""
        return random_powers(self.field, self.seed, self.n_shares, size)
