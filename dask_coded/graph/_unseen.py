"""Chunks that nobody has seen: sizes, dtype and type are known only when they are there.

A Dask graph says how many chunks an array has, not what they are. A product that is rewritten in
the graph therefore does two things when its tasks run: shares that are outputs compute exactly
what Dask would have computed, whatever the chunks are; mixtures look at the chunks first, are
unfit if these cannot be mixed, and carry the sizes to whoever decodes from them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from dask.array import chunk
from dask.array.core import _concatenate2
from dask.array.routines import _chunk_sum

from dask_coded.errors import UnsupportedDtypeError
from dask_coded.fields import Field
from dask_coded.graph._arithmetic import mixed
from dask_coded.graph._learned import Sized
from dask_coded.graph._unfit import Unfit
from dask_coded.kernels import served_library
from dask_coded.typing import AnyArray, Array

__all__ = ["UnseenArithmetic", "mixed_unseen"]


def _plain(*tiles: Any) -> bool:
    """Whether tiles are of the kind that we multiply ourselves, in slices, and of one library."""
    libraries = {served_library(tile) for tile in tiles}
    fits = len(libraries) == 1 and None not in libraries
    return fits and all(tile.dtype.kind in "iufc" and tile.dtype.char not in "gG" for tile in tiles)


@dataclass(frozen=True)
class UnseenArithmetic:
    """What a product of Dask's does with its chunks, which keeps the contracted axis until the end.

    Parameters
    ----------
    product
        Multiplies two plain tiles.
    function
        Multiplies any two chunks as Dask does.
    axis
        The contracted axis.
    joined
        Whether Dask's sum joins its blocks first, as tensordot does, or adds them one by one.
    dtype
        Of the sum; None if there is only one summand.
    """

    product: Callable[[AnyArray, AnyArray], AnyArray]
    function: Callable[[AnyArray, AnyArray], AnyArray]
    axis: int
    joined: bool
    dtype: str | None

    def multiply(self, a: AnyArray, b: AnyArray) -> AnyArray:
        if not _plain(a, b):
            return self.function(a, b)
        return np.expand_dims(self.product(_wide(a, self.dtype), _wide(b, self.dtype)), self.axis)

    def add(self, x: AnyArray, y: AnyArray) -> AnyArray:
        if _plain(x, y):
            return np.add(x, y, dtype=self.dtype)
        return self._sum([x, y], keepdims=True)

    def finish(self, total: AnyArray) -> AnyArray:
        if self.dtype is None:
            return total[(slice(None),) * self.axis + (0,)]
        if _plain(total):
            return total.squeeze(self.axis).astype(self.dtype, copy=False)
        return self._sum([total], keepdims=False)

    def flaw(self, tiles: Sequence[AnyArray], result: AnyArray) -> str | None:
        if not _plain(result):
            return f"its result is a {type(result).__name__} of dtype {result.dtype}"
        if self.dtype is None and any(_real(tile) != _real(result) for tile in tiles):
            # Nobody knew the other operand when the chunks of one were mixed.
            kinds = sorted({str(tile.dtype) for tile in tiles})
            return f"a product of {' and '.join(kinds)} is more accurate than mixed chunks"
        return None

    def _sum(self, blocks: list[AnyArray], *, keepdims: bool) -> AnyArray:
        how = {"axis": (self.axis,), "dtype": np.dtype(self.dtype), "keepdims": keepdims}
        if self.joined:
            return chunk.sum(_concatenate2(blocks, axes=[self.axis]), **how)
        return _chunk_sum(blocks, **how)


def _real(array: AnyArray) -> np.dtype[Any]:
    """dtype of an array, or of the parts of complex numbers."""
    dtype = array.dtype
    return np.finfo(dtype).dtype if dtype.kind == "c" else dtype


def _wide(tile: AnyArray, dtype: str | None) -> AnyArray:
    """Integers in the dtype of their sum: modulo its range only, sums of blocks stay exact."""
    if dtype is None or tile.dtype.kind not in "iu" or np.dtype(dtype).kind not in "iu":
        return tile
    return tile.astype(dtype, copy=False)


def mixed_unseen(
    weights: Array,
    *chunks: AnyArray,
    field: Field,
    dtype: str | None,
    axis: int | None = None,
    blocks: tuple[int, ...] = (),
) -> AnyArray | Sized | Unfit:
    """A weighted sum of chunks, if they can be mixed.

    Parameters
    ----------
    weights
        ``(len(chunks),)``.
    *chunks
        Whatever the graph gives.
    field
        Arithmetic of the weights.
    dtype
        Of the output, if known.
    axis
        The axis along which chunks may differ in length; None if they must not.
    blocks
        Which block of the code each chunk is, along that axis.
    """
    for block in chunks:
        if not _plain(block):
            kind = getattr(block, "dtype", "no dtype")
            return Unfit(f"chunks of {type(block).__name__} with dtype {kind} cannot be mixed")
    if not _plain(*chunks):
        kinds = sorted({type(block).__name__ for block in chunks})
        return Unfit(f"chunks of {' and '.join(kinds)} live in different places")
    shapes = {block.shape for block in chunks}
    if len({_without(shape, axis) for shape in shapes}) > 1:
        return Unfit(f"chunks of one stripe have different shapes: {sorted(shapes)}")
    try:
        mixture = mixed(weights, *chunks, field=field, dtype=dtype)
    except UnsupportedDtypeError as error:
        return Unfit(str(error))
    if axis is None:
        if mixture.shape not in shapes:
            return Unfit(f"pairing needs an even number of rows, and chunks have shapes {shapes}")
        return mixture
    lengths = {i: block.shape[axis] for i, block in zip(blocks, chunks, strict=True)}
    return Sized(mixture, lengths)


def _without(shape: tuple[int, ...], axis: int | None) -> tuple[int, ...]:
    if axis is None:
        return shape
    axis %= len(shape)
    return shape[:axis] + shape[axis + 1 :]
