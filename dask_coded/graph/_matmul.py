"""The graph of a coded product."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from dask._task_spec import Task, TaskRef
from dask.typing import Key

from dask_coded.codes import AbstractCode
from dask_coded.graph._build import Work, group_tasks
from dask_coded.typing import AnyArray

__all__ = ["MatmulGroups", "product_tasks", "sum_of_products"]

Chunks: TypeAlias = tuple[int, ...]
Multiply: TypeAlias = Callable[[AnyArray, AnyArray], AnyArray]


def sum_of_products(
    multiply: Multiply, dtype: str, before: AnyArray | None, *tiles: AnyArray
) -> AnyArray:
    """``before + a_0 @ b_0 + a_1 @ b_1 + ...`` for tiles ``a_0, a_1, ..., b_0, b_1, ...``."""
    half = len(tiles) // 2
    total = before
    for a, b in zip(tiles[:half], tiles[half:], strict=True):
        part = multiply(a, b)
        total = part if total is None else total + part
    assert total is not None
    return total.astype(dtype, copy=False)


def void(ndim: int, dtype: str) -> AnyArray:
    """What a share of void tiles gives: zero of any shape, continued with zeros when decoded."""
    return np.zeros((1,) * ndim, dtype=dtype)


@dataclass(frozen=True)
class MatmulGroups:
    """A product as groups: one for each batch index, row stripe and column stripe.

    Parameters
    ----------
    name
        Of the output chunks.
    code
        The code of every group.
    splits
        ``(m, p, n)``: blocks of the code along rows, inner dimension and columns.
    rows, columns
        Sizes of the output chunks; ``columns`` is None if the right operand is a vector.
    positions
        Inner tiles of each block.
    batch
        Chunk sizes of leading dimensions.
    dtype
        Of the output.
    tolerance
        See :class:`GroupSpec`.
    per_task
        Inner tiles that one task multiplies.
    first_row
        Row index of the first output chunk.
    """

    name: str
    code: AbstractCode
    splits: tuple[int, int, int]
    rows: Chunks
    columns: Chunks | None
    positions: int
    batch: tuple[Chunks, ...]
    dtype: str
    tolerance: float | None
    per_task: int
    first_row: int = 0


def product_tasks(
    groups: MatmulGroups,
    a_tiles: Callable[[tuple[int, ...]], Mapping[tuple[Any, ...], Any]],
    b_tiles: Callable[[tuple[int, ...]], Mapping[tuple[Any, ...], Any]],
    multiply: Multiply,
) -> dict[Key, Task]:
    """Tasks of all groups of a product.

    Parameters
    ----------
    groups
        The product.
    a_tiles, b_tiles
        For a batch index, the tiles ``(stripe, share, position)`` of an operand.
    multiply
        What a share's task does with two tiles.
    """
    m, _, n = groups.splits
    columns = (None,) if groups.columns is None else groups.columns
    row_stripes = range(-(-len(groups.rows) // m))
    column_stripes = range(-(-len(columns) // n))
    tasks: dict[Key, Task] = {}
    for place in itertools.product(*(range(len(chunks)) for chunks in groups.batch)):
        a, b = a_tiles(place), b_tiles(place)
        for r, c in itertools.product(row_stripes, column_stripes):
            tasks.update(_one_group(groups, place, r, c, a, b, multiply))
    return tasks


def _one_group(
    groups: MatmulGroups,
    place: tuple[int, ...],
    r: int,
    c: int,
    a: Mapping[tuple[Any, ...], Any],
    b: Mapping[tuple[Any, ...], Any],
    multiply: Multiply,
) -> dict[Key, Task]:
    m, _, n = groups.splits
    vector = groups.columns is None
    columns = (1,) if groups.columns is None else groups.columns
    group = "-".join(map(str, (groups.name, *place, groups.first_row + r * m, c)))
    batch = tuple(chunks[index] for chunks, index in zip(groups.batch, place, strict=True))
    outputs: list[Key] = []
    wanted: list[bool] = []
    shapes: list[tuple[int, ...]] = []
    for i, j in itertools.product(range(m), range(n)):
        row, column = r * m + i, c * n + j
        exists = row < len(groups.rows) and column < len(columns)
        tail = (groups.first_row + row,) if vector else (groups.first_row + row, column)
        prefix = groups.name if exists else f"{groups.name}-void"
        outputs.append((prefix, *place, *tail))
        wanted.append(exists)
        size = (groups.rows[row], columns[column]) if exists else (0, 0)
        shapes.append((*batch, *(size[:1] if vector else size)))
    ndim = len(shapes[0])
    tasks: dict[Key, Task] = {}
    work: list[Work] = []
    for share in range(groups.code.n_shares):
        pairs = [
            (a[r, share, t], b[c, share, t])
            for t in range(groups.positions)
            if (r, share, t) in a and (c, share, t) in b
        ]
        if not pairs:
            work.append((void, (ndim, groups.dtype)))
            continue
        before: Any = None
        segments = [
            pairs[start : start + groups.per_task]
            for start in range(0, len(pairs), groups.per_task)
        ]
        for number, segment in enumerate(segments):
            args = _arguments(multiply, groups.dtype, before, segment)
            if number == len(segments) - 1:
                work.append((sum_of_products, args))
            else:
                key = (f"{groups.name}-part", group, share, number)
                tasks[key] = Task(key, sum_of_products, *args)
                before = TaskRef(key)
    tasks.update(
        group_tasks(
            group,
            groups.code,
            work,
            outputs,
            parity_name=f"{groups.name}-parity",
            wanted=wanted,
            tolerance=groups.tolerance,
            shapes=tuple(shapes),
            dtype=groups.dtype,
        )
    )
    return tasks


def _arguments(
    multiply: Multiply, dtype: str, before: Any, segment: Sequence[tuple[Any, Any]]
) -> tuple[Any, ...]:
    return (multiply, dtype, before, *(pair[0] for pair in segment), *(pair[1] for pair in segment))
