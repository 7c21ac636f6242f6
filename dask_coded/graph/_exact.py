"""Shares of exact products: integers modulo a prime, refused where they would leave its range."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_coded.errors import FieldRangeError
from dask_coded.fields import PrimeField
from dask_coded.graph._arithmetic import PlainArithmetic, given_up, part_of_sum
from dask_coded.graph._residues import Residues, extent, unpacked
from dask_coded.graph._residues import packed as packed_elements
from dask_coded.graph._unfit import Unfit
from dask_coded.typing import AnyArray

__all__ = ["ExactArithmetic", "exact_result"]

_WIDEST = 2**61 - 1


@dataclass(frozen=True)
class ExactArithmetic:
    """Products of integers modulo a prime, and of mixtures of them.

    Parameters
    ----------
    product
        ``product(a, b, multiply=...)`` multiplies two matrices of elements by that function.
    field
        Whose elements shares are.
    dtype
        Of the outputs.
    whole
        Whether outputs are results of some shares, computed in that dtype: then it has to hold
        them, or what wrapped could not be told from what did not.
    plain
        For shares that are products of chunks as they are.
    """

    product: Callable[..., AnyArray]
    field: PrimeField
    dtype: str
    whole: bool
    plain: PlainArithmetic

    @property
    def limit(self) -> int:
        """What no entry of an output may exceed in size."""
        half = (self.field.p - 1) // 2
        return min(half, int(np.iinfo(self.dtype).max)) if self.whole else half

    def multiply(self, a: Any, b: Any) -> Any:
        left, right = self._elements(a), self._elements(b)
        # Mixtures are as long as their longest block; see PlainArithmetic.
        inner = min(left.array.shape[1], right.array.shape[0])
        product = self.product(
            left.array[:, :inner], right.array[:inner], multiply=self.field.matmul
        )
        return Residues(product, left.extent * right.extent * inner)

    def add(self, x: Any, y: Any) -> Any:
        shape = tuple(map(max, x.array.shape, y.array.shape))
        total = np.zeros(shape, dtype=np.int64)
        for each in (x, y):
            part = tuple(map(slice, each.array.shape))
            total[part] = self.field.add(total[part], each.array)
        return Residues(total, x.extent + y.extent)

    def finish(self, total: Any) -> Any:
        return packed_elements(total.array, self.field)

    def flaw(self, tiles: Any, result: Any) -> str | None:
        return None

    def excess(self, bound: int) -> str | None:
        """Why products up to a bound cannot be told apart; None if they can."""
        if bound <= self.limit:
            return None
        half = (self.field.p - 1) // 2
        remedies = []
        if bound > half and self.field.p < _WIDEST:
            remedies.append("take a code over PrimeField(2**61 - 1)")
        if self.whole and bound > np.iinfo(self.dtype).max:
            remedies.append("convert operands to int64")
        remedies.append("split an operand into high and low digits and multiply these apart")
        return (
            f"the sizes of entries and the inner length allow products up to {bound}, and "
            f"{self.field.name} with outputs of {self.dtype} tells them apart up to {self.limit}: "
            f"{', or '.join(remedies)}"
        )

    def _elements(self, tile: Any) -> Residues:
        if isinstance(tile, Residues):
            return Residues(unpacked(tile.array), tile.extent)
        return Residues(self.field.asarray(np.asarray(tile)), extent(tile))


def exact_result(
    arithmetic: ExactArithmetic, output: bool, spare: bool | None, before: Any, *tiles: Any
) -> Any:
    """The result of a share: residues, or integers if it is an output.

    Parameters
    ----------
    arithmetic
        How tiles are multiplied and added.
    output
        Whether some output is this result.
    spare, before, *tiles
        See :func:`result_of_share`.

    Raises
    ------
    FieldRangeError
        If entries are so large that a product might leave the range of the field.
    """
    total = part_of_sum(arithmetic, before, *tiles)
    reason = arithmetic.excess(total.extent)
    if reason is not None:
        if spare:
            return given_up(Unfit(reason), True)
        raise FieldRangeError(f"nothing can be decoded from this share: {reason}")
    if output:
        return arithmetic.field.decode_signed(total.array).astype(arithmetic.dtype)
    return arithmetic.finish(total)
