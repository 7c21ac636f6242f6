"""What the task of a share does, and when it cannot.

A share that is no output is a mixture of blocks, and not everything can be mixed: NaN and infinity
spread over every block that is decoded from it, masked arrays lose their mask, integers their
exactness. Such a share is *unfit*. On a worker it raises, which the runtime takes for an erasure:
the product is right, and waits for the shares that are outputs; where outputs are no shares, that
is the error of the product. Elsewhere nobody decodes from a spare one, and the mark itself is its
result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from distributed import get_worker

from dask_coded.fields import Field
from dask_coded.graph._learned import Sized, bare, lengths_in
from dask_coded.graph._tasks import weighted_sum
from dask_coded.graph._unfit import Unfit
from dask_coded.kernels import settled, where_they_lie
from dask_coded.typing import AnyArray, Array

__all__ = [
    "Arithmetic",
    "PlainArithmetic",
    "checked_mixture",
    "given_up",
    "mixed",
    "part_of_sum",
    "result_of_share",
    "spares",
    "void",
]


class Arithmetic(Protocol):
    """Products of tiles, and their sums."""

    def multiply(self, a: AnyArray, b: AnyArray) -> AnyArray:
        """The product of two tiles, as :meth:`add` takes it."""
        ...

    def add(self, x: AnyArray, y: AnyArray) -> AnyArray:
        """The sum of two products."""
        ...

    def finish(self, total: AnyArray) -> AnyArray:
        """The result of a share from the sum of its products."""
        ...

    def flaw(self, tiles: Sequence[AnyArray], result: AnyArray) -> str | None:
        """Why a result of mixtures is no mixture of results; None if it is."""
        ...


@dataclass(frozen=True)
class PlainArithmetic:
    """Products of tiles of one library whose dtype is known.

    Parameters
    ----------
    product
        Multiplies two tiles.
    dtype
        Of the result.
    whole
        Whether the code leaves the inner axis whole: then it has one length, and what does not fit
        is refused by the product itself.
    """

    product: Callable[[AnyArray, AnyArray], AnyArray]
    dtype: str
    whole: bool = False

    def multiply(self, a: AnyArray, b: AnyArray) -> AnyArray:
        if self.whole:
            return self.product(a, b)
        # Mixtures are as long as their longest block, and stand for themselves continued with
        # zeros; what would meet those zeros in the other operand is left out.
        axis = max(b.ndim - 2, 0)
        inner = min(a.shape[-1], b.shape[axis])
        rows: Any = (*[slice(None)] * axis, slice(inner))
        return self.product(a[..., :inner], b[rows])

    def add(self, x: AnyArray, y: AnyArray) -> AnyArray:
        if x.shape == y.shape:
            return x + y
        # Never broadcast: a product of fewer blocks may be shorter, and is continued with zeros.
        total = np.zeros_like(x, shape=tuple(map(max, x.shape, y.shape)))
        for product in (x, y):
            total[tuple(map(slice, product.shape))] += product
        return total

    def finish(self, total: AnyArray) -> AnyArray:
        return total.astype(self.dtype, copy=False)

    def flaw(self, tiles: Sequence[AnyArray], result: AnyArray) -> str | None:
        return None


def part_of_sum(arithmetic: Arithmetic, before: Any, *tiles: Any) -> Any:
    """``before + a_0 b_0 + a_1 b_1 + ...`` for tiles ``a_0, a_1, ..., b_0, b_1, ...``."""
    for tile in (before, *tiles):
        if isinstance(tile, Unfit):
            return tile
    tiles = tuple(map(bare, tiles))
    half = len(tiles) // 2
    total = before
    with where_they_lie((before, *tiles), "a share"):
        for a, b in zip(tiles[:half], tiles[half:], strict=True):
            product = arithmetic.multiply(a, b)
            total = product if total is None else arithmetic.add(total, product)
        return total


def spares(share: int, data: Sequence[int | None], wanted: Sequence[bool]) -> bool | None:
    """What a share is to :func:`result_of_share`.

    Parameters
    ----------
    share
        Its index.
    data, wanted
        For each output the share that it is, and whether it exists.
    """
    homes = [home for home, exists in zip(data, wanted, strict=True) if exists]
    if share in data:
        return False
    if None not in homes:
        return True
    return None if len(homes) > 1 else False


def result_of_share(arithmetic: Arithmetic, spare: bool | None, before: Any, *tiles: Any) -> Any:
    """The result of a share.

    Parameters
    ----------
    arithmetic
        How tiles are multiplied and added.
    spare
        Whether all outputs of the group are results of other shares, so that this one is used
        only to decode what is missing.
    before, *tiles
        As for :func:`part_of_sum`.

    Raises
    ------
    UnsupportedOperationError
        If the result is unfit, and is needed or waited for.
    """
    with where_they_lie((before, *map(bare, tiles)), "a share"):
        return _result_of_share(arithmetic, spare, before, *tiles)


def _result_of_share(arithmetic: Arithmetic, spare: bool | None, before: Any, *tiles: Any) -> Any:
    if spare is False:
        total = part_of_sum(arithmetic, before, *tiles)
        if isinstance(total, Unfit):
            raise total.error()
        return settled(arithmetic.finish(total))
    # What overflows here need not overflow in any output: it is no news to anybody.
    with np.errstate(over="ignore", invalid="ignore"):
        total = part_of_sum(arithmetic, before, *tiles)
    if not isinstance(total, Unfit):
        result = settled(arithmetic.finish(total))
        flaw = arithmetic.flaw(tuple(map(bare, tiles)), result)
        total = checked_mixture(result) if flaw is None else Unfit(flaw)
        if spare and (lengths := lengths_in(tiles)) and not isinstance(total, Unfit):
            return Sized(total, lengths)
    if not isinstance(total, Unfit):
        return total
    if spare is None:
        why = "this code decodes all of them. Use one whose shares are outputs, as MDS, or none"
        total = Unfit(f"{total.reason}, and {why}")
    return given_up(total, bool(spare))


def mixed(weights: Array, *blocks: AnyArray, field: Field, dtype: str | None) -> AnyArray:
    """A weighted sum of blocks, as accurate as the product that it goes into.

    Silent about infinities: see :func:`checked_mixture`.

    Parameters
    ----------
    weights
        ``(len(blocks),)``.
    *blocks
        Of any shapes; shorter ones are continued with zeros.
    field
        Arithmetic of the weights.
    dtype
        Of the product; None if it is that of the blocks.
    """
    with where_they_lie(blocks, "a mixture"), np.errstate(over="ignore", invalid="ignore"):
        if dtype is not None:
            blocks = tuple(_promoted(block, np.dtype(dtype)) for block in blocks)
        return weighted_sum(weights, *blocks, field=field)


def _promoted(block: AnyArray, dtype: np.dtype[Any]) -> AnyArray:
    # A sum of small integers would wrap where no product does, one of float32 be too inaccurate.
    if dtype.kind == "c" and block.dtype.kind != "c":
        dtype = np.finfo(dtype).dtype
    return block.astype(dtype, copy=False)


def checked_mixture(mixture: AnyArray) -> Any:
    """The mixture, or why it is unfit."""
    with where_they_lie([mixture], "a look for infinities", mixture.size):
        if mixture.dtype.kind in "fc" and not np.isfinite(mixture).all():
            return Unfit("it has NaN or infinity, which decoding would spread over other blocks")
    return mixture


def given_up(unfit: Unfit, spare: bool) -> Unfit:
    """Raise for an unfit share where that is an erasure, or where there is no other way."""
    if spare and not _on_worker():
        return unfit
    raise unfit.error()


def _on_worker() -> bool:
    try:
        get_worker()
    except ValueError:
        return False
    return True


def void(ndim: int, dtype: str | None) -> AnyArray:
    """What a share of void tiles gives: zero of any shape, continued with zeros when decoded."""
    # Beside anything else the sum of booleans has the dtype of the other.
    return np.zeros((1,) * ndim, dtype="bool" if dtype is None else dtype)
