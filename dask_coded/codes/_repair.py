"""The code whose outputs are its own shares: what rebuilds a share that was lost."""

from dataclasses import dataclass

from dask_coded.codes._linear import AbstractLinearCode
from dask_coded.codes._registry import register
from dask_coded.errors import ParameterError
from dask_coded.fields import Field
from dask_coded.typing import Array, Grid

__all__ = ["Repair"]


@register("repair")
@dataclass(frozen=True)
class Repair(AbstractLinearCode):
    """Every share of a code of one operand, from any shares that decode it.

    Decoding gives the blocks, and encoding them again gives the shares; both at once are one
    small matrix. Shares that are there are passed on as they are.

    Parameters
    ----------
    of
        The code whose shares are kept.

    Examples
    --------
    >>> from dask_coded.codes import MDS
    >>> code = Repair(MDS(4, k=3))
    >>> code.output_grid, code.recovery_threshold
    ((4,), 3)
    >>> code.decoder([0, 1, 2]).weights[3]
    array([1., 1., 1.])
    """

    of: AbstractLinearCode

    def __post_init__(self) -> None:
        if not isinstance(self.of, AbstractLinearCode):
            raise ParameterError(f"Repair takes a code of one operand such as MDS, got {self.of!r}")

    @property
    def field(self) -> Field:  # type: ignore[override]
        """Field of the code."""
        return self.of.field

    @property
    def n_shares(self) -> int:  # type: ignore[override]
        """Number of shares of the code."""
        return self.of.n_shares

    @property
    def k(self) -> int:  # type: ignore[override]
        """Number of blocks of the code."""
        return self.of.k

    @property
    def output_grid(self) -> Grid:
        """``(n_shares,)``."""
        return (self.n_shares,)

    @property
    def ring(self) -> tuple[int, ...]:
        """Ring of the code."""
        return self.of.ring

    @property
    def recovery_threshold(self) -> int:
        """That of the code: what gives all blocks gives all shares."""
        return self.of.recovery_threshold

    def generator(self, operand: int = 0) -> Array:
        """Generator of the code."""
        return self.of.generator(operand)

    def targets(self) -> Array:
        """The generator: each output is a share."""
        return self.of.generator()
