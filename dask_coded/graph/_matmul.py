"""The graph of a coded product."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from dask._task_spec import Task, TaskRef
from dask.typing import Key

from dask_coded.codes import AbstractCode
from dask_coded.graph._arithmetic import Arithmetic, part_of_sum, result_of_share, spares, void
from dask_coded.graph._build import Work, group_tasks
from dask_coded.graph._learned import LearnedShape
from dask_coded.graph._measured import measured_part, measured_result
from dask_coded.graph._rounding import Verification

__all__ = ["MatmulGroups", "product_tasks"]

Chunks: TypeAlias = tuple[int, ...]
#: For a batch index, the tiles ``(stripe, share, position)`` of an operand.
TilesAt: TypeAlias = Callable[[tuple[int, ...]], Mapping[tuple[Any, ...], Any]]


@dataclass(frozen=True)
class MatmulGroups:
    """A product as groups: one for each batch index, row stripe and column stripe.

    Parameters
    ----------
    name
        Of the output chunks, whose keys are ``(name, *batch, row, column)``.
    code
        The code of every group.
    splits
        ``(m, p, n)``: blocks of the code along rows, inner dimension and columns.
    batch
        Number of output chunks along each stacking axis.
    rows, columns
        Number of output chunks; None if the output has no such axis, because that operand is a
        vector.
    positions
        Inner tiles of each block.
    per_task
        Inner tiles that one task multiplies.
    tolerance
        See :class:`GroupSpec`.
    dtype
        Of the output; None if it is not known before the chunks are there.
    chunks
        Sizes of the output chunks along each axis; None if they are not known before.
    learned_axis
        The axis of the output that the code cuts, if its mixtures know the sizes of their blocks.
    label
        Prefix of all other keys; `name` if None.
    first_row
        Row index of the first output chunk.
    verify
        How to deal with wrong results; None trusts them.
    eps
        Of the shares; see :class:`GroupSpec`.
    """

    name: str
    code: AbstractCode
    splits: tuple[int, int, int]
    batch: tuple[int, ...]
    rows: int | None
    columns: int | None
    positions: int
    per_task: int
    tolerance: float | None
    dtype: str | None = None
    chunks: tuple[Chunks, ...] | None = None
    learned_axis: int | None = None
    label: str | None = None
    first_row: int = 0
    verify: Verification | None = None
    eps: float | None = None

    @property
    def ndim(self) -> int:
        """Dimensions of the output."""
        return len(self.batch) + (self.rows is not None) + (self.columns is not None)

    def outputs(self, place: tuple[int, ...], r: int, c: int) -> Iterator[tuple[int, ...] | None]:
        """Chunk index of each output of a group, by output index; None for one that is void."""
        m, _, n = self.splits
        for i, j in itertools.product(range(m), range(n)):
            row, column = r * m + i, c * n + j
            if row >= (self.rows or 1) or column >= (self.columns or 1):
                yield None
                continue
            ends = (row, self.rows), (column, self.columns)
            yield (*place, *(index for index, count in ends if count is not None))


def product_tasks(
    groups: MatmulGroups,
    a_tiles: TilesAt,
    b_tiles: TilesAt,
    arithmetic: Arithmetic,
    lengths: Mapping[tuple[int, int], Any] | None = None,
) -> dict[Key, Task]:
    """Tasks of all groups of a product.

    Parameters
    ----------
    groups
        The product.
    a_tiles, b_tiles
        The operands.
    arithmetic
        What a share's task does with its tiles.
    lengths
        Row lengths of the only tile of ``(stripe, share)`` of the left operand, where results are
        verified and these are known.
    """
    m, _, n = groups.splits
    stripes = range(-(-(groups.rows or 1) // m)), range(-(-(groups.columns or 1) // n))
    tasks: dict[Key, Task] = {}
    for place in itertools.product(*map(range, groups.batch)):
        a, b = a_tiles(place), b_tiles(place)
        for r, c in itertools.product(*stripes):
            _add_group(tasks, groups, place, r, c, a, b, arithmetic, lengths or {})
    return tasks


def _add_group(
    tasks: dict[Key, Task],
    groups: MatmulGroups,
    place: tuple[int, ...],
    r: int,
    c: int,
    a: Mapping[tuple[Any, ...], Any],
    b: Mapping[tuple[Any, ...], Any],
    arithmetic: Arithmetic,
    lengths: Mapping[tuple[int, int], Any],
) -> None:
    label = groups.name if groups.label is None else groups.label
    shift = groups.first_row
    group = "-".join(map(str, (label, *place, shift + r * groups.splits[0], c)))
    outputs: list[Key] = []
    wanted: list[bool] = []
    shapes: list[tuple[int, ...] | LearnedShape] = []
    for number, index in enumerate(groups.outputs(place, r, c)):
        wanted.append(index is not None)
        if index is None:
            outputs.append((f"{label}-void", group, number))
            shapes.append((0,) * groups.ndim)
            continue
        if groups.learned_axis is not None:
            shapes.append(LearnedShape(groups.learned_axis, number))
        if shift:
            # Only a matrix is made in several calls, one for each stripe of an encoded operand.
            outputs.append((groups.name, shift + index[0], *index[1:]))
        else:
            outputs.append((groups.name, *index))
        if groups.chunks is not None:
            shapes.append(tuple(sizes[i] for sizes, i in zip(groups.chunks, index, strict=True)))
    data = groups.code.direct()
    work: list[Work] = []
    for share in range(groups.code.n_shares):
        pairs = [
            (a[r, share, t], b[c, share, t])
            for t in range(groups.positions)
            if (r, share, t) in a and (c, share, t) in b
        ]
        if not pairs:
            work.append((void, (groups.ndim, groups.dtype)))
            continue
        before: Any = None
        segments = [
            pairs[start : start + groups.per_task]
            for start in range(0, len(pairs), groups.per_task)
        ]
        for number, segment in enumerate(segments):
            tiles = (*(pair[0] for pair in segment), *(pair[1] for pair in segment))
            known = lengths.get((r, share))
            if number < len(segments) - 1:
                key = (f"{label}-part", group, share, number)
                if groups.verify is None:
                    tasks[key] = Task(key, part_of_sum, arithmetic, before, *tiles)
                else:
                    tasks[key] = Task(key, measured_part, arithmetic, known, before, *tiles)
                before = TaskRef(key)
            elif groups.verify is None:
                spare = spares(share, data, wanted)
                work.append((result_of_share, (arithmetic, spare, before, *tiles)))
            else:
                work.append((measured_result, (arithmetic, known, before, *tiles)))
    tasks.update(
        group_tasks(
            group,
            groups.code,
            work,
            outputs,
            parity_name=f"{label}-parity",
            wanted=wanted,
            tolerance=groups.tolerance,
            shapes=tuple(shapes) if len(shapes) == len(outputs) else None,
            dtype=groups.dtype,
            verify=groups.verify,
            eps=groups.eps,
        )
    )
