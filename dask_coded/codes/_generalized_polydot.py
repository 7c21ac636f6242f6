"""Generalized PolyDot codes: forward and backward products off one stored encoding of W."""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from dask_coded.codes._bilinear import AbstractMatmulCode
from dask_coded.codes._check import arithmetic, enough_shares, one_of, positive, unpaired
from dask_coded.codes._entangled import entangled_generator
from dask_coded.codes._points import enough_points, ladder
from dask_coded.codes._registry import register
from dask_coded.errors import ParameterError
from dask_coded.fields import REAL, Field
from dask_coded.typing import Array

__all__ = ["Direction", "GeneralizedPolyDot"]

Direction: TypeAlias = Literal["forward", "backward"]


@register("generalized_polydot")
@dataclass(frozen=True)
class GeneralizedPolyDot(AbstractMatmulCode):
    """``W @ X`` and ``D.T @ W`` from the same coded W, as training a layer needs them.

    W is cut into ``m x n`` blocks. Forward, X is cut into ``n x 1``; backward, the left operand
    is cut into ``1 x m``. The encoding of W is the same in both directions, so a worker that
    holds one share of W serves both.

    Parameters
    ----------
    n_shares
        Number of shares.
    m, n
        Row and column cuts of W.
    direction
        Which product this code describes; :meth:`backward` and :meth:`forward` change it.

    References
    ----------
    Dutta, Bai, Jeong, Low and Grover (2018), A unified coded deep neural network training
    strategy based on generalized PolyDot codes for matrix multiplication, arXiv:1811.10751.

    Examples
    --------
    >>> code = GeneralizedPolyDot(8, m=2, n=2)
    >>> code.recovery_threshold, code.backward().recovery_threshold
    (5, 6)
    >>> bool((code.generator(0) == code.backward().generator(1)).all())
    True
    """

    n_shares: int
    m: int
    n: int
    direction: Direction = "forward"
    field: Field = REAL

    def __post_init__(self) -> None:
        arithmetic(self.field)
        unpaired("GeneralizedPolyDot", self.field)
        positive(n_shares=self.n_shares, m=self.m, n=self.n)
        if self.direction not in ("forward", "backward"):
            raise ParameterError(f"direction={self.direction!r}; choose 'forward' or 'backward'")
        reason = "m n + n - 1" if self.direction == "forward" else "2 m n - n"
        enough_shares("GeneralizedPolyDot", self.n_shares, self.recovery_threshold, reason)
        enough_points(self.field, self.n_shares)

    @property
    def splits(self) -> tuple[int, int, int]:
        """``(m, n, 1)`` forward, ``(1, m, n)`` backward."""
        return (self.m, self.n, 1) if self.direction == "forward" else (1, self.m, self.n)

    @property
    def recovery_threshold(self) -> int:
        """``m n + n - 1`` forward, ``2 m n - n`` backward."""
        if self.direction == "forward":
            return self.m * self.n + self.n - 1
        return 2 * self.m * self.n - self.n

    def forward(self) -> "GeneralizedPolyDot":
        """The code of ``W @ X`` with the same shares of W."""
        return replace(self, direction="forward")

    def backward(self) -> "GeneralizedPolyDot":
        """The code of ``D.T @ W`` with the same shares of W."""
        return replace(self, direction="backward")

    def generator(self, operand: int = 0) -> Array:
        """Coefficients of the operand's blocks; W is operand 0 forward and 1 backward."""
        one_of(operand, 2)
        forward = self.direction == "forward"
        if operand == (0 if forward else 1):
            return entangled_generator(self.field, self.n_shares, (self.m, self.n, 1), 0)
        if forward:
            return entangled_generator(self.field, self.n_shares, (self.m, self.n, 1), 1)
        # Row i of W has frequency n i; reversed, rows of the left operand meet it at one place.
        return ladder(self.field, self.n_shares, self.m, stride=self.n, reverse=True)
