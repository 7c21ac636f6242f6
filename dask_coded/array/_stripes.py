"""What is known of an encoded matrix where its products are made: codes, tiles and their keys."""

from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
from dask.array.utils import meta_from_array

from dask_coded.codes import AbstractLinearCode
from dask_coded.fields import PAIRED
from dask_coded.graph import Verification
from dask_coded.typing import AnyArray

__all__ = ["EncodedRows", "Stripe"]


@dataclass(frozen=True)
class Stripe:
    """One codeword: a few row tiles of the matrix and their parity."""

    code: AbstractLinearCode
    rows: tuple[int, ...]
    """Rows of each data tile."""

    @property
    def parity_rows(self) -> int:
        """Rows of each parity tile: those of the longest data tile, made even to be paired."""
        rows = max(self.rows)
        return rows + rows % 2 if self.code.field == PAIRED else rows


@dataclass(frozen=True, eq=False)
class EncodedRows:
    """A matrix ``(m, c)`` whose rows are encoded."""

    name: str
    """Of the tiles; share s of stripe t has the key ``(name, t, s)``."""
    graph: Any
    """A Dask graph that has these keys."""
    stripes: tuple[Stripe, ...]
    """In row order."""
    columns: int
    meta: AnyArray
    """An empty array of the type and dtype of the tiles."""
    tolerance: float
    verify: Verification | None = None
    """How products deal with wrong results; the graph then has the lengths of all rows, too."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the matrix."""
        return np.dtype(self.meta.dtype)

    @property
    def row_chunks(self) -> tuple[int, ...]:
        """Rows of each data tile, over all stripes."""
        return tuple(rows for stripe in self.stripes for rows in stripe.rows)

    @property
    def nbytes(self) -> int:
        """Bytes of all shares, parity included."""
        rows = sum(
            sum(stripe.rows) + stripe.parity_rows * (stripe.code.n_shares - stripe.code.k)
            for stripe in self.stripes
        )
        return rows * self.columns * self.dtype.itemsize

    def tiles(self, stripe: int) -> list[Any]:
        """Keys of all shares of a stripe."""
        return [(self.name, stripe, share) for share in range(self.stripes[stripe].code.n_shares)]

    def lengths(self, stripe: int) -> list[Any]:
        """Keys of the row lengths of all shares of a stripe."""
        return [(f"{self.name}-lengths", stripe, share) for _, _, share in self.tiles(stripe)]

    @property
    def keys(self) -> list[Any]:
        """Keys of all that is kept: first of all shares, then of their row lengths if any."""
        stripes = range(len(self.stripes))
        tiles = [key for stripe in stripes for key in self.tiles(stripe)]
        if self.verify is None:
            return tiles
        return tiles + [key for stripe in stripes for key in self.lengths(stripe)]

    # Enough of a Dask collection to be a dependency of a layer.

    def __dask_graph__(self) -> Any:
        return self.graph

    def __dask_layers__(self) -> tuple[str, ...]:
        names = (self.name, f"{self.name}-lengths")
        return tuple(name for name in names if name in self.graph.layers)

    def array(self, graph: Any, name: str, chunks: Any, dtype: Any) -> da.Array:
        """A Dask array of chunks of the type of the tiles."""
        return da.Array(graph, name, chunks, meta=meta_from_array(self.meta, len(chunks), dtype))
