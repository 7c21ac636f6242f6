"""Maximum-distance-separable codes of one operand."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from dask_coded.codes._check import arithmetic, enough_shares, one_of, positive, seeded
from dask_coded.codes._linear import AbstractLinearCode
from dask_coded.codes._points import cardinal_ladder, enough_points, ring_of, spread_first
from dask_coded.codes._random import unit_rows
from dask_coded.codes._registry import register
from dask_coded.errors import ParameterError
from dask_coded.fields import REAL, Field
from dask_coded.typing import Array

__all__ = ["MDS", "Parity"]

Parity: TypeAlias = Literal["auto", "ones", "dft", "gaussian"]

# Over the reals and up to four parities, the worst run of losses of the DFT amplifies less than the
# worst of thousands of random losses does with Gaussian parity; beyond, and always with complex
# coefficients, it is the other way round (benchmarks/accuracy.py).
_MOST_DFT_PARITIES = 4


@register("mds")
@dataclass(frozen=True)
class MDS(AbstractLinearCode):
    """Systematic code: shares ``0 .. k - 1`` are the blocks, any k shares decode.

    Parameters
    ----------
    n_shares
        Number of shares; ``n_shares - k`` of them are parity.
    k
        Number of blocks.
    parity
        ``"ones"``: their sum, one parity only. ``"dft"``: values of the trigonometric
        interpolant between the blocks on a circle; no random number, best up to four real
        parities. ``"gaussian"``: random rows of unit norm. ``"auto"`` chooses, and in an exact
        field always interpolates, where no choice matters.
    seed
        Of Gaussian parity; the same seed gives the same code everywhere.
    field
        :data:`~dask_coded.fields.PAIRED` keeps the most digits of real data from two parities on.

    Raises
    ------
    ParameterError
        If there are fewer shares than blocks, or the parity does not exist for that number
        of shares or that field.

    References
    ----------
    Lee, Lam, Pedarsani, Papailiopoulos and Ramchandran (2018), Speeding up distributed machine
    learning using codes, arXiv:1512.02673.

    Examples
    --------
    >>> code = MDS(5, k=3)
    >>> code.decoder([0, 1, 2]).amplification
    1.0
    >>> code.is_decodable([0, 3, 4])
    True
    """

    n_shares: int
    k: int
    parity: Parity = "auto"
    seed: int = 0
    field: Field = REAL

    def __post_init__(self) -> None:
        arithmetic(self.field)
        seeded(self.seed)
        positive(n_shares=self.n_shares, k=self.k)
        enough_shares("MDS", self.n_shares, self.k, "one per block")
        if self.parity not in ("auto", "ones", "dft", "gaussian"):
            raise ParameterError(
                f"parity={self.parity!r}; choose 'auto', 'ones', 'dft' or 'gaussian'"
            )
        spare = self.n_shares - self.k
        if self.parity == "ones" and spare > 1:
            raise ParameterError(
                f"parity='ones' gives one parity share, {spare} were asked for; "
                "use parity='auto' for more"
            )
        if self.field.exact and self.parity in ("dft", "gaussian"):
            raise ParameterError(
                f"parity={self.parity!r} is not exact in {self.field.name}; use parity='auto'"
            )
        if self._kind == "dft":
            enough_points(self.field, self.n_shares)

    @property
    def recovery_threshold(self) -> int:
        """k, the least possible."""
        return self.k

    @property
    def _kind(self) -> str:
        """The parity that ``"auto"`` stands for."""
        spare = self.n_shares - self.k
        if self.parity != "auto":
            return self.parity
        if spare <= 1:
            return "ones"
        if self.field.exact:
            return "dft"
        real = self.field.dtype.kind == "f"
        return "dft" if real and spare <= _MOST_DFT_PARITIES else "gaussian"

    @property
    def ring(self) -> tuple[int, ...]:
        """Shares around the circle of the DFT; in index order for the other parities."""
        if self._kind != "dft":
            return tuple(range(self.n_shares))
        return ring_of(spread_first(self.n_shares, self.k))

    def generator(self, operand: int = 0) -> Array:
        """Identity over parity, ``(n_shares, k)``."""
        one_of(operand, 1)
        if self._kind == "dft":
            return cardinal_ladder(self.field, self.n_shares, self.k)
        spare = self.n_shares - self.k
        if self._kind == "ones":
            parity = np.ones((spare, self.k), dtype=self.field.dtype)
        else:
            parity = unit_rows(self.field, self.seed, spare, self.k)
        return np.concatenate([np.eye(self.k, dtype=self.field.dtype), parity])
