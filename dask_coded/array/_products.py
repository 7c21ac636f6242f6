"""Products of encoded rows with plain operands, from either side."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import dask.array as da
import numpy as np
from dask.base import tokenize

from dask_coded.array._chunks import as_dask, check_comparable, on_device
from dask_coded.array._stripes import EncodedRows
from dask_coded.cluster import sliced_adjoint, sliced_matmul
from dask_coded.codes import protects
from dask_coded.errors import ParameterError, UnsupportedDtypeError
from dask_coded.graph import (
    AdjointTerms,
    MatmulGroups,
    PiecewiseAdjoint,
    PlainArithmetic,
    Verification,
    Verify,
    adjoint_terms,
    carried,
    checked_terms,
    decoded_rows,
    layered,
    product_tasks,
    reference,
    references,
    row_length_tasks,
    sketch_columns,
    sketch_task,
    sum_tasks,
)
from dask_coded.typing import AnyArray

__all__ = ["adjoint_product", "decoded", "product", "sketched_rows", "verified_rows"]

#: An operand in memory of more bytes is sent to one worker, from which the others fetch it;
#: a smaller one is sent with every task, and waits for nobody.
_SENT_WITH_TASKS = 2**22


def product(rows: EncodedRows, x: Any) -> da.Array:
    """``A @ x`` for a NumPy or Dask vector ``(c,)`` or block of vectors ``(c, q)``, ``(m[, q])``.

    The shares of a stripe take the chunks of x as they are: to join them first would send all
    through one worker.
    """
    if not isinstance(x, da.Array) and x.nbytes > _SENT_WITH_TASKS:
        x = as_dask(x)
    lazy = isinstance(x, da.Array)
    most = max(stripe.code.n_shares for stripe in rows.stripes)
    if lazy and len(x.chunks[0]) > most:
        x = x.rechunk({0: -(-rows.columns // most)}, method="tasks")
    dtype = _product_dtype(rows, x)
    # The values of an array of a device would be fetched for a name that depends on them.
    token = uuid4().hex if on_device(x) else tokenize(rows.name, x, rows.tolerance, rows.verify)
    name = f"coded-matmul-{token}"
    columns = None if x.ndim == 1 else x.chunks[1] if lazy else (x.shape[1],)
    operands = [_operand(x, column) for column in range(1 if columns is None else len(columns))]
    tasks: dict[Any, Any] = {}
    first = 0
    for index, stripe in enumerate(rows.stripes):
        groups = MatmulGroups(
            name=name,
            code=stripe.code,
            splits=(stripe.code.k, 1, 1),
            batch=(),
            rows=len(stripe.rows),
            columns=None if columns is None else len(columns),
            positions=1,
            per_task=1,
            tolerance=rows.tolerance,
            dtype=str(dtype),
            chunks=(stripe.rows,) if columns is None else (stripe.rows, columns),
            first_row=first,
            verify=rows.verify,
            eps=rows.eps,
        )
        known = rows.lengths(index) if rows.verify is not None and dtype.kind in "fc" else []
        a = {(0, s, 0): reference(key) for s, key in enumerate(rows.tiles(index))}
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
                PlainArithmetic(_InItsDtype(sliced_matmul, str(dtype)), str(dtype), whole=True),
                {(0, share): reference(key) for share, key in enumerate(known)},
            )
        )
        first += len(stripe.rows)
    graph = layered(name, tasks, [rows, *([x] if lazy else [])])
    chunks = (rows.row_chunks,) if columns is None else (rows.row_chunks, columns)
    return rows.array(graph, name, chunks, dtype)


def _product_dtype(rows: EncodedRows, x: Any) -> np.dtype[Any]:
    dtype = np.result_type(rows.dtype, x.dtype)
    if dtype.kind not in "iu" and rows.wraps:
        raise UnsupportedDtypeError(
            f"the matrix is {rows.dtype}, whose parity is a sum modulo 2**{8 * rows.dtype.itemsize}"
            f"; its products with {x.dtype} are {dtype}, where nothing wraps, and could not be "
            f"decoded. Use encode(a.astype({str(dtype)!r}), ...), or a code of copies such as "
            "Replication"
        )
    return dtype


@dataclass(frozen=True)
class _InItsDtype:
    """A product of integers in the dtype of the output, where parity is wider than the matrix.

    Modulo a power of two it may be: NumPy would make floats of int64 and uint64.
    """

    product: Callable[[AnyArray, AnyArray], AnyArray]
    dtype: str

    def __call__(self, a: AnyArray, b: AnyArray) -> AnyArray:
        if np.dtype(self.dtype).kind in "iu" and np.result_type(a.dtype, b.dtype) != self.dtype:
            a = a.astype(self.dtype)
        return self.product(a, b)


def _operand(x: Any, column: int) -> Any:
    if not isinstance(x, da.Array):
        return carried(x) if on_device(x) else x
    end = () if x.ndim == 1 else (column,)
    keys = [(x.name, row, *end) for row in range(len(x.chunks[0]))]
    return reference(keys[0]) if len(keys) == 1 else references(keys)


def adjoint_product(rows: EncodedRows, y: Any, *, coded: bool) -> da.Array:
    """``A^H @ y`` for a NumPy or Dask vector ``(m,)`` or block of vectors ``(m, q)``, ``(c[, q])``.

    Parameters
    ----------
    rows
        The matrix A.
    y
        Best with the row chunks of A, as ``A @ x`` has them: then it stays where it is.
    coded
        Whether terms that are late are recovered; nothing but a cluster knows what is late.
    """
    if not isinstance(y, da.Array):
        y = _dealt(y, rows.row_chunks)
    elif y.chunks[0] != rows.row_chunks:
        y = y.rechunk({0: rows.row_chunks}, method="tasks")
    dtype = _product_dtype(rows, y)
    if rows.verify is not None:
        rows = sketched_rows(rows, dtype)
    name = f"coded-adjoint-{tokenize(rows.name, y, rows.tolerance, coded, rows.verify)}"
    places = [()] if y.ndim == 1 else [(column,) for column in range(len(y.chunks[1]))]
    tasks: dict[Any, Any] = {}
    for place in places:
        width = () if y.ndim == 1 else (y.chunks[1][place[0]],)
        added: list[Any] = []
        for index, stripe in enumerate(rows.stripes):
            multiply: Callable[[AnyArray, AnyArray], AnyArray] = _InItsDtype(
                sliced_adjoint, str(dtype)
            )
            terms = AdjointTerms(
                label=f"{name}-terms",
                code=stripe.code,
                tiles=rows.tiles(index),
                height=stripe.parity_rows,
                shape=(rows.columns, *width),
                dtype=str(dtype),
                tolerance=rows.tolerance,
                product=multiply if rows.verify is None else PiecewiseAdjoint(multiply),
                eps=rows.eps,
            )
            first = len(added)
            pieces = {b: (y.name, first + b, *place) for b in range(len(stripe.rows))}
            keys: dict[int, Any] = {b: (f"{name}-term", first + b, *place) for b in pieces}
            tasks.update(adjoint_terms(terms, pieces, keys, coded=coded))
            if rows.verify is not None:
                found = keys
                keys = {b: (f"{name}-checked", first + b, *place) for b in pieces}
                sketches = rows.sketches(index)
                tasks.update(
                    checked_terms(terms, pieces, found, keys, sketches, rows.verify, coded=coded)
                )
            added += keys.values()
        tasks.update(sum_tasks((name, 0, *place), added, name, conjugate=dtype.kind == "c"))
    graph = layered(name, tasks, [rows, y])
    chunks = ((rows.columns,),) if y.ndim == 1 else ((rows.columns,), y.chunks[1])
    return rows.array(graph, name, chunks, dtype)


def _dealt(y: AnyArray, row_chunks: tuple[int, ...]) -> da.Array:
    """Rows of an array in memory, each sent to where they are wanted and not as part of all."""
    cuts = np.cumsum((0, *row_chunks))
    pieces = [y[start:stop] for start, stop in itertools.pairwise(cuts)]
    return da.concatenate([as_dask(piece) for piece in pieces])


def verified_rows(rows: EncodedRows, verify: Verify | None) -> EncodedRows:
    """The same rows with or without their lengths, which comparing results takes.

    Raises
    ------
    ParameterError
        If there is too little parity to detect, or to locate, as many as asked for.
    UnsupportedOperationError
        If the tiles live on a device.
    """
    if verify is None:
        return replace(rows, verify=None, sketched="")
    check_comparable(rows.meta, verify)
    asked = Verification.asked(verify, rows.columns, rows.eps or 0.0)
    for stripe in rows.stripes:
        if not protects(stripe.code, range(stripe.code.n_shares), asked.wrong):
            raise ParameterError(
                f"verify={verify!r} takes {asked.wrong + 1} surplus results, more than there are "
                f"of {stripe.code!r}; encode with parity={asked.wrong + 1} or more"
            )
    if rows.verify is None:
        lengths: dict[Any, Any] = {}
        for index in range(len(rows.stripes)):
            lengths |= row_length_tasks(rows.tiles(index), rows.lengths(index))
        rows = replace(rows, graph=layered(f"{rows.name}-lengths", lengths, [rows]))
    return replace(rows, verify=asked)


def sketched_rows(rows: EncodedRows, dtype: np.dtype[Any]) -> EncodedRows:
    """The same verified rows, with sketches by which products of this dtype are checked.

    A sketch is an output of a verified product: if a tile is wrong, the others say so.
    """
    kind = dtype.kind if dtype.kind in "iu" else "f"
    if kind != "f" and rows.dtype.kind in "iu":
        # In one dtype with the rows: NumPy would make floats of int64 and uint64.
        kind = "u" if rows.dtype == np.uint64 else "i"
    if rows.sketched == kind:
        return rows
    rows = replace(rows, sketched=kind)
    products = product(rows, sketch_columns(rows.columns, kind))
    tasks: dict[Any, Any] = {}
    first = 0
    for index in range(len(rows.stripes)):
        sides = zip(rows.sketches(index), rows.lengths(index), rows.tiles(index), strict=False)
        for key, lengths, tile in sides:
            tasks[key] = sketch_task(key, (products.name, first, 0), lengths, tile)
            first += 1
    graph = layered(rows.sketches_name, tasks, [products, rows])
    return replace(rows, graph=graph)


def decoded(rows: EncodedRows) -> da.Array:
    """The matrix itself, from whatever shares there are, ``(m, c)``."""
    name = f"decoded-{tokenize(rows.name)}"
    tasks: dict[Any, Any] = {}
    first = 0
    for index, stripe in enumerate(rows.stripes):
        tasks.update(
            decoded_rows(
                f"{name}-{index}",
                stripe.code,
                rows.tiles(index),
                [(name, first + row, 0) for row in range(len(stripe.rows))],
                shapes=tuple((height, rows.columns) for height in stripe.rows),
                dtype=str(rows.dtype),
                tolerance=rows.tolerance,
            )
        )
        first += len(stripe.rows)
    graph = layered(name, tasks, [rows])
    return rows.array(graph, name, (rows.row_chunks, (rows.columns,)), rows.dtype)
