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

#: What sums of narrower integers are held in: signed, as those of unsigned ones fit in, too, and
#: NumPy knows no integers that hold both uint64 and any signed ones.
_WIDER = (np.int16, np.int32, np.int64)


@dataclass(frozen=True)
class Stripe:
    """One codeword: a few row tiles of the matrix and their parity."""

    code: AbstractLinearCode
    rows: tuple[int, ...]
    """Rows of each data tile."""

    @property
    def heights(self) -> tuple[int, ...]:
        """Rows of each tile, parity included."""
        return (*self.rows, *[self.parity_rows] * (self.code.n_shares - self.code.k))

    @property
    def parity_rows(self) -> int:
        """Rows of each parity tile: those of the longest data tile, made even to be paired."""
        rows = max(self.rows)
        return rows + rows % 2 if self.code.field == PAIRED else rows

    def dtypes(self, dtype: np.dtype[Any]) -> tuple[np.dtype[Any], ...]:
        """dtype of each tile of a matrix of this dtype.

        Parity of integers is wide enough for its sums, so that it is the same mixture of rows to
        operands of every dtype; 64 bits are all there are.
        """
        if dtype.kind not in "iu":
            return (dtype,) * self.code.n_shares
        sizes = np.abs(self.code.generator())
        weight = float(sizes.sum(axis=1).max())
        fitting = (wide for wide in _WIDER if weight * _largest(dtype) <= np.iinfo(wide).max)
        wide = np.dtype(next(fitting, dtype))
        return tuple(dtype if copied else wide for copied in self._copied())

    def wraps(self, dtype: np.dtype[Any]) -> bool:
        """Whether parity of a matrix of this dtype may be a sum modulo a power of two only."""
        mixes = not all(self._copied())
        return dtype.kind in "iu" and mixes and all(own == dtype for own in self.dtypes(dtype))

    def _copied(self) -> list[bool]:
        """Whether each share is a block as it is."""
        generator = self.code.generator()
        alone = np.count_nonzero(generator, axis=1) == 1
        return (alone & (generator == 1).any(axis=1)).tolist()  # type: ignore[no-any-return]


def _largest(dtype: np.dtype[Any]) -> int:
    limits = np.iinfo(dtype)
    return max(-int(limits.min), int(limits.max))


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
    """An empty array of the type of the tiles and the dtype of the matrix."""
    tolerance: float
    verify: Verification | None = None
    """How products deal with wrong results; the graph then has the lengths of all rows, too."""
    sketched: str = ""
    """Kind of the sketches that the graph has of all data tiles, by which products with the
    transpose are checked: ``"f"`` of floats, ``"i"`` or ``"u"`` of integers; empty if none."""
    reason: str = ""
    """Why it is encoded by this code."""

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
        return self.columns * sum(
            height * dtype.itemsize
            for stripe in self.stripes
            for height, dtype in zip(stripe.heights, stripe.dtypes(self.dtype), strict=True)
        )

    @property
    def wraps(self) -> bool:
        """Whether the parity is right for products in integers only; see :meth:`Stripe.wraps`."""
        return any(stripe.wraps(self.dtype) for stripe in self.stripes)

    @property
    def eps(self) -> float | None:
        """Precision in which the shares were rounded; None if they are exact."""
        return float(np.finfo(self.dtype).eps) if self.dtype.kind in "fc" else None

    def tiles(self, stripe: int) -> list[Any]:
        """Keys of all shares of a stripe."""
        return [(self.name, stripe, share) for share in range(self.stripes[stripe].code.n_shares)]

    def lengths(self, stripe: int) -> list[Any]:
        """Keys of the row lengths of all shares of a stripe."""
        return [(f"{self.name}-lengths", stripe, share) for _, _, share in self.tiles(stripe)]

    @property
    def sketches_name(self) -> str:
        """Of the sketches of its kind."""
        return f"{self.name}-sketches-{self.sketched}"

    def sketches(self, stripe: int) -> list[Any]:
        """Keys of the sketches of all data tiles of a stripe."""
        blocks = range(len(self.stripes[stripe].rows))
        return [(self.sketches_name, stripe, block) for block in blocks]

    @property
    def keys(self) -> list[Any]:
        """Keys of all that is kept: first of all shares, then what comparing results takes."""
        stripes = range(len(self.stripes))
        keys = [key for stripe in stripes for key in self.tiles(stripe)]
        if self.verify is not None:
            keys += [key for stripe in stripes for key in self.lengths(stripe)]
        if self.sketched:
            keys += [key for stripe in stripes for key in self.sketches(stripe)]
        return keys

    # Enough of a Dask collection to be a dependency of a layer.

    def __dask_graph__(self) -> Any:
        return self.graph

    def __dask_layers__(self) -> tuple[str, ...]:
        names = (self.name, f"{self.name}-lengths", self.sketches_name)
        return tuple(name for name in names if name in self.graph.layers)

    def array(self, graph: Any, name: str, chunks: Any, dtype: Any) -> da.Array:
        """A Dask array of chunks of the type of the tiles."""
        return da.Array(graph, name, chunks, meta=meta_from_array(self.meta, len(chunks), dtype))
