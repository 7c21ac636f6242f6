"""The graph of a batch of coded products.

Blocks of a batch are whole operands. Between them and chunks stands the stripe: the tiles at one
place of every pair's product form a codeword, so that an operand that occurs in many pairs is
encoded tile by tile, once, and every group is as large as the tiles of one place are.

::

    A_i in R x T chunks, B_j in T x C chunks, for all pairs (i, j) of a codeword

    share s   left tile (s, r, t) = sum_i L[s, i] A_i(r, t), right tile (s, t, c) likewise
    group     (r, c): the result of share s is the sum over t of left (s, r, t) @ right (s, t, c)
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dask._task_spec import Task, TaskRef
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from dask_coded.graph._arithmetic import Arithmetic, part_of_sum, result_of_share, spares, void
from dask_coded.graph._batch_sides import BatchSides
from dask_coded.graph._build import Work, group_tasks
from dask_coded.graph._tasks import DataShareTask
from dask_coded.typing import Array

__all__ = ["BatchGroups", "batch_graph", "batch_tasks"]

Chunks = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class BatchGroups:
    """A codeword of pairs as groups: one for each place of an output chunk.

    Parameters
    ----------
    name
        Prefix of all keys but those of the outputs.
    sides
        The code, and how it encodes the operands.
    sources
        Name of the chunked array of each operand, left ones first.
    outputs
        Name of each output array, whose keys are ``(output, row, column)``.
    chunks
        Sizes of the chunks of each output; all have as many.
    positions
        Inner chunks of every operand.
    per_task
        Pairs of tiles that one task multiplies.
    tolerance, dtype
        See :class:`GroupSpec`.
    """

    name: str
    sides: BatchSides
    sources: tuple[tuple[str, ...], tuple[str, ...]]
    outputs: tuple[str, ...]
    chunks: tuple[Chunks, ...]
    positions: int
    per_task: int
    tolerance: float | None
    dtype: str


def batch_tasks(
    groups: BatchGroups, mix: Callable[..., Any], arithmetic: Arithmetic
) -> dict[Key, Task]:
    """Tasks of all groups of one codeword.

    Parameters
    ----------
    groups
        The codeword.
    mix
        ``mix(weights, *chunks)``: a tile that is no chunk.
    arithmetic
        What a share's task does with its tiles.
    """
    rows, columns = map(len, groups.chunks[0])
    tasks: dict[Key, Task] = {}
    inner = range(groups.positions)
    places = [(row, t) for row in range(rows) for t in inner]
    left = _encoded(groups, 0, places, mix, tasks)
    places = [(t, column) for t in inner for column in range(columns)]
    right = _encoded(groups, 1, places, mix, tasks)
    for place in itertools.product(range(rows), range(columns)):
        _add_group(tasks, groups, place, left, right, arithmetic)
    return tasks


def _encoded(
    groups: BatchGroups,
    side: int,
    places: Sequence[tuple[int, int]],
    mix: Callable[..., Any],
    tasks: dict[Key, Task],
) -> dict[tuple[int, ...], TaskRef]:
    """References to the tiles ``(term, share, *place)`` of one side, void ones left out."""
    refs: dict[tuple[int, ...], TaskRef] = {}
    coefficients = (groups.sides.left, groups.sides.right)[side]
    # Shares that hold the same mixture share its tiles.
    known: dict[bytes, Key] = {}
    for term, generator in enumerate(coefficients):
        for share, row in enumerate(generator):
            used = [operand for operand, weight in enumerate(row) if weight != 0]
            if not used:
                continue
            plain = len(used) == 1 and row[used[0]] == 1
            name = groups.sources[side][used[0]]
            if not plain:
                first = (f"{groups.name}-encode-{'ab'[side]}", term, share)
                name, *prefix = known.setdefault(_identity(row), first)
            for place in places:
                at = (term, share, *place)
                if plain:
                    refs[at] = TaskRef((name, *place))
                    continue
                key = (name, *prefix, *place)
                refs[at] = TaskRef(key)
                if key not in tasks:
                    chunks = (TaskRef((groups.sources[side][i], *place)) for i in used)
                    tasks[key] = Task(key, mix, row[used], *chunks)
    return refs


def _identity(row: Array) -> bytes:
    return (row + 0).tobytes()


def _add_group(
    tasks: dict[Key, Task],
    groups: BatchGroups,
    place: tuple[int, int],
    left: Mapping[tuple[int, ...], TaskRef],
    right: Mapping[tuple[int, ...], TaskRef],
    arithmetic: Arithmetic,
) -> None:
    code = groups.sides.code
    row, column = place
    group = f"{groups.name}-{row}-{column}"
    data = code.direct()
    work: list[Work] = []
    for share in range(code.n_shares):
        tiles = [
            (left[term, share, row, t], right[term, share, t, column])
            for term in range(len(groups.sides.left))
            for t in range(groups.positions)
            if (term, share, row, t) in left and (term, share, t, column) in right
        ]
        if not tiles:
            work.append((void, (2, groups.dtype)))
            continue
        before: Any = None
        *most, last = (
            tiles[start : start + groups.per_task]
            for start in range(0, len(tiles), groups.per_task)
        )
        for number, segment in enumerate(most):
            key = (f"{groups.name}-part", row, column, share, number)
            tasks[key] = Task(key, part_of_sum, arithmetic, before, *_sided(segment))
            before = TaskRef(key)
        spare = spares(share, data, [True] * len(data))
        work.append((result_of_share, (arithmetic, spare, before, *_sided(last))))
    tasks.update(
        group_tasks(
            group,
            code,
            work,
            [(name, row, column) for name in groups.outputs],
            parity_name=f"{groups.name}-parity",
            tolerance=groups.tolerance,
            shapes=tuple((rows[row], columns[column]) for rows, columns in groups.chunks),
            dtype=groups.dtype,
        )
    )


def _sided(tiles: Sequence[tuple[TaskRef, TaskRef]]) -> tuple[TaskRef, ...]:
    return (*(pair[0] for pair in tiles), *(pair[1] for pair in tiles))


def batch_graph(
    groups: BatchGroups, tasks: Mapping[Key, Task], operands: Sequence[Any]
) -> HighLevelGraph:
    """One graph for all outputs of a codeword, on top of those of its operands.

    Each output has a layer of its own name, so that it can be built upon alone.
    """
    layers: dict[str, dict[Key, Task]] = {name: {} for name in (groups.name, *groups.outputs)}
    for key, task in tasks.items():
        name = key[0] if isinstance(key, tuple) else key
        layers[name if name in layers else groups.name][key] = task
    inputs = {layer for operand in operands for layer in operand.__dask_layers__()}
    below = inputs | {groups.name}
    held = {
        name
        for name in groups.outputs
        if all(isinstance(task, DataShareTask) for task in layers[name].values())
    }
    dependencies = {groups.name: inputs} | {
        name: below if name in held else below | held for name in groups.outputs
    }
    return HighLevelGraph.merge(
        *(operand.__dask_graph__() for operand in operands), HighLevelGraph(layers, dependencies)
    )
