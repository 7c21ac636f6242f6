"""Floating-point sums: tiles of the blocks are gathered into a panel that one BLAS call multiplies.

Measured (16 blocks of 64 MiB into 4, one core, bytes read and written over those of plain copies
of the same arrays): gathering and one product 0.55; multiply-add passes over the blocks 0.15
(float32) to 0.2 (float64); einsum instead of BLAS 0.35; float32 gathered as float64 0.36.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dask_coded.kernels._layout import NDArray, Tile, coalesced, tiles
from dask_coded.kernels._support import Group, plan_rows

__all__ = ["Arithmetic", "combine_panels", "fitting_tile", "product_columns"]

# Bytes of panel and product together: half of a small second-level cache.
_PANEL_BYTES = 640 << 10
_SMALLEST_TILE = 256
_LARGEST_TILE = 1 << 15
# OpenBLAS keeps a product of at most so many multiply-adds on the calling thread. More threads
# gain nothing on products this thin, and fight with the threads of a Dask worker.
_SINGLE_THREAD = 1 << 18


class Arithmetic(NamedTuple):
    """In which types a sum is taken."""

    gathered: np.dtype[Any]
    """What blocks are converted to."""
    exact: np.dtype[Any] | None = None
    """Integer dtype that holds every sum exactly; outputs are its lowest bits."""
    boolean: bool = False
    """Keep only the lowest bit of exact sums."""


class _Work(NamedTuple):
    """Views of the scratch memory for one group of rows and one shape of tile."""

    gathered: list[NDArray]
    panel: NDArray
    product: NDArray
    steps: list[tuple[NDArray, NDArray]]
    results: list[NDArray]


def fitting_tile(rows: int, columns: int, itemsize: int) -> int:
    """Elements of a tile whose panel ``(columns, .)`` and product ``(rows, .)`` stay in cache."""
    return min(max(_PANEL_BYTES // ((rows + columns) * itemsize), _SMALLEST_TILE), _LARGEST_TILE)


def product_columns(rows: int, columns: int) -> int:
    """Columns of a panel to multiply at once with weights ``(rows, columns)``."""
    return max(_SINGLE_THREAD // (rows * columns) & ~63, _SMALLEST_TILE)


def combine_panels(
    weights: NDArray, blocks: Sequence[NDArray], out: Sequence[NDArray], how: Arithmetic
) -> None:
    """Write the weighted sums of `blocks` to `out`; all have one shape."""
    views = coalesced([*blocks, *out])
    sources, targets = views[: len(blocks)], views[len(blocks) :]
    plan = plan_rows(weights)
    for row in plan.zeros:
        targets[row][...] = 0
    for row, column in plan.copies:
        np.copyto(targets[row], sources[column], casting="unsafe")
    if not plan.groups:
        return
    # NaN and infinity in the data are the caller's; they are no reason to warn.
    with np.errstate(invalid="ignore"):
        parts = [_Part(weights, group, sources, targets, how) for group in plan.groups]
        size = min(part.tile_size for part in parts)
        for part in parts:
            part.allocate(size)
        for index, shape in tiles(targets[0].shape, size):
            for part in parts:
                part.combine_tile(index, shape)


class _Part:
    """One group of rows with its scratch memory."""

    def __init__(
        self,
        weights: NDArray,
        group: Group,
        sources: Sequence[NDArray],
        targets: Sequence[NDArray],
        how: Arithmetic,
    ) -> None:
        self._sources = [sources[column] for column in group.columns]
        self._targets = [targets[row] for row in group.rows]
        self._how = how
        chosen = weights[np.ix_(group.rows, group.columns)]
        self._gathered_dtype = self._product_dtype = how.gathered
        if how.gathered.kind == "c" and not chosen.imag.any():
            # Real weights act on real and imaginary parts alike, at a quarter of the cost.
            chosen = chosen.real
            self._product_dtype = np.finfo(how.gathered).dtype
        # BLAS hands a single row to a matrix-vector routine, which starts threads early.
        padded = max(len(chosen), 2)
        self._weights = np.zeros((padded, len(group.columns)), self._product_dtype)
        self._weights[: len(chosen)] = chosen
        self._may_leak = not group.uniform and how.exact is None
        self._works: dict[tuple[int, ...], _Work] = {}
        self.tile_size = fitting_tile(padded, len(group.columns), how.gathered.itemsize)

    def allocate(self, size: int) -> None:
        """Scratch memory for tiles of up to `size` elements."""
        rows, columns = self._weights.shape
        self._panel = np.empty((columns, size), self._gathered_dtype)
        self._product = np.empty((rows, size), self._gathered_dtype)

    def combine_tile(self, index: Tile, shape: tuple[int, ...]) -> None:
        work = self._works.get(shape)
        if work is None:
            work = self._works[shape] = self._views(shape)
        for row, source in zip(work.gathered, self._sources, strict=True):
            row[...] = source[index]
        for panel, product in work.steps:
            np.matmul(self._weights, panel, out=product)
        if self._may_leak and not np.isfinite(work.product).all():
            self._multiply_by_support(work)
        results = work.results
        if self._how.exact is not None:
            results = [result.astype(self._how.exact) for result in results]
            if self._how.boolean:
                results = [result & 1 for result in results]
        for target, result in zip(self._targets, results, strict=False):
            target[index] = result

    def _multiply_by_support(self, work: _Work) -> None:
        """Rows again, each over its own blocks: zero times NaN or infinity must not count."""
        for weights, product in zip(self._weights, work.product, strict=True):
            own = np.flatnonzero(weights)
            product[...] = weights[own] @ work.panel[own]

    def _views(self, shape: tuple[int, ...]) -> _Work:
        count = int(np.prod(shape))
        panel = self._panel[:, :count]
        product = self._product[:, :count]
        gathered = [row.reshape(shape) for row in panel]
        results = [row.reshape(shape) for row in product[: len(self._targets)]]
        panel = panel.view(self._product_dtype)
        product = product.view(self._product_dtype)
        step = product_columns(len(self._weights), len(self._sources))
        steps = [
            (panel[:, start : start + step], product[:, start : start + step])
            for start in range(0, panel.shape[1], step)
        ]
        return _Work(gathered, panel, product, steps, results)
