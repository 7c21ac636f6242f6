"""One coded product: ``coded_matmul(a, b)``."""

import itertools
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask.array.routines import matmul as dask_matmul
from dask.array.utils import meta_from_array
from dask.base import tokenize

from dask_coded.array._accuracy import Accuracy
from dask_coded.array._chunks import as_dask, check_comparable, chunk_library, has_codable_dtype
from dask_coded.array._client import (
    current_client,
    prepare,
    refuse_expressions,
    worker_count,
)
from dask_coded.array._cost import cheapest
from dask_coded.array._encoded import EncodedArray
from dask_coded.array._plan import (
    Choice,
    check_request,
    check_verifiable,
    choose_code,
    default_tolerance,
    fitted,
    given_code,
    positions_per_task,
)
from dask_coded.cluster import sliced_matmul
from dask_coded.codes import AbstractCode
from dask_coded.errors import BlockShapeError, UnsupportedOperationError
from dask_coded.graph import (
    MatmulGroups,
    PlainArithmetic,
    Verification,
    Verify,
    encode_tiles,
    generators_of,
    layered,
    mixed,
    product_tasks,
    splits_of,
)

__all__ = ["MatmulPlan", "coded_matmul", "plan_matmul"]


@dataclass(frozen=True, eq=False)
class MatmulPlan:
    """How a product will be computed; its ``repr`` says which code and why."""

    a: da.Array
    b: da.Array
    """Operands with matching inner chunks, of two dimensions or more (b may be a vector)."""
    choice: Choice
    tolerance: float
    verify: Verification | None = None

    @property
    def code(self) -> AbstractCode | None:
        """The code, or None for a plain product."""
        return self.choice.code

    def __repr__(self) -> str:
        shape = f"{self.a.shape} @ {self.b.shape}"
        if self.code is None:
            return f"plain product {shape}: {self.choice.reason}"
        return (
            f"coded product {shape} by {self.code!r} on the {self.choice.side}: "
            f"{self.choice.reason}; any {self.code.recovery_threshold} of {self.code.n_shares} "
            f"shares decode; amplification times eps up to {self.tolerance:.1e}"
            f"{'' if self.verify is None else f'; {self.verify}'}"
        )

    def build(self) -> da.Array:
        """The product as a lazy array."""
        if self.code is None:
            return dask_matmul(self.a, self.b)
        return _build(self)


def plan_matmul(
    a: Any,
    b: Any,
    *,
    code: AbstractCode | None = None,
    parity: int | None = None,
    shares_per_worker: int | None = None,
    tolerance: float | None = None,
    verify: Verify | None = None,
) -> MatmulPlan:
    """Decide how ``a @ b`` would be coded; parameters as :func:`coded_matmul`.

    Examples
    --------
    >>> import dask.array as da
    >>> a = da.ones((6, 4), chunks=(2, 4))
    >>> plan_matmul(a, a.T, parity=1).code
    MDS(n_shares=4, k=3, parity='auto', seed=0, field=REAL)
    """
    refuse_expressions()
    if isinstance(a, EncodedArray) or isinstance(b, EncodedArray):
        raise UnsupportedOperationError(
            "an operand is encoded already: A @ x is its coded product, with the code it has; "
            "A.decode() can be coded anew"
        )
    a, b = as_dask(a), as_dask(b)
    check_request(code, parity, tolerance, shares_per_worker=shares_per_worker)
    asked = None if verify is None else Verification.asked(verify, inner=1)
    check_comparable(a._meta, verify)
    _check(a, b)
    if a.ndim == 1:
        a = a[None, :]
    if b.ndim > 1 or a.ndim > 2:
        if b.ndim == 1:
            b = b[:, None]
        lead = max(a.ndim, b.ndim)
        a = a[(lead - a.ndim) * (None,)]
        b = b[(lead - b.ndim) * (None,)]
    dtype = np.result_type(a.dtype, b.dtype)
    tolerance = default_tolerance(dtype) if tolerance is None else float(tolerance)
    if any(np.isnan(size) for array in (a, b) for axis in array.chunks for size in axis):
        plain = _plain(code, verify, "chunk sizes are unknown", "compute_chunk_sizes()")
        return MatmulPlan(a, b, plain, 0)
    if 0 in (*a.shape, *b.shape):
        return MatmulPlan(a, b, Choice(None, "rows", "an operand is empty"), 0)
    if not has_codable_dtype(dtype) or chunk_library(a, b) is None:
        what = f"chunks of {type(a._meta).__name__} and {type(b._meta).__name__}, dtype {dtype}"
        return MatmulPlan(a, b, _plain(code, verify, f"cannot encode {what}", "plain a @ b"), 0)
    a, b = _unified(a, b)
    columns = 1 if b.ndim == 1 else b.numblocks[-1]
    if code is not None:
        choice = given_code(code, a.numblocks[-2], columns, dtype, pairable=a.ndim == 2)
    else:
        workers = worker_count(current_client())
        if asked is not None and parity is None:
            # One that may be late, where there are enough workers for that, and what is compared.
            parity = asked.wrong + (1 if workers is None or workers < 6 else 2)
        accuracy = Accuracy(dtype, tolerance)
        choice = choose_code(
            a.numblocks[-2],
            columns,
            dtype,
            parity=parity,
            n_workers=workers,
            pairable=a.ndim == 2,
            shares_per_worker=shares_per_worker or 1,
            accuracy=accuracy,
        )
        # A vector has no columns to cut, and the cost of several shares each is not estimated.
        if asked is None and shares_per_worker is None and b.ndim > 1:
            choice = cheapest(choice, a, b, workers, accuracy)
        choice = choice.explained(accuracy.note())
    if asked is not None:
        check_verifiable(choice, a.numblocks[-2], columns, asked.wrong)
    return MatmulPlan(a, b, choice, tolerance, asked)


def coded_matmul(
    a: Any,
    b: Any,
    *,
    code: AbstractCode | None = None,
    parity: int | None = None,
    shares_per_worker: int | None = None,
    tolerance: float | None = None,
    verify: Verify | None = None,
) -> da.Array:
    """``a @ b`` that finishes when enough of the cluster has answered.

    Chunk rows of `a` (or chunk columns of `b`) are the blocks of a code. Each share is a product
    that one worker computes; when enough shares have arrived, the outputs that are missing are
    decoded from them and the late shares are cancelled.

    Parameters
    ----------
    a : array_like (..., m, k) or (k,)
        Left operand.
    b : array_like (..., k, n) or (k,)
        Right operand. Shapes combine as in :func:`numpy.matmul`.
    code
        A code of one operand, applied to the side with more chunks, or of two. None takes one
        that bears its losses within `tolerance`: the cheapest for these shapes, chunks and
        workers, where one of two operands has to save a tenth; or with `verify` or
        `shares_per_worker` one of the side with more chunks.
        ``repr(plan_matmul(a, b))`` says which, what others would cost, and which were left out.
    parity
        Shares of each group that may be lost, where `code` is None.
    shares_per_worker
        Give each worker up to so many smaller shares of every group in place of one, as far as
        there are chunks; `parity` then counts workers. What a slow worker has finished counts,
        and a worker in good health does what it can; in return more results are moved to be
        decoded. A `code` with more shares than there are workers does the same.
    tolerance
        Largest acceptable product of amplification and eps; survivors that would exceed it wait
        for one more share. None: the square root of eps.
    verify
        Compare results before any is used. ``"detect"``: wrong ones raise
        :class:`WrongResultError`. ``"correct"``: outputs are decoded from the others, a warning
        says so, and ``dask_coded.report(client)`` names the worker. A number t prepares for that
        many wrong results per group: t + 1 surplus results are waited for. What counts as wrong
        follows from rounding (:func:`dask_coded.graph.unit_rounding`); integers are exact.
        All results of a group go to one worker.

    Returns
    -------
    dask.array.Array
        Lazy, with the shape, dtype, chunks and meta of ``a @ b``. CuPy chunks stay on their device;
        where only some workers have one, work under ``dask.annotate(resources={"GPU": 1})``.

    Raises
    ------
    BlockShapeError
        If the operands do not fit.
    ParameterError
        If both `code` and `parity` are given, or either is impossible.
    UnsupportedDtypeError, UnsupportedOperationError
        If `code` cannot serve this product. When it is computed: if there is NaN or infinity in it,
        and several outputs are decoded in any case, which would spread it over all of them.

    Examples
    --------
    >>> import dask.array as da
    >>> a = da.ones((6, 4), chunks=(2, 4))
    >>> coded_matmul(a, a.T, parity=1).sum().compute(scheduler="sync")
    np.float64(144.0)
    """
    plan = plan_matmul(
        a,
        b,
        code=code,
        parity=parity,
        shares_per_worker=shares_per_worker,
        tolerance=tolerance,
        verify=verify,
    )
    vector = np.ndim(a) == 1, np.ndim(b) == 1
    if plan.code is not None:
        prepare(current_client())
    product = plan.build()
    if vector[1] and plan.b.ndim > 1:
        product = product.squeeze(-1)
        return product.squeeze(-1) if vector[0] else product
    if vector[0]:
        return product.squeeze(0) if vector[1] else product.squeeze(-2)
    return product


def _check(a: da.Array, b: da.Array) -> None:
    if a.ndim == 0 or b.ndim == 0:
        if "O" in (a.dtype.kind, b.dtype.kind):
            raise BlockShapeError(
                "a product takes arrays, and one operand is some other object; of a future or a "
                "delayed value da.from_delayed(value, shape, dtype) makes an array"
            )
        raise BlockShapeError("a product takes no scalars; use a * b")
    left, right = a.shape[-1], b.shape[max(b.ndim - 2, 0)]
    if left != right and not (np.isnan(left) or np.isnan(right)):
        raise BlockShapeError(
            f"inner dimensions differ: {a.shape} @ {b.shape} has {left} against {right}; "
            "transpose or reshape one operand"
        )
    try:
        np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise BlockShapeError(
            f"stacking dimensions do not broadcast: {a.shape[:-2]} and {b.shape[:-2]}"
        ) from None


def _plain(code: AbstractCode | None, verify: Verify | None, reason: str, remedy: str) -> Choice:
    if code is not None or verify is not None:
        what = repr(code) if code is not None else f"verify={verify!r}"
        raise UnsupportedOperationError(f"{what} was asked for, but {reason}; use {remedy}")
    return Choice(None, "rows", reason)


def _unified(a: da.Array, b: da.Array) -> tuple[da.Array, da.Array]:
    """The operands with equal chunks along the inner axis and all stacking axes."""
    batch = range(a.ndim - 2)
    left = (*batch, "i", "k")
    right = ("k",) if b.ndim == 1 else (*batch, "k", "j")
    _, (a, b) = da.core.unify_chunks(a, left, b, right)
    return a, b


def _build(plan: MatmulPlan) -> da.Array:
    a, b, code = plan.a, plan.b, plan.code
    assert code is not None
    dtype = np.result_type(a.dtype, b.dtype)
    if dtype.kind in "iu" and a.numblocks[-1] > 1:
        # Dask's product sums over inner chunks, and a sum of small integers is a wide one.
        dtype = np.zeros(1, dtype=dtype).sum().dtype
        a, b = a.astype(dtype), b.astype(dtype)
    token = tokenize(a.name, b.name, code, plan.choice.side, plan.tolerance, str(dtype))
    verify = plan.verify
    if verify is not None:
        token = tokenize(token, verify)
    vector = b.ndim == 1
    b_blocks = (b.numblocks[0], 1) if vector else b.numblocks[-2:]
    code = fitted(plan.choice, a.numblocks[-2], b_blocks[1])
    m, p, n = splits_of(code, plan.choice.side)
    generators = generators_of(code, plan.choice.side)
    mix = partial(mixed, field=code.field, dtype=str(dtype))
    positions = -(-a.numblocks[-1] // p)
    batch = _batch_chunks(a, b)
    per_position = max(a.chunks[-1]) * (max(a.chunks[-2]) + (1 if vector else max(b.chunks[-1])))
    chunks = (*batch, a.chunks[-2]) if vector else (*batch, a.chunks[-2], b.chunks[-1])
    if verify is not None:
        inner = min(a.shape[-1], positions * max(a.chunks[-1]))
        verify = replace(verify, inner=inner, side=plan.choice.side)
    groups = MatmulGroups(
        name=f"coded-matmul-{token}",
        code=code,
        splits=(m, p, n),
        batch=tuple(map(len, batch)),
        rows=a.numblocks[-2],
        columns=None if vector else b.numblocks[-1],
        positions=positions,
        per_task=positions_per_task(per_position, dtype),
        tolerance=plan.tolerance,
        dtype=str(dtype),
        chunks=chunks,
        verify=verify,
    )
    tasks: dict[Any, Any] = {}

    def tiles(which: int, array: da.Array, blocks: tuple[int, int], counts: tuple[int, int]) -> Any:
        found: dict[tuple[int, ...], Any] = {}

        def at(place: tuple[int, ...]) -> Any:
            # A stacking axis of length one serves every index along it.
            own = tuple(
                0 if length == 1 else index
                for index, length in zip(place, array.shape[:-2], strict=True)
            )
            if own not in found:
                encoded = encode_tiles(
                    f"encode-{'ab'[which]}-{token}",
                    generators[which],
                    blocks,
                    counts,
                    lambda row, column: (
                        (array.name, row) if array.ndim == 1 else (array.name, *own, row, column)
                    ),
                    mix,
                    rows_first=which == 0,
                    batch=own,
                    together=code.workers,
                )
                tasks.update(encoded.tasks)
                strip = len(own)
                found[own] = {key[strip:]: ref for key, ref in encoded.refs.items()}
            return found[own]

        return at

    tasks.update(
        product_tasks(
            groups,
            tiles(0, a, (m, p), a.numblocks[-2:]),
            tiles(1, b, (p, n), b_blocks),
            PlainArithmetic(sliced_matmul, str(dtype), whole=p == 1),
        )
    )
    meta = meta_from_array(a._meta, len(chunks), dtype)
    return da.Array(layered(groups.name, tasks, [a, b]), groups.name, chunks, meta=meta)


def _batch_chunks(a: da.Array, b: da.Array) -> tuple[tuple[int, ...], ...]:
    if a.ndim == 2:
        return ()
    return tuple(
        left if sum(left) >= sum(right) else right
        for left, right in itertools.islice(zip(a.chunks, b.chunks, strict=True), a.ndim - 2)
    )
