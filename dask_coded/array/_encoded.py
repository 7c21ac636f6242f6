"""A matrix that lives encoded on the cluster: encode once, multiply many times."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.base import DaskMethodsMixin, tokenize
from dask.threaded import get as threaded_get

from dask_coded.array._client import current_client, prepare
from dask_coded.cluster import sliced_matmul
from dask_coded.codes import AbstractLinearCode
from dask_coded.errors import BlockShapeError, UnsupportedOperationError
from dask_coded.fields import PAIRED
from dask_coded.graph import (
    MatmulGroups,
    PlainArithmetic,
    decoded_rows,
    layered,
    merged,
    product_tasks,
    reference,
)

__all__ = ["EncodedArray", "Stripe"]


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


def _gathered(tiles: Sequence[Any], blocks: Sequence[int], keys: Sequence[Any]) -> Any:
    """The matrix, from all tiles in the order of their keys: data tiles come first in a stripe."""
    return np.concatenate(
        [
            tile
            for (_, stripe, share), tile in zip(keys, tiles, strict=False)
            if share < blocks[stripe]
        ]
    )


@dataclass(frozen=True, eq=False, repr=False)
class EncodedArray(DaskMethodsMixin):  # type: ignore[misc]
    """An encoded matrix ``(n, d)``; made by :func:`dask_coded.encode`.

    Row tiles are dealt to stripes of up to k; each stripe has its own parity, and each of its
    shares belongs on a worker of its own. ``A @ x`` is one small product per share, of which any
    decodable set suffices.
    """

    name: str
    """Of the tiles; share s of stripe t has the key ``(name, t, s)``."""
    graph: Any
    """A Dask graph that has these keys."""
    stripes: tuple[Stripe, ...]
    """In row order."""
    columns: int
    dtype: np.dtype[Any]
    tolerance: float
    adjoint: "EncodedArray | None" = None
    """The encoded conjugate transpose, if there is one."""

    # NumPy asks us before it would make an array of objects.
    __array_priority__ = 20.0

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, d)``."""
        return sum(self.row_chunks), self.columns

    @property
    def ndim(self) -> int:
        """Two."""
        return 2

    @property
    def row_chunks(self) -> tuple[int, ...]:
        """Rows of each data tile, over all stripes; the row chunks of every product."""
        return tuple(rows for stripe in self.stripes for rows in stripe.rows)

    @property
    def code(self) -> AbstractLinearCode:
        """Code of the first stripe, the longest."""
        return self.stripes[0].code

    @property
    def nbytes(self) -> int:
        """Bytes of all shares, parity included."""
        rows = sum(
            sum(stripe.rows) + stripe.parity_rows * (stripe.code.n_shares - stripe.code.k)
            for stripe in self.stripes
        )
        own = rows * self.columns * self.dtype.itemsize
        return own if self.adjoint is None else own + self.adjoint.nbytes

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        code = self.code
        both = "" if self.adjoint is None else " and its conjugate transpose"
        return (
            f"EncodedArray<{self.shape}, {self.dtype}{both}, {len(self.stripes)} stripes of "
            f"{code!r}: any {code.recovery_threshold} of {code.n_shares} shares suffice>"
        )

    # A Dask collection of tiles

    def _tiles(self, stripe: int) -> list[Any]:
        return [(self.name, stripe, share) for share in range(self.stripes[stripe].code.n_shares)]

    def _own_keys(self) -> list[Any]:
        return [key for stripe in range(len(self.stripes)) for key in self._tiles(stripe)]

    def __dask_graph__(self) -> Any:
        return self.graph if self.adjoint is None else merged(self.graph, self.adjoint.graph)

    def __dask_keys__(self) -> list[Any]:
        own = self._own_keys()
        return own if self.adjoint is None else own + self.adjoint._own_keys()

    def __dask_layers__(self) -> tuple[str, ...]:
        return (self.name,) if self.adjoint is None else (self.name, self.adjoint.name)

    def __dask_tokenize__(self) -> Any:
        return (type(self).__name__, self.__dask_layers__())

    # The descriptor itself: it follows the option array_optimize, as arrays do.
    __dask_optimize__ = da.Array.__dict__["__dask_optimize__"]
    __dask_scheduler__ = staticmethod(threaded_get)

    def __dask_postcompute__(self) -> Any:
        return _gathered, ([stripe.code.k for stripe in self.stripes], self._own_keys())

    def compute(self, **kwargs: Any) -> Any:
        """The matrix itself, in memory, from whatever shares there are, ``(n, d)``."""
        return self.decode().compute(**kwargs)

    def __dask_postpersist__(self) -> Any:
        return self._with_graph, ()

    def _with_graph(self, graph: Any, *, rename: Any = None) -> "EncodedArray":
        """The same matrix, its tiles found in another graph (futures, after persisting)."""
        if rename:
            raise UnsupportedOperationError("tiles of an encoded matrix cannot be renamed")
        return replace(
            self,
            graph=layered(self.name, {key: graph[key] for key in self._own_keys()}),
            adjoint=None if self.adjoint is None else self.adjoint._with_graph(graph),
        )

    def persist(self, **kwargs: Any) -> "EncodedArray":
        """Encode now, and keep one share per worker.

        Neighbouring shares go to different workers and hosts. On a cluster this returns at once,
        as :func:`dask.persist` does. A share that is lost with its worker later is rebuilt from
        the others.
        """
        prepare(current_client())
        (persisted,) = dask.persist(self, **kwargs)
        return persisted  # type: ignore[no-any-return]

    # Products

    @property
    def H(self) -> "EncodedArray":
        """The encoded conjugate transpose.

        Raises
        ------
        UnsupportedOperationError
            If it was not encoded: use ``encode(a, adjoint=True)``.
        """
        if self.adjoint is None:
            raise UnsupportedOperationError(
                "this matrix was encoded for A @ x only; use encode(a, adjoint=True) for "
                "products with its transpose as well"
            )
        return replace(self.adjoint, adjoint=replace(self, adjoint=None))

    @property
    def T(self) -> "EncodedArray":
        """The encoded transpose of a real matrix, the same as :attr:`H`."""
        if self.dtype.kind == "c":
            raise UnsupportedOperationError(
                "a complex matrix is encoded with its conjugate transpose; use A.H @ y, or "
                "(A.H @ y.conj()).conj() for A.T @ y"
            )
        return self.H

    def __matmul__(self, other: Any) -> da.Array:
        """``A @ x`` for a NumPy or Dask vector ``(d,)`` or block of vectors ``(d, q)``.

        Returns
        -------
        dask.array.Array
            Lazy, ``(n,)`` or ``(n, q)``.

        Raises
        ------
        BlockShapeError
            If the inner dimensions differ.
        """
        if isinstance(other, EncodedArray):
            raise UnsupportedOperationError(
                "both operands are encoded; multiply by one that is not, e.g. A @ B.decode()"
            )
        x = other if isinstance(other, da.Array) else np.asarray(other)
        if x.ndim not in (1, 2) or x.shape[0] != self.columns:
            raise BlockShapeError(
                f"A @ x with A of shape {self.shape} takes x of shape ({self.columns},) or "
                f"({self.columns}, q), got {x.shape}; transpose x, or use A.T @ x"
            )
        prepare(current_client())
        if isinstance(x, da.Array):
            return self._product(x.rechunk({0: -1}))
        return self._product(x)

    def __rmatmul__(self, other: Any) -> Any:
        raise UnsupportedOperationError(
            "x @ A needs the columns of A; encode with adjoint=True and use (A.T @ x.T).T"
        )

    def _product(self, x: Any) -> da.Array:
        lazy = isinstance(x, da.Array)
        dtype = np.result_type(self.dtype, x.dtype)
        name = f"coded-matmul-{tokenize(self.name, x, self.tolerance)}"
        if x.ndim == 1:
            columns, operands = None, [reference((x.name, 0)) if lazy else x]
        else:
            columns = x.chunks[1] if lazy else (x.shape[1],)
            operands = [
                reference((x.name, 0, column)) if lazy else x for column in range(len(columns))
            ]
        tasks: dict[Any, Any] = {}
        first = 0
        for index, stripe in enumerate(self.stripes):
            groups = MatmulGroups(
                name=name,
                code=stripe.code,
                splits=(stripe.code.k, 1, 1),
                batch=(),
                rows=len(stripe.rows),
                columns=None if columns is None else len(columns),
                positions=1,
                per_task=1,
                tolerance=self.tolerance,
                dtype=str(dtype),
                chunks=(stripe.rows,) if columns is None else (stripe.rows, columns),
                first_row=first,
            )
            a = {(0, s, 0): reference(key) for s, key in enumerate(self._tiles(index))}
            b = {
                (column, share, 0): operand
                for column, operand in enumerate(operands)
                for share in range(stripe.code.n_shares)
            }
            tasks.update(
                product_tasks(
                    groups,
                    lambda place, a=a: a,
                    lambda place, b=b: b,
                    PlainArithmetic(sliced_matmul, str(dtype)),
                )
            )
            first += len(stripe.rows)
        graph = layered(name, tasks, [replace(self, adjoint=None), *([x] if lazy else [])])
        chunks = (self.row_chunks,) if columns is None else (self.row_chunks, columns)
        return da.Array(graph, name, chunks, meta=np.empty((0,) * len(chunks), dtype=dtype))

    def decode(self) -> da.Array:
        """The matrix itself, from whatever shares there are.

        Returns
        -------
        dask.array.Array
            Lazy, ``(n, d)``.
        """
        prepare(current_client())
        name = f"decoded-{tokenize(self.name)}"
        tasks: dict[Any, Any] = {}
        first = 0
        for index, stripe in enumerate(self.stripes):
            tasks.update(
                decoded_rows(
                    f"{name}-{index}",
                    stripe.code,
                    self._tiles(index),
                    [(name, first + row, 0) for row in range(len(stripe.rows))],
                    shapes=tuple((rows, self.columns) for rows in stripe.rows),
                    dtype=str(self.dtype),
                    tolerance=self.tolerance,
                )
            )
            first += len(stripe.rows)
        graph = layered(name, tasks, [replace(self, adjoint=None)])
        chunks = (self.row_chunks, (self.columns,))
        return da.Array(graph, name, chunks, meta=np.empty((0, 0), dtype=self.dtype))

    # NumPy's protocols

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if ufunc is np.matmul and method == "__call__" and not kwargs:
            left, right = inputs
            return left @ right if isinstance(left, EncodedArray) else right.__rmatmul__(left)
        raise UnsupportedOperationError(
            f"an encoded matrix multiplies, it has no {ufunc.__name__}; use A.decode()"
        )

    def __array_function__(self, func: Any, types: Any, args: Sequence[Any], kwargs: Any) -> Any:
        if func is np.dot and not kwargs and isinstance(args[0], EncodedArray):
            return args[0] @ args[1]
        raise UnsupportedOperationError(
            f"an encoded matrix multiplies, it has no {func.__name__}; use A.decode()"
        )

    def to_dask_array(self) -> da.Array:
        """The same as :meth:`decode`; Dask's own functions call it."""
        return self.decode()
