"""Alloy codes: random products of a fast bilinear algorithm, which most small sets decode."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, cast

import numpy as np

from dask_coded.codes._algebra import Solver
from dask_coded.codes._bilinear import AbstractMatmulCode
from dask_coded.codes._check import arithmetic, enough_shares, one_of, positive, seeded, unpaired
from dask_coded.codes._points import (
    cardinal_ladder,
    enough_points,
    ladder,
    rowwise_kron,
    spread_first,
)
from dask_coded.codes._random import nonzero_rows
from dask_coded.codes._registry import register
from dask_coded.codes._strassen import strassen
from dask_coded.codes._whole import whole
from dask_coded.errors import ParameterError
from dask_coded.fields import REAL, Field
from dask_coded.typing import Array

__all__ = ["Alloy", "Local", "Mixing"]

Mixing: TypeAlias = Literal["grouped", "global"]
Local: TypeAlias = Literal["auto", "systematic", "random", "points"]

# With four, the 2401 products of 16 x 16 blocks would fill a gigabyte with coefficients.
_MOST_LEVELS = 3


@register("alloy")
@dataclass(frozen=True)
class Alloy(AbstractMatmulCode):
    """Each share is a random product of combined blocks of A and of B.

    The product is first split by Strassen's algorithm into R = ``7**levels`` products of combined
    blocks. Each of these is cut into ``m x n`` products of blocks, and a share is a random
    combination of row blocks times a random combination of column blocks. There is no sharp
    threshold: :func:`~dask_coded.codes.typical_recovery_threshold` says what usually suffices.
    With `levels` no share is an output, and NaN or infinity in a share would reach all of them: a
    product of arrays then raises.

    Parameters
    ----------
    n_shares
        Number of shares; at least ``R m n``, or ``(2 R - 1) m n`` if `mixing` is global.
    m, n
        Row cuts of the left factor of each product, column cuts of the right one.
    levels
        How often Strassen's algorithm is applied; A and B are cut into ``2**levels m x 2**levels``
        and ``2**levels x 2**levels n`` blocks. 0 codes the outer product of m and n blocks.
    mixing
        ``"grouped"``: share i belongs to product ``i mod R``, and every product needs ``m n`` of
        its own shares. ``"global"``: each share mixes all R products along a curve, and any
        ``(2 R - 1) m n`` shares decode; the first ``R m n`` do as well if they are systematic.
    local
        How a share combines the blocks within a product. ``"systematic"``: the first ``R m n``
        shares hold one product of blocks each, the others random combinations. ``"random"``: all
        are random. ``"points"``: values of polynomials, nothing is random. ``"auto"`` is
        systematic for floats and points in an exact field, where random combinations may happen
        to be dependent, so that fewer than all shares are not certain to decode.
    seed
        Of the random combinations; the same seed gives the same code everywhere.

    Raises
    ------
    ParameterError
        If there are too few shares, or random ones in an exact field that do not decode.

    References
    ----------
    Soto (2022), Random alloy codes and the fundamental limits of coded distributed tensors,
    arXiv:2202.03469. Yu, Maddah-Ali and Avestimehr (2020), Straggler mitigation in distributed
    matrix multiplication: fundamental limits and optimal coding, arXiv:1801.07487, for the curve.

    Examples
    --------
    >>> code = Alloy(14, levels=1)
    >>> code.recovery_threshold, code.is_decodable(range(7))
    (13, True)
    """

    solver: ClassVar[Solver] = whole

    n_shares: int
    m: int = 1
    n: int = 1
    levels: int = 1
    mixing: Mixing = "grouped"
    local: Local = "auto"
    seed: int = 0
    field: Field = REAL

    def __post_init__(self) -> None:
        arithmetic(self.field)
        unpaired("Alloy", self.field)
        seeded(self.seed)
        positive(n_shares=self.n_shares, m=self.m, n=self.n)
        if type(self.levels) is not int or not 0 <= self.levels <= _MOST_LEVELS:
            raise ParameterError(
                f"levels must be an int from 0 to {_MOST_LEVELS}, got {self.levels!r}"
            )
        if self.mixing not in ("grouped", "global"):
            raise ParameterError(f"mixing={self.mixing!r}; choose 'grouped' or 'global'")
        if self.local not in ("auto", "systematic", "random", "points"):
            raise ParameterError(
                f"local={self.local!r}; choose 'auto', 'systematic', 'random' or 'points'"
            )
        least, why = self.rank * self.m * self.n, "one per product of blocks"
        if self.mixing == "global":
            least, why = (2 * self.rank - 1) * self.m * self.n, "(2 R - 1) m n"
        enough_shares("Alloy", self.n_shares, least, why)
        if self.mixing == "global":
            enough_points(self.field, self.n_shares)
        elif self._kind == "points":
            enough_points(self.field, -(-self.n_shares // self.rank))
        if not self._certain:
            responses = self.responses()
            both = np.concatenate([responses, self.targets()])
            if self.field.rank(responses) < self.field.rank(both):
                raise ParameterError(
                    f"all {self.n_shares} shares of seed {self.seed} do not determine the outputs "
                    f"in {self.field.name}; use more shares, another seed or local='points'"
                )

    @property
    def rank(self) -> int:
        """Products of the bilinear algorithm, R = ``7**levels``."""
        return int(7**self.levels)

    @property
    def splits(self) -> tuple[int, int, int]:
        """``(2**levels m, 2**levels, 2**levels n)``."""
        cuts = 2**self.levels
        return cuts * self.m, cuts, cuts * self.n

    @property
    def recovery_threshold(self) -> int:
        """Grouped ``N - N // R + m n``: the smallest group lost most; global ``(2 R - 1) m n``.

        All shares if they are random in an exact field. Most smaller sets decode as well.
        """
        if not self._certain:
            return self.n_shares
        if self.mixing == "global":
            return (2 * self.rank - 1) * self.m * self.n
        return self.n_shares - self.n_shares // self.rank + self.m * self.n

    @property
    def tight(self) -> bool:  # type: ignore[override]
        """Whether a set of one share less than the threshold surely fails to decode."""
        return self._certain

    @property
    def ring(self) -> tuple[int, ...]:
        """Shares group by group, or in the order of their points."""
        place = self._points if self.mixing == "global" else np.arange(self.n_shares) % self.rank
        return tuple(np.argsort(place, kind="stable").tolist())

    @property
    def _kind(self) -> str:
        """What ``local="auto"`` stands for."""
        if self.local != "auto":
            return self.local
        return "points" if self.field.exact else "systematic"

    @property
    def _certain(self) -> bool:
        """Whether the threshold is a theorem: not for random numbers of an exact field."""
        return not self.field.exact or self._kind == "points" or self.m * self.n == 1

    @property
    def _data_shares(self) -> int:
        """Shares, at the front, that hold a product of blocks each."""
        return self.rank * self.m * self.n if self._kind == "systematic" else 0

    @property
    def _points(self) -> Any:
        """Point of each share on the curve; data shares sit at the R nodes, the others alone."""
        data, shares = self._data_shares, np.arange(self.n_shares)
        skipped = max(0, data - self.rank)
        places = np.where(shares < data, shares % self.rank, shares - skipped)
        return np.array(spread_first(self.n_shares - skipped, self.rank))[places]

    def generator(self, operand: int = 0) -> Array:
        """Coefficients of A's blocks ``(N, m p)``, or of B's ``(N, p n)``; see :attr:`splits`."""
        one_of(operand, 2)
        field, algorithm = self.field, strassen(self.levels)
        combined = field.asarray(algorithm.right if operand else algorithm.left)
        products = field.matmul(self._over_products(), combined)
        local = self._within_product(operand)
        size, cuts = algorithm.size, self.n if operand else self.m
        mixed: Any = rowwise_kron(field, products, local).reshape(-1, size, size, cuts)
        # Row blocks of A are cut further, and so are column blocks of B.
        if operand == 0:
            mixed = mixed.transpose(0, 1, 3, 2)
        return np.ascontiguousarray(mixed.reshape(self.n_shares, -1))

    def _over_products(self) -> Array:
        """How each share combines the R products' factors, ``(N, R)``."""
        if self.mixing == "grouped":
            identity = np.eye(self.rank, dtype=self.field.dtype)
            return identity[np.arange(self.n_shares) % self.rank]
        points = self._points
        order = spread_first(int(points.max()) + 1, self.rank)
        curve = cardinal_ladder(self.field, len(order), self.rank)
        return cast(Array, curve[np.argsort(order)[points]])

    def _within_product(self, operand: int) -> Array:
        """How each share combines the blocks of a factor, ``(N, m)`` or ``(N, n)``."""
        size, n_shares = (self.m, self.n)[operand], self.n_shares
        if self._kind == "points":
            stride = self.m if operand else 1
            if self.mixing == "grouped":
                n_points = -(-n_shares // self.rank)
                points = np.arange(n_shares) // self.rank
            else:
                n_points, points = n_shares, self._points
                stride *= 2 * self.rank - 1
            return ladder(self.field, n_points, size, stride=stride)[points]
        rows = nonzero_rows(self.field, 2 * self.seed + operand, n_shares, size)
        data = self._data_shares
        if data:
            block = np.arange(data) // self.rank
            block = block % self.n if operand else block // self.n
            rows[:data] = np.eye(size, dtype=self.field.dtype)[block]
        return rows
