"""A matrix that lives encoded on the cluster: encode once, multiply many times."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
from dask.base import DaskMethodsMixin
from dask.threaded import get as threaded_get

from dask_coded.array._chunks import as_operand, check_together
from dask_coded.array._client import current_client, prepare
from dask_coded.array._products import adjoint_product, decoded, product, verified_rows
from dask_coded.array._stripes import EncodedRows, Stripe
from dask_coded.codes import AbstractLinearCode
from dask_coded.errors import (
    BlockShapeError,
    ParameterError,
    UnsupportedAttributeError,
    UnsupportedOperationError,
)
from dask_coded.graph import Verify, layered

__all__ = ["EncodedArray"]


def _gathered(
    tiles: Sequence[Any], blocks: Sequence[int], keys: Sequence[Any], flipped: bool
) -> Any:
    """The matrix, from all tiles in the order of their keys: data tiles come first in a stripe.

    What is kept beside the tiles comes behind them, and is left out.
    """
    name = keys[0][0]
    matrix = np.concatenate(
        [
            tile
            for (kept, stripe, share), tile in zip(keys, tiles, strict=False)
            if kept == name and share < blocks[stripe]
        ]
    )
    return matrix.conj().T if flipped else matrix


@dataclass(frozen=True, eq=False, repr=False)
class EncodedArray(DaskMethodsMixin):  # type: ignore[misc]
    """An encoded matrix ``(n, d)``; made by :func:`dask_coded.encode`.

    Row tiles are dealt to stripes of up to k; each stripe has its own parity, and each of its
    shares belongs on a worker of its own. ``A @ x`` is one small product per share, of which any
    decodable set suffices. ``A.H @ y`` is a sum over tiles, each multiplied where it is; a term
    that is late is recovered from the other shares of its stripe.
    """

    rows: EncodedRows
    """The tiles: of this matrix, or of its conjugate transpose."""
    flipped: bool = False
    """Whether they are of the conjugate transpose."""

    # NumPy asks us before it would make an array of objects.
    __array_priority__ = 20.0

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, d)``."""
        height, width = sum(self.rows.row_chunks), self.rows.columns
        return (width, height) if self.flipped else (height, width)

    @property
    def ndim(self) -> int:
        """Two."""
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the matrix."""
        return self.rows.dtype

    @property
    def name(self) -> str:
        """Of the tiles; share s of stripe t has the key ``(name, t, s)``."""
        return self.rows.name

    @property
    def stripes(self) -> tuple[Stripe, ...]:
        """In the order of the rows that are encoded."""
        return self.rows.stripes

    @property
    def row_chunks(self) -> tuple[int, ...]:
        """The row chunks of every product."""
        return (self.rows.columns,) if self.flipped else self.rows.row_chunks

    @property
    def code(self) -> AbstractLinearCode:
        """Code of the first stripe, the longest."""
        return self.stripes[0].code

    @property
    def nbytes(self) -> int:
        """Bytes of all shares, parity included."""
        return self.rows.nbytes

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        code = self.code
        axis = "columns" if self.flipped else "rows"
        return (
            f"EncodedArray<{self.shape}, {self.dtype}, {axis} in {len(self.stripes)} stripes of "
            f"{code!r}: any {code.recovery_threshold} of {code.n_shares} shares suffice; "
            f"{self.rows.reason}>"
        )

    # A Dask collection of tiles

    def __dask_graph__(self) -> Any:
        return self.rows.graph

    def __dask_keys__(self) -> list[Any]:
        return self.rows.keys

    def __dask_layers__(self) -> tuple[str, ...]:
        return self.rows.__dask_layers__()

    def __dask_tokenize__(self) -> Any:
        return (type(self).__name__, self.name, self.flipped, self.rows.verify)

    # The descriptor itself: it follows the option array_optimize, as arrays do.
    __dask_optimize__ = da.Array.__dict__["__dask_optimize__"]
    __dask_scheduler__ = staticmethod(threaded_get)

    def __dask_postcompute__(self) -> Any:
        return _gathered, (
            [stripe.code.k for stripe in self.stripes],
            self.rows.keys,
            self.flipped,
        )

    def compute(self, **kwargs: Any) -> Any:
        """The matrix itself, in memory, from whatever shares there are, ``(n, d)``."""
        return self.decode().compute(**kwargs)

    def __dask_postpersist__(self) -> Any:
        return self._with_graph, ()

    def _with_graph(self, graph: Any, *, rename: Any = None) -> "EncodedArray":
        """The same matrix, its tiles found in another graph (futures, after persisting)."""
        if rename:
            raise UnsupportedOperationError("tiles of an encoded matrix cannot be renamed")
        # `dask.optimize` leaves out what lives on a cluster already.
        tiles = layered(self.name, {key: graph[key] for key in self.rows.keys if key in graph})
        return replace(self, rows=replace(self.rows, graph=tiles))

    def persist(self, **kwargs: Any) -> "EncodedArray":
        """Encode now, and keep one share per worker.

        Neighbouring shares go to different workers and hosts. On a cluster this returns at once,
        as :func:`dask.persist` does. A share that is lost with its worker later is rebuilt from
        the others.
        """
        prepare(current_client())
        (persisted,) = dask.persist(self, **kwargs)
        return persisted  # type: ignore[no-any-return]

    def verified(self, verify: Verify | None) -> "EncodedArray":
        """The same shares, whose results are compared in every product.

        Those of ``A @ x`` are compared with each other; terms of ``A.H @ y`` with sketches of their
        blocks, a few columns each, which are outputs of such a product: errors that rounding could
        explain in a sum over a column of A pass. (It is the other way round where the matrix is cut
        along its columns, as `repr` says.)

        The length of each row is computed once, and kept with the shares by :meth:`persist`; so are
        sketches if the matrix was encoded with `adjoint` and `verify`. Otherwise each product with
        the transpose makes its own, which takes a verified product with a few vectors.

        Parameters
        ----------
        verify
            As in :func:`dask_coded.coded_matmul`; None trusts results again.

        Raises
        ------
        ParameterError
            If there is too little parity for what is asked.

        Examples
        --------
        >>> from dask_coded import encode
        >>> A = encode(np.ones((6, 4)), parity=2).verified("correct")
        >>> (A @ np.ones(4)).compute(scheduler="sync")
        array([4., 4., 4., 4., 4., 4.])
        """
        return replace(self, rows=verified_rows(self.rows, verify))

    # Products

    @property
    def H(self) -> "EncodedArray":
        """The conjugate transpose: the same tiles, multiplied from the other side."""
        return replace(self, flipped=not self.flipped)

    @property
    def T(self) -> "EncodedArray":
        """The transpose of a real matrix, the same as :attr:`H`.

        Raises
        ------
        UnsupportedOperationError
            If the matrix is complex.
        """
        if self.dtype.kind == "c":
            raise UnsupportedOperationError(
                "the tiles of a complex matrix give its conjugate transpose; use A.H @ y, or "
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
        x = as_operand(other)
        if x.ndim not in (1, 2) or x.shape[0] != self.shape[1]:
            raise BlockShapeError(
                f"A @ x with A of shape {self.shape} takes x of shape ({self.shape[1]},) or "
                f"({self.shape[1]}, q), got {x.shape}; transpose x, or use A.T @ x"
            )
        check_together(self.rows.meta, x)
        client = current_client()
        prepare(client)
        if self.flipped:
            # Without a cluster nothing is late, and nobody would stop the helpers.
            return adjoint_product(self.rows, x, coded=client is not None)
        return product(self.rows, x)

    def __rmatmul__(self, other: Any) -> da.Array:
        """``x @ A`` for a vector ``(n,)`` or rows of vectors ``(p, n)``."""
        x = as_operand(other)
        return (self.H @ x.conj().T).conj().T

    def dot(self, other: Any) -> da.Array:
        """The same as ``A @ other``."""
        return self @ other

    def decode(self) -> da.Array:
        """The matrix itself, from whatever shares there are.

        Returns
        -------
        dask.array.Array
            Lazy, ``(n, d)``.
        """
        prepare(current_client())
        plain = decoded(self.rows)
        return plain.conj().T if self.flipped else plain

    # NumPy's protocols

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if ufunc is np.matmul and method == "__call__" and not kwargs:
            left, right = inputs
            return left @ right if isinstance(left, EncodedArray) else right.__rmatmul__(left)
        raise UnsupportedOperationError(
            f"an encoded matrix multiplies, it has no {ufunc.__name__}; use A.decode()"
        )

    def __array_function__(self, func: Any, types: Any, args: Sequence[Any], kwargs: Any) -> Any:
        if func is np.dot and not kwargs:
            left, right = args
            return left @ right
        raise UnsupportedOperationError(
            f"an encoded matrix multiplies, it has no {func.__name__}; use A.decode()"
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """The matrix itself, in memory: for what takes nothing but arrays of NumPy."""
        if copy is False:
            raise ParameterError(
                "an encoded matrix is no array in memory, and making one copies it; "
                "leave out copy=False"
            )
        matrix = self.compute()
        return matrix if dtype is None else matrix.astype(dtype, copy=False)

    if not TYPE_CHECKING:  # Names that do not exist are errors of types.

        def __getattr__(self, name: str) -> Any:
            raise UnsupportedAttributeError(
                f"an encoded matrix has no {name!r}: it multiplies, as A @ x and A.T @ y. "
                "A.decode() is the matrix as a Dask array"
            )

    def __getitem__(self, index: Any) -> Any:
        """Refused; ``A.decode()[index]`` does it."""
        raise UnsupportedOperationError(
            "an encoded matrix multiplies, and has no rows or entries to take; use A.decode()[...]"
        )

    def to_dask_array(self) -> da.Array:
        """The same as :meth:`decode`; Dask's own functions call it.

        So does ``da.matmul(A, x)``, which asks its operands for nothing else, and multiplies what
        it gets without a code. ``A @ x`` and ``np.matmul(A, x)`` are the coded product.
        """
        return self.decode()
