"""Arrays of any memory layout, seen as a sequence of small tiles that fit a cache."""

from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from math import prod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dask_coded.errors import BlockShapeError

__all__ = ["NDArray", "Tile", "check_overlap", "coalesced", "outputs", "tiles"]

NDArray: TypeAlias = npt.NDArray[Any]
Tile: TypeAlias = tuple[int | slice, ...]

# Effort after which two strided arrays whose spans overlap count as overlapping.
_OVERLAP_EFFORT = 10_000


def coalesced(arrays: Sequence[NDArray]) -> list[NDArray]:
    """Views of equally shaped arrays with the same elements in the same places, in fewer axes.

    Axes are put in the order of memory, and neighbours that form one run in every array are
    joined: contiguous arrays, C or Fortran, become one-dimensional.
    """
    if all(array.flags.c_contiguous for array in arrays):
        return [array.reshape(-1) for array in arrays]
    if all(array.flags.f_contiguous for array in arrays):
        return [array.T.reshape(-1) for array in arrays]
    lengths = arrays[0].shape
    axes = [axis for axis, length in enumerate(lengths) if length != 1]
    # The longest stride first, over all arrays together; broadcast axes have none.
    axes.sort(key=lambda axis: -sum(abs(array.strides[axis]) for array in arrays))
    shape: list[int] = []
    for position, axis in enumerate(axes):
        inner = axes[position - 1] if position else axis
        if position and all(a.strides[inner] == a.strides[axis] * lengths[axis] for a in arrays):
            shape[-1] *= lengths[axis]
        else:
            shape.append(lengths[axis])
    rest = [axis for axis, length in enumerate(lengths) if length == 1]
    # Only runs are joined, so reshape never copies.
    return [array.transpose(rest + axes).reshape(shape or [1]) for array in arrays]


def tiles(shape: tuple[int, ...], size: int) -> Iterator[tuple[Tile, tuple[int, ...]]]:
    """Index and shape of tiles of at most about `size` elements, in memory order.

    Trailing axes are kept whole as long as they fit; the next one is cut evenly.
    """
    if 0 in shape:
        return
    axis = len(shape) - 1
    while axis and prod(shape[axis:]) <= size:
        axis -= 1
    inner = shape[axis + 1 :]
    length = shape[axis]
    pieces = -(-length // max(1, size // prod(inner)))
    bounds = [length * piece // pieces for piece in range(pieces + 1)]
    for leading in product(*map(range, shape[:axis])):
        for start, stop in pairwise(bounds):
            yield (*leading, slice(start, stop)), (stop - start, *inner)


def outputs(
    out: Sequence[Any] | None,
    count: int,
    blocks: Sequence[NDArray],
    dtypes: Sequence[np.dtype[Any]],
) -> list[NDArray]:
    """New arrays of the first of `dtypes`, or the caller's, checked.

    Raises
    ------
    BlockShapeError
        If `out` does not fit: number, type, shape, dtype (one of `dtypes`), writeable, no overlap.
    """
    shape = blocks[0].shape
    if out is None:
        fortran = all(b.flags.f_contiguous and not b.flags.c_contiguous for b in blocks)
        return [np.empty(shape, dtypes[0], order="F" if fortran else "C") for _ in range(count)]
    given = list(out)
    if len(given) != count:
        raise BlockShapeError(f"weights make {count} outputs; out holds {len(given)} arrays")
    for index, array in enumerate(given):
        if not isinstance(array, np.ndarray):
            raise BlockShapeError(
                f"out[{index}] is a {type(array).__name__}; NumPy blocks need NumPy arrays in out"
            )
        if array.shape != shape or array.dtype not in dtypes:
            wanted = " or ".join(str(dtype) for dtype in dtypes)
            raise BlockShapeError(
                f"out[{index}] must be {wanted} of shape {shape}; got {array.dtype} of shape "
                f"{array.shape}"
            )
        if not array.flags.writeable:
            raise BlockShapeError(f"out[{index}] is read-only; give a writeable array")
    check_overlap(blocks, given)
    return given


def check_overlap(blocks: Sequence[NDArray], out: Sequence[NDArray]) -> None:
    """Raise if an array of `out` shares memory with a block, another of `out`, or itself."""
    for index, array in enumerate(out):
        pairs = zip(array.shape, array.strides, strict=True)
        if array.size and any(length > 1 and stride == 0 for length, stride in pairs):
            raise BlockShapeError(f"out[{index}] repeats its own elements; give a full array")
    named = [(f"block {index}", array) for index, array in enumerate(blocks) if array.size]
    named += [(f"out[{index}]", array) for index, array in enumerate(out) if array.size]
    spans = sorted(
        ((*np.lib.array_utils.byte_bounds(array), name, array) for name, array in named),
        key=lambda span: span[:3],
    )
    for position, (_, end, name, array) in enumerate(spans):
        for start, _, other_name, other in spans[position + 1 :]:
            if start >= end:
                break
            written = name.startswith("out") or other_name.startswith("out")
            if written and _overlap(array, other):
                raise BlockShapeError(
                    f"{other_name} and {name} share memory, but out is written while blocks are "
                    "read; give arrays of their own"
                )


def _overlap(a: NDArray, b: NDArray) -> bool:
    try:
        # NumPy's annotation knows only the two special values of max_work.
        return np.shares_memory(a, b, max_work=_OVERLAP_EFFORT)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True
