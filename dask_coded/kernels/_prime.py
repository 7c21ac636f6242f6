"""Sums of blocks of prime field elements, tile by tile through exact float64 products."""

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from dask_coded.errors import FieldRangeError, UnsupportedDtypeError
from dask_coded.fields import PrimeField
from dask_coded.fields._limbs import LimbFactor
from dask_coded.kernels._layout import NDArray, Tile, coalesced, tiles
from dask_coded.kernels._panels import fitting_tile, product_columns
from dask_coded.kernels._support import Group, plan_rows

__all__ = ["combine_elements"]


def combine_elements(
    weights: NDArray, blocks: Sequence[NDArray], out: Sequence[NDArray], field: PrimeField
) -> None:
    """Write the weighted sums of `blocks` modulo p to `out`; all have one shape.

    Raises
    ------
    UnsupportedDtypeError
        If a block holds no integers.
    FieldRangeError
        If a block that is read holds a value outside ``[0, p)``.
    """
    for number, block in enumerate(blocks):
        if block.dtype.kind not in "biu":
            raise UnsupportedDtypeError(
                f"{field.name} combines integer blocks of its elements; block {number} has dtype "
                f"{block.dtype}. Scale and round, then encode with field.encode_signed"
            )
    views = coalesced([*blocks, *out])
    sources, targets = views[: len(blocks)], views[len(blocks) :]
    plan = plan_rows(weights)
    for row in plan.zeros:
        targets[row][...] = 0
    copies = [Group([row], [column], True) for row, column in plan.copies]
    parts = [_Part(weights, group, sources, targets, field) for group in plan.groups + copies]
    if not parts:
        return
    size = min(part.tile_size for part in parts)
    for part in parts:
        part.allocate(size)
    for index, shape in tiles(targets[0].shape, size):
        for part in parts:
            part.combine_tile(index, shape)


class _Part:
    """One group of rows with its limbs and scratch memory."""

    def __init__(
        self,
        weights: NDArray,
        group: Group,
        sources: Sequence[NDArray],
        targets: Sequence[NDArray],
        field: PrimeField,
    ) -> None:
        self._columns = group.columns
        self._sources = [sources[column] for column in group.columns]
        self._targets = [targets[row] for row in group.rows]
        self._field = field
        self._factor = LimbFactor(weights[np.ix_(group.rows, group.columns)], field.p)
        rows, columns = self._factor.rows, len(group.columns)
        self.tile_size = min(fitting_tile(rows, columns, 8), product_columns(rows, columns))

    def allocate(self, size: int) -> None:
        """Scratch memory for tiles of up to `size` elements."""
        self._panel = np.empty((len(self._columns), size), self._factor.operand_dtype)

    def combine_tile(self, index: Tile, shape: tuple[int, ...]) -> None:
        count = int(np.prod(shape))
        panel = self._panel[:, :count]
        for row, source in zip(panel, self._sources, strict=True):
            row.reshape(shape)[...] = source[index]
        if panel.min() < 0 or panel.max() >= self._field.p:
            self._refuse(index)
        product = self._factor.times(panel)
        for target, row in zip(self._targets, product, strict=True):
            target[index] = row.reshape(shape)

    def _refuse(self, index: Tile) -> NoReturn:
        field = self._field
        for column, source in zip(self._columns, self._sources, strict=True):
            tile: Any = source[index]
            lowest, highest = int(tile.min()), int(tile.max())
            if lowest < 0 or highest >= field.p:
                raise FieldRangeError(
                    f"{field.name} has elements 0 to {field.p - 1}; block {column} holds values "
                    f"from {lowest} to {highest}. Encode signed data with field.encode_signed, "
                    "or take a larger prime"
                )
        raise AssertionError("a tile out of range has a block out of range")
