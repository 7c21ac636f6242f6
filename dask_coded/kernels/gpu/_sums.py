"""Launches the kernel of a weighted sum, in as many passes as registers and layouts ask for."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dask_coded.kernels.gpu._arithmetic import Arithmetic
from dask_coded.kernels.gpu._combining import MAX_DIMS, plan, point_to_table, row_passes
from dask_coded.kernels.gpu._device import launch, parameter_bytes
from dask_coded.kernels.gpu._geometry import geometry_of, shadow
from dask_coded.kernels.gpu._memory import device_memory
from dask_coded.kernels.gpu._routes import RouteCase, is_stacked, route_of, sum_by_cublas
from dask_coded.typing import AnyArray, Array

__all__ = ["sum_blocks", "sums_by_route"]


def sum_blocks(
    module: Any,
    arithmetic: Arithmetic,
    sources: Sequence[AnyArray],
    targets: Sequence[AnyArray],
    demand: device_memory,
    outside: int = 0,
) -> None:
    """Write all sums; sources have one dtype, targets one, and all one shape other than empty.

    `outside` is the address of a word that is set where a value is no residue.
    """
    limit = parameter_bytes(module)
    for rows in row_passes(arithmetic, limit):
        weights = arithmetic.weights[rows]
        # Blocks that no row of this pass wants are not read.
        columns = np.flatnonzero((weights != 0).any(axis=0)).tolist() or [0]
        part = arithmetic._replace(weights=np.ascontiguousarray(weights[:, columns]))
        chosen = [sources[column] for column in columns]
        _sum_rows(module, part, chosen, targets[rows], demand, outside, limit)


def _sum_rows(
    module: Any,
    arithmetic: Arithmetic,
    sources: Sequence[AnyArray],
    targets: Sequence[AnyArray],
    demand: device_memory,
    outside: int,
    limit: int,
) -> None:
    dtypes = (sources[0].dtype, targets[0].dtype)
    given = targets
    geometry = geometry_of([shadow(array) for array in (*sources, *targets)])
    made = plan(arithmetic, geometry, dtypes, outside, limit) if geometry.dims <= MAX_DIMS else None
    if made is None:
        # Too many axes, or strides of too many blocks: plain copies have one axis and no strides.
        strided = [array for array in (*sources, *targets) if not array.flags.c_contiguous]
        demand.add(sum(array.nbytes for array in strided))
        sources = [module.ascontiguousarray(array) for array in sources]
        targets = [
            array if array.flags.c_contiguous else module.empty(array.shape, array.dtype)
            for array in targets
        ]
        geometry = geometry_of([shadow(array) for array in (*sources, *targets)])
        made = plan(arithmetic, geometry, dtypes, outside, limit)
        assert made is not None, "contiguous arrays need no strides"
    table = None
    if made.table is not None:
        table = module.asarray(made.table)
        point_to_table(made, table.data.ptr)
    launch(module, made.specialization, made.arguments, made.n_items)
    for array, target in zip(targets, given, strict=True):
        if array is not target:
            target[...] = array


def sums_by_route(
    module: Any, weights: Array, sources: Sequence[AnyArray], demand: device_memory
) -> list[AnyArray] | None:
    """The sums by cuBLAS where the rule of routes says so, else None."""
    first = sources[0]
    if not first.size or not len(weights) or not (weights != 0).all():
        return None
    if not all(source.flags.c_contiguous for source in sources):
        return None
    geometry = geometry_of([shadow(source) for source in sources])
    stacked = is_stacked(geometry, len(sources), first.nbytes)
    case = RouteCase(len(sources), len(weights), first.dtype, first.size, stacked)
    if route_of(case) != "cublas":
        return None
    if not stacked:
        demand.add(len(sources) * first.nbytes)
    return sum_by_cublas(module, weights, sources, stacked)
