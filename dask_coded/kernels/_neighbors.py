"""Verbs of nearest-neighbour search on lists of candidates: distances, their fusion, the nearest.

Candidates are a ragged list: those of query i are ``rows[starts[i]:starts[i + 1]]``. This module
checks what it is given and does the work for NumPy; CuPy arrays go to kernels of their own.
"""

import operator
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any

import numpy as np

from dask_coded.errors import BlockShapeError, ParameterError, UnsupportedDtypeError, WeightsError
from dask_coded.kernels._backends import library_of
from dask_coded.kernels._layout import NDArray
from dask_coded.kernels.gpu import _neighbors as gpu
from dask_coded.kernels.gpu._memory import device_memory
from dask_coded.typing import AnyArray

__all__ = ["candidate_distances", "candidate_products", "fuse_distances", "top_k"]

# Bytes of gathered rows at a time: they stay in a core's caches.
_GATHERED_BYTES = 1 << 20


def candidate_distances(
    points: AnyArray, queries: AnyArray, rows: AnyArray, starts: AnyArray
) -> AnyArray:
    """Squared Euclidean distance of each query to each of its candidates.

    Differences are taken first, so that no digits cancel.

    Parameters
    ----------
    points
        Matrix ``(n, d)`` of float16, float32 or float64; also bfloat16 with CuPy.
    queries
        Matrix ``(q, d)`` of the same dtype.
    rows
        Integers ``(c,)`` in ``[0, n)``: the candidates of all queries, one query after the other.
    starts
        int64 ``(q + 1,)``, ascending from 0 to c: where the candidates of each query begin.

    Returns
    -------
    array
        Distances ``(c,)``, float64 for float64 and float32 for all others.

    Raises
    ------
    BlockShapeError
        If the arrays do not fit together.
    UnsupportedDtypeError
        If they hold something else, or lie in two libraries.
    ParameterError
        If a row is none of the points.
    DeviceError, DeviceMemoryError
        If CuPy arrays lie on several devices, or the distances do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> points, queries = np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[0.0, 0.0], [3.0, 0.0]])
    >>> candidate_distances(points, queries, np.array([1, 0, 1]), np.array([0, 1, 3]))
    array([25.,  9., 16.])
    """
    return _candidates(points, queries, rows, starts, squared=True)


def candidate_products(
    points: AnyArray, queries: AnyArray, rows: AnyArray, starts: AnyArray
) -> AnyArray:
    """Inner product of each query with each of its candidates.

    Over a slice of the features this is a partial result, linear in points and in queries: what a
    MatDot index codes, and :func:`fuse_distances` turns into distances. Arguments, result and
    errors are those of :func:`candidate_distances`.

    Examples
    --------
    >>> import numpy as np
    >>> points, queries = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 1.0]])
    >>> candidate_products(points, queries, np.array([1, 0]), np.array([0, 2]))
    array([7., 3.])
    """
    return _candidates(points, queries, rows, starts, squared=False)


def fuse_distances(
    weights: Any,
    partials: Sequence[AnyArray],
    point_norms: AnyArray,
    query_norms: AnyArray,
    rows: AnyArray,
    starts: AnyArray,
) -> AnyArray:
    """Squared distances from weighted partial inner products: the decoding of a MatDot index.

    ``max(0, |point|^2 + |query|^2 - 2 sum_s weights[s] partials[s][c])``, summed in float64.

    Parameters
    ----------
    weights
        Finite numbers ``(s,)``: a row of decoding weights, or ones for plain slices.
    partials
        The s arrays ``(c,)`` of floats, of one dtype, each its own array.
    point_norms, query_norms
        Squared norms ``(n,)`` and ``(q,)``; taken as float64.
    rows, starts
        The candidates, as for :func:`candidate_distances`.

    Returns
    -------
    array
        Distances ``(c,)``, float64 for float64 partials and float32 for all others.

    Raises
    ------
    WeightsError
        If weights are not finite or no vector.
    BlockShapeError, UnsupportedDtypeError, ParameterError, DeviceError, DeviceMemoryError
        As for :func:`candidate_distances`.

    Examples
    --------
    >>> import numpy as np
    >>> halves = [np.array([2.0, 0.0]), np.array([1.0, 4.0])]
    >>> norms = np.array([5.0, 16.0]), np.array([5.0])
    >>> fuse_distances([1, 1], halves, *norms, np.array([0, 1]), np.array([0, 2]))
    array([ 4., 13.])
    """
    factors = np.asarray(weights, dtype=np.float64)
    if factors.ndim != 1 or not np.isfinite(factors).all():
        raise WeightsError(
            f"partial results are fused with a vector of finite weights; got {weights!r}"
        )
    given = list(partials)
    if len(given) != len(factors) or not given:
        raise BlockShapeError(
            f"{len(factors)} weights fuse as many partial results, at least one; got {len(given)}"
        )
    named = [(f"partial result {index}", partial) for index, partial in enumerate(given)]
    named += [("norms of points", point_norms), ("norms of queries", query_norms)]
    library, place = _place([*named, ("rows", rows), ("starts", starts)])
    with place:
        _check_list(rows, starts, len(query_norms))
    for index, partial in enumerate(given):
        if tuple(partial.shape) != tuple(rows.shape):
            raise BlockShapeError(
                f"a partial result has a number per candidate, shape {tuple(rows.shape)}; number "
                f"{index} has {tuple(partial.shape)}"
            )
    if point_norms.ndim != 1 or query_norms.ndim != 1:
        raise BlockShapeError(
            f"norms are vectors; got shapes {tuple(point_norms.shape)} of points and "
            f"{tuple(query_norms.shape)} of queries"
        )
    _check_floats(named[: len(given)])
    if library == "cupy":
        return gpu.fuse_distances(factors, given, point_norms, query_norms, rows, starts)
    _check_rows(rows, len(point_norms))
    product = np.zeros(len(rows))
    for factor, partial in zip(factors, given, strict=True):
        product += factor * partial.astype(np.float64)
    squared = point_norms[rows] + np.repeat(query_norms, np.diff(starts)) - 2 * product
    return np.maximum(squared, 0).astype(_sum_dtype(given[0].dtype))


def top_k(values: AnyArray, k: int, starts: AnyArray | None = None) -> tuple[AnyArray, AnyArray]:
    """The k smallest values of each row with their positions, equal ones by position.

    Parameters
    ----------
    values
        Matrix ``(q, m)`` of float16, float32 or float64, or with `starts` the vector ``(c,)`` of
        rows one after the other. NaN counts as larger than infinity.
    k
        How many, at least one.
    starts
        int64 ``(q + 1,)``, ascending from 0 to c: where each row begins.

    Returns
    -------
    values, positions
        ``(q, k)`` each, ascending; positions are int64 and count from the start of the row. Where
        a row has fewer than k values, infinity at position -1 follows.

    Raises
    ------
    ParameterError
        If k is no positive integer.
    BlockShapeError, UnsupportedDtypeError, DeviceError, DeviceMemoryError
        As for :func:`candidate_distances`.

    Examples
    --------
    >>> import numpy as np
    >>> distances, positions = top_k(np.array([[3.0, 1.0, 2.0, 1.0]]), 3)
    >>> distances, positions
    (array([[1., 1., 2.]]), array([[1, 3, 2]]))
    """
    try:
        count = operator.index(k)
    except TypeError:
        count = 0
    if isinstance(k, bool) or count < 1:
        raise ParameterError(f"a positive number of nearest values is selected; got k={k!r}")
    named = [("values", values)]
    library, place = _place(named if starts is None else [*named, ("starts", starts)])
    if values.ndim != (2 if starts is None else 1):
        raise BlockShapeError(
            "values are a matrix with a row per query, or with starts a vector; got shape "
            f"{tuple(values.shape)}"
        )
    _check_floats(named)
    if starts is not None:
        with place:
            _check_list(values, starts, None)
    if library == "cupy":
        return gpu.top_k(values, count, starts)
    if starts is None:
        return _top_k(values, count)
    rows = [_top_k(values[a:b][None], count) for a, b in pairwise(starts)]
    found = [np.concatenate(part) for part in zip(*rows, strict=True)]
    if not found:
        return np.empty((0, count), values.dtype), np.empty((0, count), np.int64)
    return found[0], found[1]


def _top_k(values: NDArray, k: int) -> tuple[NDArray, NDArray]:
    n_rows, length = values.shape
    kept = min(k, length)
    best = np.full((n_rows, k), np.inf, values.dtype)
    positions = np.full((n_rows, k), -1, np.int64)
    if not kept or not n_rows:
        return best, positions
    missing = np.isnan(values)
    last = np.partition(values, kept - 1, axis=1)[:, kept - 1 : kept]
    # Partitioning leaves NaN to the end, so a NaN here means that every number is taken.
    below = np.where(np.isnan(last), ~missing, values < last)
    equal = np.where(np.isnan(last), missing, values == last)
    rank = np.cumsum(equal, axis=1)
    chosen = below | (equal & (rank <= kept - below.sum(axis=1, keepdims=True)))
    where = np.nonzero(chosen)[1].reshape(n_rows, kept)
    found = np.take_along_axis(values, where, axis=1)
    order = np.argsort(found, axis=1, kind="stable")
    best[:, :kept] = np.take_along_axis(found, order, axis=1)
    positions[:, :kept] = np.take_along_axis(where, order, axis=1)
    return best, positions


def _candidates(
    points: AnyArray, queries: AnyArray, rows: AnyArray, starts: AnyArray, *, squared: bool
) -> AnyArray:
    named = [("points", points), ("queries", queries)]
    library, place = _place([*named, ("rows", rows), ("starts", starts)])
    if points.ndim != 2 or queries.ndim != 2 or points.shape[1] != queries.shape[1]:
        raise BlockShapeError(
            "points and queries are matrices with as many features; got shapes "
            f"{tuple(points.shape)} and {tuple(queries.shape)}"
        )
    _check_floats(named)
    with place:
        _check_list(rows, starts, len(queries))
    if library == "cupy":
        return gpu.candidates(points, queries, rows, starts, squared=squared)
    _check_rows(rows, len(points))
    dtype = _sum_dtype(points.dtype)
    found = np.empty(len(rows), dtype)
    step = max(_GATHERED_BYTES // max(points.shape[1] * dtype.itemsize, 1), 1)
    for query, start, end in zip(queries, starts, starts[1:], strict=False):
        wide = query.astype(dtype)
        for first in range(int(start), int(end), step):
            piece = slice(first, min(first + step, int(end)))
            gathered = points[rows[piece]].astype(dtype)
            if squared:
                gathered -= wide
                found[piece] = np.einsum("ij,ij->i", gathered, gathered)
            else:
                found[piece] = gathered @ wide
    return found


def _place(named: Sequence[tuple[str, AnyArray]]) -> tuple[str, AbstractContextManager[Any]]:
    """The library of all arrays, and the device that all lie on as a context to look at them in."""
    library = library_of([array for _, array in named])
    return library, gpu.shared_device(named) if library == "cupy" else nullcontext()


def _sum_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float64 if dtype.char == "d" else np.float32)


def _check_floats(named: Sequence[tuple[str, AnyArray]]) -> None:
    first = named[0][1].dtype
    for name, array in named:
        if array.dtype.char not in "efd" and array.dtype.name != "bfloat16":
            raise UnsupportedDtypeError(
                f"{name} must be float16, float32 or float64; got {array.dtype}. Convert with "
                "astype(float32)"
            )
        if array.dtype != first:
            raise UnsupportedDtypeError(
                f"{named[0][0]} and {name} must have one dtype; got {first} and {array.dtype}"
            )


def _check_list(rows: AnyArray, starts: AnyArray, n_queries: int | None) -> None:
    """See that `starts` cuts `rows`; its first and last value are looked at, and on any device."""
    if rows.ndim != 1 or starts.ndim != 1 or not len(starts):
        raise BlockShapeError(
            f"candidates are a vector, cut by a vector of starts; got shapes {tuple(rows.shape)} "
            f"and {tuple(starts.shape)}"
        )
    if starts.dtype.kind not in "iu" or (n_queries is not None and rows.dtype.kind not in "iu"):
        raise UnsupportedDtypeError(
            f"rows and starts are integers; got {rows.dtype} and {starts.dtype}"
        )
    if n_queries is not None and len(starts) != n_queries + 1:
        raise BlockShapeError(
            f"{n_queries} queries need {n_queries + 1} starts, the last of them the number of "
            f"candidates; got {len(starts)}"
        )
    with device_memory("the check of starts", len(starts)):
        ascending = not bool((starts[1:] < starts[:-1]).any())
    if not ascending or int(starts[0]) or int(starts[-1]) != len(rows):
        raise BlockShapeError(
            f"starts must ascend from 0 to the number of candidates, {len(rows)}; they go from "
            f"{int(starts[0])} to {int(starts[-1])}"
        )


def _check_rows(rows: NDArray, n_points: int) -> None:
    if rows.size and (rows.min() < 0 or rows.max() >= n_points):
        raise ParameterError(
            f"rows are those of {n_points} points, 0 to {n_points - 1}; got values from "
            f"{rows.min()} to {rows.max()}"
        )
