"""Encoding a matrix once, for many products."""

import math
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.utils import parse_bytes

from dask_coded.array._accuracy import Accuracy
from dask_coded.array._chunks import as_dask, chunk_library, has_codable_dtype
from dask_coded.array._client import current_client, refuse_expressions, worker_count
from dask_coded.array._encoded import EncodedArray
from dask_coded.array._plan import (
    check_tolerance,
    default_tolerance,
    group_sizes,
    linear_code,
    shortened,
)
from dask_coded.array._products import sketched_rows
from dask_coded.array._stripes import EncodedRows, Stripe
from dask_coded.codes import AbstractLinearCode
from dask_coded.errors import BlockShapeError, ParameterError, UnsupportedDtypeError
from dask_coded.graph import Verification, Verify, encoded_rows, layered

__all__ = ["encode"]

_USUAL_BLOCKS = 8


def encode(
    a: Any,
    *,
    parity: int | None = None,
    code: AbstractLinearCode | None = None,
    adjoint: bool = False,
    tolerance: float | None = None,
    verify: Verify | None = None,
) -> EncodedArray:
    """Encode a matrix whose products are wanted many times.

    Parameters
    ----------
    a : array_like (n, d)
        The matrix; rows are dealt evenly to as many blocks as the code has
        (columns, see `adjoint`).
    parity
        Shares of each stripe that may be lost; 2 if not given (1 for integers), and as many as
        `verify` takes.
    code
        A systematic code of one operand, instead of `parity`. The default has one share for each
        worker of the current client.
    adjoint
        Products with the transpose, ``A.T @ y`` or ``A.H @ y``, matter as much as ``A @ x``: cut
        the matrix along its longer side, which is best for both. They are there in any case, from
        the same shares. With `verify` the rows are cut, whichever side is longer.
    tolerance
        Of products, as in :func:`dask_coded.coded_matmul`. Shares have the precision of the matrix:
        products of float32 with float64 are float64, but where they are decoded not more accurate
        than float32, and a tolerance below its eps waits for the shares that are rows.
    verify
        Compare results in every product ``A @ x``, as in :func:`dask_coded.coded_matmul`, and check
        every term of ``A.H @ y``; :meth:`EncodedArray.verified` does the same later, and says how.

    Returns
    -------
    EncodedArray
        Lazy; call ``persist()`` to encode on the cluster.

    Raises
    ------
    BlockShapeError
        If `a` is no matrix, is empty, or has unknown chunk sizes.
    ParameterError
        If `code` and `parity` are both given, or do not fit the cluster.
    UnsupportedDtypeError
        If the dtype has no arithmetic in which to encode.

    Notes
    -----
    Integers stay exact, in products with integers as NumPy's wrap. Parity of less than 64 bits is
    held wider than the matrix, and serves products with floats too. That of int64 and uint64 is a
    sum modulo 2**64: products with floats are refused, for which ``encode(a.astype(float))`` or a
    code of copies such as :class:`~dask_coded.codes.Replication` is right.

    Examples
    --------
    >>> import numpy as np
    >>> A = encode(np.arange(12.0).reshape(6, 2), parity=1)
    >>> (A @ np.array([1.0, 1.0])).compute(scheduler="sync")
    array([ 1.,  5.,  9., 13., 17., 21.])
    """
    refuse_expressions()
    a = as_dask(a)
    _check(a, code, parity)
    check_tolerance(tolerance)
    if parity is None:
        parity = 2 if a.dtype.kind in "fc" else 1
        if verify is not None:
            parity = max(parity, Verification.asked(verify, inner=1).wrong + parity)
    workers = worker_count(current_client())
    tolerance = default_tolerance(a.dtype) if tolerance is None else float(tolerance)
    # Results are compared in products with the matrix whose rows are encoded.
    if adjoint and verify is None and a.shape[1] > a.shape[0]:
        rows = _encoded(a.conj().T, code, parity, workers, tolerance)
        return EncodedArray(rows, flipped=True).verified(verify)
    plain = EncodedArray(_encoded(a, code, parity, workers, tolerance)).verified(verify)
    if not adjoint or verify is None:
        return plain
    return EncodedArray(sketched_rows(plain.rows, a.dtype))


def _check(a: da.Array, code: AbstractLinearCode | None, parity: int | None) -> None:
    if a.ndim != 2:
        raise BlockShapeError(
            f"encode takes a matrix (n, d), got shape {a.shape}; reshape it, or use coded_matmul"
        )
    if any(math.isnan(size) for size in a.shape):
        raise BlockShapeError("encode needs known chunk sizes; call a.compute_chunk_sizes() first")
    if 0 in a.shape:
        raise BlockShapeError(
            f"encode got an empty matrix of shape {a.shape}, of which there is nothing to share; "
            "multiply it as it is"
        )
    if not has_codable_dtype(a.dtype) or chunk_library(a) is None:
        raise UnsupportedDtypeError(
            f"cannot encode chunks of {type(a._meta).__name__} with dtype {a.dtype}; convert to "
            "NumPy or CuPy chunks of a float, complex or integer dtype"
        )
    if parity is not None and (type(parity) is not int or parity < 0):
        raise ParameterError(f"parity must be an int of at least 0, got {parity!r}")
    if code is None:
        return
    if parity is not None:
        raise ParameterError(
            f"both code={code!r} and parity={parity} were given; a code fixes its parity, give one"
        )
    if not isinstance(code, AbstractLinearCode) or None in code.direct() or code.field.exact:
        raise ParameterError(
            "encode needs a systematic floating-point code of one operand such as "
            f"MDS(10, k=8); got {code!r}"
        )
    if a.dtype.kind in "iu" and not np.array_equal(code.generator(), np.round(code.generator())):
        raise UnsupportedDtypeError(
            f"{code!r} has fractional coefficients and the matrix is {a.dtype}; use parity=1, "
            "which is exact, or convert to float64"
        )


def _encoded(
    a: da.Array,
    code: AbstractLinearCode | None,
    parity: int,
    workers: int | None,
    tolerance: float,
) -> EncodedRows:
    n_rows, columns = a.shape
    blocks, reason = 1, "asked for"
    if code is None:
        blocks = min(_USUAL_BLOCKS if workers is None else max(1, workers - parity), n_rows)
        code, reason = _default_code(blocks, parity, a.dtype, tolerance)
    tile_bytes = parse_bytes(dask.config.get("array.chunk-size"))
    most_rows = max(1, tile_bytes // (columns * a.dtype.itemsize))
    # Where stripes have fewer blocks there are more of them.
    n_stripes = math.ceil(max(n_rows / most_rows, blocks) / code.k)
    sizes = _even(n_rows, min(n_stripes * code.k, n_rows))
    # By tasks: Dask's peer-to-peer rechunk begins anew, and waits, when a worker is lost.
    a = a.rechunk({0: sizes, 1: (columns,)}, method="tasks")
    name = f"encoded-{tokenize(a.name, code, tolerance)}"
    stripes: list[Stripe] = []
    tasks: dict[Any, Any] = {}
    for first in range(0, len(sizes), code.k):
        rows = sizes[first : first + code.k]
        own = code
        if len(rows) < code.k:
            own = shortened(code, len(rows))  # type: ignore[assignment]
            if own is None:
                raise ParameterError(
                    f"{code!r} has {code.k} blocks, the last stripe only {len(rows)}; "
                    "use an MDS code, or a number of rows that it divides"
                )
        stripe = Stripe(own, tuple(rows))
        index = len(stripes)
        tasks.update(
            encoded_rows(
                own,
                [(a.name, first + row, 0) for row in range(len(rows))],
                [(name, index, share) for share in range(own.n_shares)],
                shapes=tuple((height, columns) for height in stripe.heights),
                dtypes=tuple(map(str, stripe.dtypes(a.dtype))),
                tolerance=tolerance,
            )
        )
        stripes.append(stripe)
    graph = layered(name, tasks, [a])
    return EncodedRows(name, graph, tuple(stripes), columns, a._meta, tolerance, reason=reason)


def _default_code(
    blocks: int, parity: int, dtype: Any, tolerance: float
) -> tuple[AbstractLinearCode, str]:
    """The code of as many blocks as bears its losses within the tolerance, and why.

    What costs least is known here: all workers hold a share, whatever is multiplied later.
    """
    accuracy = Accuracy(dtype, tolerance)
    for k in group_sizes(blocks, blocks):
        code, why = linear_code(k, parity, dtype, paired=True)
        if k == 1 or accuracy.admits(code, parity):
            break
    note = accuracy.note()
    reason = f"{code.k} blocks and {parity} parity; {why}"
    return code, f"{reason}; {note}" if note else reason


def _even(total: int, parts: int) -> tuple[int, ...]:
    """Sizes that differ by one at most."""
    size, longer = divmod(total, parts)
    return (size + 1,) * longer + (size,) * (parts - longer)
