"""The verbs of nearest-neighbour search for CuPy arrays; shapes and dtypes are checked already."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from dask_coded.errors import ParameterError
from dask_coded.kernels.gpu._arithmetic import element_type
from dask_coded.kernels.gpu._device import (
    THREADS,
    cupy,
    launch,
    multiprocessors,
    shared_device,
)
from dask_coded.kernels.gpu._memory import device_memory
from dask_coded.kernels.gpu._source import Specialization
from dask_coded.typing import AnyArray, Array

__all__ = [
    "candidates",
    "candidates_kernel",
    "fuse_distances",
    "fuse_kernel",
    "shared_device",
    "top_k",
    "top_k_kernel",
]

_WARP = 32
_ACCESS = 16
# Partial results whose pointers go by value; more come from a table in device memory.
_MOST_BY_VALUE = 64
# Values that one block selects from at least, and at most: it counts them in 31 bits.
_TILE, _LARGEST_TILE = 8192, 1 << 30
# How many blocks a multiprocessor should have of them.
_BLOCKS_EACH = 2
# Selected values that a block sorts in shared memory; beyond, whole rows are sorted.
_MOST_SELECTED = 2048
_SMALLEST_CAPACITY = 32


def candidates_kernel(
    dtype: np.dtype[Any], row_dtype: np.dtype[Any], width: int, squared: bool
) -> Specialization:
    """Distances or products of candidates; `width` features in one access."""
    name = element_type(dtype)
    defines = (
        ("POINT_T", name),
        ("QUERY_T", name),
        ("SUM_T", element_type(sum_dtype(dtype))),
        ("ROW_T", _signed(row_dtype)),
        ("WIDTH", width),
        ("SQUARED", int(squared)),
    )
    addresses = ["points", "queries", "rows", "starts", "out", "outside"]
    counts = ["n_points", "n_queries", "n_pairs", "n_features", "point_step", "query_step"]
    fields = [(name, "u8") for name in addresses] + [(name, "i8") for name in counts]
    return Specialization("candidates", defines, np.dtype(fields, align=True))


def fuse_kernel(n_partials: int, dtype: np.dtype[Any], row_dtype: np.dtype[Any]) -> Specialization:
    """Fusion of partial results; 0 of them for a table."""
    defines = (
        ("INPUTS", n_partials),
        ("IN_T", element_type(dtype)),
        ("OUT_T", element_type(sum_dtype(dtype))),
        ("ROW_T", _signed(row_dtype)),
    )
    shape = (n_partials,) if n_partials else ()
    fields: list[tuple[Any, ...]] = [
        ("in", "u8", shape),
        ("weights", "f8" if n_partials else "u8", shape),
        ("inputs", "i8"),
    ]
    fields += [
        (name, "u8") for name in ("rows", "starts", "point_norms", "query_norms", "out", "outside")
    ]
    fields += [(name, "i8") for name in ("n_points", "n_queries", "n_pairs")]
    return Specialization("fuse_distances", defines, np.dtype(fields, align=True))


def top_k_kernel(dtype: np.dtype[Any], k: int) -> Specialization:
    """Selection of up to `k` values, with room for the next power of two."""
    capacity = max(1 << (k - 1).bit_length(), _SMALLEST_CAPACITY)
    defines = (
        ("VALUE_T", element_type(dtype)),
        ("KEY_T", "u64" if dtype.itemsize == 8 else "u32"),
        ("CAPACITY", capacity),
    )
    addresses = ["values", "ids", "starts", "out_values", "out_ids"]
    counts = ["n_rows", "n_columns", "step", "tile", "n_tiles", "k"]
    fields = [(name, "u8") for name in addresses] + [(name, "i8") for name in counts]
    return Specialization("top_k", defines, np.dtype(fields, align=True))


def candidates(
    points: AnyArray, queries: AnyArray, rows: AnyArray, starts: AnyArray, *, squared: bool
) -> AnyArray:
    """Distances or products ``(c,)`` of candidates."""
    module = cupy()
    named = [("points", points), ("queries", queries), ("rows", rows), ("starts", starts)]
    n_pairs, made = len(rows), sum_dtype(points.dtype)
    with shared_device(named), device_memory("candidates", n_pairs * made.itemsize) as demand:
        return _candidates(module, points, queries, rows, starts, squared, demand)


def _candidates(
    module: Any,
    points: AnyArray,
    queries: AnyArray,
    rows: AnyArray,
    starts: AnyArray,
    squared: bool,
    demand: device_memory,
) -> AnyArray:
    n_pairs = len(rows)
    points, queries = (_with_dense_rows(module, array, demand) for array in (points, queries))
    rows, starts = _indices(module, rows, demand), _starts(module, starts, demand)
    out = module.empty((n_pairs,), sum_dtype(points.dtype))
    if not n_pairs:
        return out
    flag = module.zeros(1, np.uint32)
    kernel = candidates_kernel(points.dtype, rows.dtype, _width(points, queries), squared)
    arguments = _filled(
        kernel,
        points=points.data.ptr,
        queries=queries.data.ptr,
        rows=rows.data.ptr,
        starts=starts.data.ptr,
        out=out.data.ptr,
        outside=flag.data.ptr,
        n_points=len(points),
        n_queries=len(queries),
        n_pairs=n_pairs,
        n_features=points.shape[1],
        point_step=points.strides[0],
        query_step=queries.strides[0],
    )
    launch(module, kernel, arguments, n_pairs * _WARP)
    _check(flag, rows, len(points))
    return out


def fuse_distances(
    weights: Array,
    partials: Sequence[AnyArray],
    point_norms: AnyArray,
    query_norms: AnyArray,
    rows: AnyArray,
    starts: AnyArray,
) -> AnyArray:
    """Squared distances ``(c,)`` from partial inner products."""
    module = cupy()
    named = [(f"partial result {index}", partial) for index, partial in enumerate(partials)]
    named += [("rows", rows), ("starts", starts), ("norms", point_norms), ("norms", query_norms)]
    n_pairs, made = len(rows), sum_dtype(partials[0].dtype)
    with shared_device(named), device_memory("fuse_distances", n_pairs * made.itemsize) as demand:
        return _fuse(module, weights, partials, (point_norms, query_norms), rows, starts, demand)


def _fuse(
    module: Any,
    weights: Array,
    partials: Sequence[AnyArray],
    norms: tuple[AnyArray, AnyArray],
    rows: AnyArray,
    starts: AnyArray,
    demand: device_memory,
) -> AnyArray:
    dtype, n_pairs = partials[0].dtype, len(rows)
    partials = [_contiguous(module, partial, dtype, demand) for partial in partials]
    rows, starts = _indices(module, rows, demand), _starts(module, starts, demand)
    point_norms, query_norms = (
        _contiguous(module, array, np.dtype(np.float64), demand) for array in norms
    )
    out = module.empty((n_pairs,), sum_dtype(dtype))
    if not n_pairs:
        return out
    flag = module.zeros(1, np.uint32)
    by_value = len(partials) <= _MOST_BY_VALUE
    kernel = fuse_kernel(len(partials) if by_value else 0, dtype, rows.dtype)
    pointers = np.array([partial.data.ptr for partial in partials], np.uint64)
    table = None if by_value else module.asarray(pointers)
    factors = None if by_value else module.asarray(np.asarray(weights, np.float64))
    arguments = _filled(
        kernel,
        inputs=len(partials),
        rows=rows.data.ptr,
        starts=starts.data.ptr,
        point_norms=point_norms.data.ptr,
        query_norms=query_norms.data.ptr,
        out=out.data.ptr,
        outside=flag.data.ptr,
        n_points=len(point_norms),
        n_queries=len(query_norms),
        n_pairs=n_pairs,
    )
    arguments["in"] = pointers if table is None else table.data.ptr
    arguments["weights"] = weights if factors is None else factors.data.ptr
    launch(module, kernel, arguments, n_pairs)
    _check(flag, rows, len(point_norms))
    return out


def top_k(values: AnyArray, k: int, starts: AnyArray | None) -> tuple[AnyArray, AnyArray]:
    """The k smallest of each row and their positions."""
    module = cupy()
    named = [("values", values)] + ([] if starts is None else [("starts", starts)])
    n_rows = len(values) if starts is None else len(starts) - 1
    n_bytes = n_rows * k * (values.dtype.itemsize + 8)
    with shared_device(named), device_memory("top_k", n_bytes) as demand:
        return _top_k(module, values, k, starts, n_rows, demand)


def _top_k(
    module: Any,
    values: AnyArray,
    k: int,
    starts: AnyArray | None,
    n_rows: int,
    demand: device_memory,
) -> tuple[AnyArray, AnyArray]:
    if starts is not None:
        starts = _starts(module, starts, demand)
        values = _contiguous(module, values, values.dtype, demand)
    else:
        values = _with_dense_rows(module, values, demand)
    if not n_rows:
        return module.empty((0, k), values.dtype), module.empty((0, k), np.int64)
    if starts is not None and n_rows == 1:
        values, starts = values.reshape(1, -1), None
    if k > _MOST_SELECTED:
        demand.add(values.size * (values.dtype.itemsize + 8))
        return _sorted(module, values, k, starts)
    length = values.shape[-1]
    if starts is not None and length > _TILE:
        length = int((starts[1:] - starts[:-1]).max())
    tile = _tile(length, n_rows, k, multiprocessors(module))
    n_tiles = max(-(-length // tile), 1)
    if n_tiles > 1:
        demand.add(n_rows * n_tiles * k * (values.dtype.itemsize + 8))
    found = _select(module, values, None, starts, n_rows, k, tile, n_tiles)
    if n_tiles > 1:
        found = _select(module, *found, None, n_rows, k, n_tiles * k, 1)
    return found


def _tile(length: int, n_rows: int, k: int, n_multiprocessors: int) -> int:
    """Values for one block: few long rows are cut, so that every multiprocessor has some."""
    wanted = max(_BLOCKS_EACH * n_multiprocessors // n_rows, 1)
    return min(max(-(-length // wanted), _TILE, 4 * k), _LARGEST_TILE)


def _select(
    module: Any,
    values: AnyArray,
    ids: AnyArray | None,
    starts: AnyArray | None,
    n_rows: int,
    k: int,
    tile: int,
    n_tiles: int,
) -> tuple[AnyArray, AnyArray]:
    """The k smallest of each tile of each row, tile after tile."""
    kernel = top_k_kernel(values.dtype, k)
    best = module.empty((n_rows, n_tiles * k), values.dtype)
    positions = module.empty((n_rows, n_tiles * k), np.int64)
    arguments = _filled(
        kernel,
        values=values.data.ptr,
        ids=0 if ids is None else ids.data.ptr,
        starts=0 if starts is None else starts.data.ptr,
        out_values=best.data.ptr,
        out_ids=positions.data.ptr,
        n_rows=n_rows,
        n_columns=values.shape[-1],
        step=values.strides[0],
        tile=tile,
        n_tiles=n_tiles,
        k=k,
    )
    launch(module, kernel, arguments, n_rows * n_tiles * THREADS)
    return best, positions


def _sorted(
    module: Any, values: AnyArray, k: int, starts: AnyArray | None
) -> tuple[AnyArray, AnyArray]:
    """By sorting whole rows, for more values than a block can hold. CuPy's sort is stable."""
    if starts is not None:
        # Rows of several lengths, one after the other: their lengths come to the host.
        bounds = [int(bound) for bound in starts.get()]
        rows = [values[a:b].reshape(1, -1) for a, b in pairwise(bounds)]
    else:
        rows = [values]
    n_rows = sum(len(row) for row in rows)
    best = module.full((n_rows, k), np.inf, values.dtype)
    positions = module.full((n_rows, k), -1, np.int64)
    first = 0
    for row in rows:
        kept = min(k, row.shape[1])
        if kept:
            order = module.argsort(row, axis=1, kind="stable")[:, :kept]
            here = slice(first, first + len(row))
            best[here, :kept] = module.take_along_axis(row, order, axis=1)
            positions[here, :kept] = order
        first += len(row)
    return best, positions


def sum_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What products and distances are summed and returned in."""
    return np.dtype(np.float64 if dtype.char == "d" else np.float32)


def _signed(row_dtype: np.dtype[Any]) -> str:
    return "i64" if row_dtype.itemsize == 8 else "int"


def _filled(kernel: Specialization, **values: Any) -> Any:
    arguments = np.zeros(1, kernel.arguments)
    for name, value in values.items():
        arguments[name] = value
    return arguments


def _with_dense_rows(module: Any, matrix: AnyArray, demand: device_memory) -> AnyArray:
    """The matrix, or a copy, with the elements of each row next to each other."""
    dense = matrix.shape[1] <= 1 or matrix.strides[1] == matrix.dtype.itemsize
    return matrix if dense else _contiguous(module, matrix, matrix.dtype, demand)


def _indices(module: Any, rows: AnyArray, demand: device_memory) -> AnyArray:
    """int32 or int64, one after the other."""
    kept = rows.dtype.kind == "i" and rows.dtype.itemsize >= 4
    return _contiguous(module, rows, rows.dtype if kept else np.dtype(np.int64), demand)


def _starts(module: Any, starts: AnyArray, demand: device_memory) -> AnyArray:
    return _contiguous(module, starts, np.dtype(np.int64), demand)


def _contiguous(
    module: Any, array: AnyArray, dtype: np.dtype[Any], demand: device_memory
) -> AnyArray:
    """The array itself, or a copy that is counted."""
    if array.dtype != dtype or not array.flags.c_contiguous:
        demand.add(array.size * dtype.itemsize)
    return module.ascontiguousarray(array.astype(dtype, copy=False))


def _width(*matrices: AnyArray) -> int:
    """Features of one access that every row of every matrix is aligned for."""
    itemsize = matrices[0].dtype.itemsize
    width: int = _ACCESS // itemsize
    while width > 1 and any(
        matrix.data.ptr % (width * itemsize) or matrix.strides[0] % (width * itemsize)
        for matrix in matrices
    ):
        width //= 2
    return width


def _check(flag: AnyArray, rows: AnyArray, n_points: int) -> None:
    if int(flag[0]):
        raise ParameterError(
            f"rows are those of {n_points} points, 0 to {n_points - 1}; got values from "
            f"{int(rows.min())} to {int(rows.max())}"
        )
