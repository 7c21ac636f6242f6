"""Operands cut into the blocks of a code, and outputs put together again."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dask_coded.typing import Grid

__all__ = ["cut", "join"]

NDArray: TypeAlias = npt.NDArray[Any]


def cut(x: NDArray, grid: Grid) -> list[NDArray]:
    """Blocks of one shape, row by row; the last are filled up with zeros.

    A grid of one number takes the blocks from the first axis, one by one.
    """
    if len(grid) == 1:
        return list(x)
    rows, columns = (-(-size // parts) for size, parts in zip(x.shape, grid, strict=True))
    blocks = []
    for i in range(grid[0]):
        for j in range(grid[1]):
            block = x[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns]
            if block.shape != (rows, columns):
                filled = np.zeros((rows, columns), x.dtype)
                filled[: block.shape[0], : block.shape[1]] = block
                block = filled
            blocks.append(block)
    return blocks


def join(blocks: list[NDArray], grid: Grid, shape: tuple[int, ...]) -> NDArray:
    """The array of that shape of which these are the blocks, without what was filled up."""
    if len(grid) == 1:
        return np.stack(blocks)
    rows = [blocks[i * grid[1] : (i + 1) * grid[1]] for i in range(grid[0])]
    whole: NDArray = np.block(rows)
    return np.ascontiguousarray(whole[: shape[0], : shape[1]])
