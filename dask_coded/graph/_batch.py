"""The graph of a batch of coded products.

Blocks of a batch are whole operands, or cells of their grids. Between them and chunks stands the
stripe: the tiles at one place of every pair's product form a codeword, so that an operand that
occurs in many pairs is encoded tile by tile, once, and every group is as large as the tiles of one
place are.

::

    A_i in R x T chunks, B_j in T x C chunks, for all pairs (i, j) of a codeword

    share s   left tile (s, r, t) = sum_i L[s, i] A_i(r, t), right tile (s, t, c) likewise
    group     (r, c): the result of share s is the sum over t of left (s, r, t) @ right (s, t, c)

Where operands are cut besides, stripe r holds m chunk rows and stripe c holds n chunk columns, one
for each block, and t counts the tiles of an inner block; see :mod:`dask_coded.graph._tiles`.

A mixture is named after what is mixed, not after the codeword: two codewords, or two batches, that
mix the same chunks with the same coefficients have the tile in common.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from dask._task_spec import Task, TaskRef
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from dask_coded.graph._arithmetic import Arithmetic, part_of_sum, result_of_share, spares, void
from dask_coded.graph._batch_sides import BatchSides
from dask_coded.graph._build import Work, group_tasks
from dask_coded.graph._exact import ExactArithmetic, exact_result
from dask_coded.graph._tasks import DataShareTask
from dask_coded.typing import Array

__all__ = ["BatchGroups", "batch_graph", "batch_tasks"]

#: Of the layers of mixtures.
_MIXTURES = "coded-batch-encode"

Chunks = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class BatchGroups:
    """A codeword of pairs as groups: one for each place of an output chunk, or of m x n of them.

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
    groups: BatchGroups, mix: Callable[..., Any], arithmetic: Arithmetic | ExactArithmetic
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
    m, p, n = groups.sides.splits
    tasks: dict[Key, Task] = {}
    left = _encoded(groups, 0, (rows, groups.positions), (m, p), mix, tasks)
    right = _encoded(groups, 1, (groups.positions, columns), (p, n), mix, tasks)
    for place in itertools.product(range(-(-rows // m)), range(-(-columns // n))):
        _add_group(tasks, groups, place, left, right, arithmetic)
    return tasks


def _encoded(
    groups: BatchGroups,
    side: int,
    counts: tuple[int, int],
    cut: tuple[int, int],
    mix: Callable[..., Any],
    tasks: dict[Key, Task],
) -> dict[tuple[int, int, int, int], TaskRef]:
    """References to the tiles ``(term, share, stripe, position)`` of one side, but void ones."""
    outer, inner = side, 1 - side
    names = groups.sources[side]
    stripes, positions = (-(-counts[axis] // cut[axis]) for axis in (outer, inner))
    refs: dict[tuple[int, int, int, int], TaskRef] = {}
    for term, generator in enumerate((groups.sides.left, groups.sides.right)[side]):
        for share, row in enumerate(generator):
            blocks = [tuple(map(int, at)) for at in np.argwhere(row.reshape(len(names), *cut))]
            weights = row[row != 0]
            mixture = _mixture([names[at[0]] for at in blocks], weights, blocks, side, cut, mix)
            for stripe, position in itertools.product(range(stripes), range(positions)):
                used: list[int] = []
                chunks: list[Key] = []
                for number, (operand, *index) in enumerate(blocks):
                    index[outer] += stripe * cut[outer]
                    index[inner] = index[inner] * positions + position
                    if index[0] < counts[0] and index[1] < counts[1]:
                        used.append(number)
                        chunks.append((names[operand], *index))
                if not used:
                    continue
                if len(used) == 1 and weights[used[0]] == 1:
                    refs[term, share, stripe, position] = TaskRef(chunks[0])
                    continue
                # The place of a chunk, whichever side it is on.
                key = (mixture, *((position, stripe) if side else (stripe, position)))
                refs[term, share, stripe, position] = TaskRef(key)
                if key not in tasks:
                    tasks[key] = Task(key, mix, weights[used], *map(TaskRef, chunks))
    return refs


def _mixture(
    names: Sequence[str],
    weights: Array,
    blocks: Sequence[tuple[int, ...]],
    side: int,
    cut: tuple[int, int],
    mix: Callable[..., Any],
) -> str:
    """The name of the tiles of one mixture, equal wherever it is the same."""
    # Negative zeros are gone: those weights are left out. Uncut operands have but one block.
    where = () if cut == (1, 1) else (side, cut, tuple(at[1:] for at in blocks))
    return f"{_MIXTURES}-{tokenize(names, weights.tobytes(), str(weights.dtype), where, mix)}"


def _add_group(
    tasks: dict[Key, Task],
    groups: BatchGroups,
    place: tuple[int, int],
    left: Mapping[tuple[int, int, int, int], TaskRef],
    right: Mapping[tuple[int, int, int, int], TaskRef],
    arithmetic: Arithmetic | ExactArithmetic,
) -> None:
    sides = groups.sides
    r, c = place
    group = f"{groups.name}-{r}-{c}"
    outputs, shapes = _outputs(groups, place)
    wanted = [shape is not None for shape in shapes]
    data = sides.code.direct()
    work: list[Work] = []
    for share in range(sides.code.n_shares):
        tiles = [
            (left[term, share, r, t], right[term, share, c, t])
            for term in range(len(sides.left))
            for t in range(-(-groups.positions // sides.splits[1]))
            if (term, share, r, t) in left and (term, share, c, t) in right
        ]
        if not tiles:
            work.append((void, (2, groups.dtype)))
            continue
        spare = spares(share, data, wanted)
        result: tuple[Any, ...] = (result_of_share, arithmetic, spare)
        own = arithmetic
        if isinstance(arithmetic, ExactArithmetic):
            result = (exact_result, arithmetic, share in data, spare)
            if share in data and not any(tile.key in tasks for pair in tiles for tile in pair):
                # A product of chunks is an output as it is.
                own = arithmetic.plain
                result = (result_of_share, own, spare)
        before: Any = None
        *most, last = (
            tiles[start : start + groups.per_task]
            for start in range(0, len(tiles), groups.per_task)
        )
        for number, segment in enumerate(most):
            key = (f"{groups.name}-part", r, c, share, number)
            tasks[key] = Task(key, part_of_sum, own, before, *_sided(segment))
            before = TaskRef(key)
        work.append((result[0], (*result[1:], before, *_sided(last))))
    tasks.update(
        group_tasks(
            group,
            sides.code,
            work,
            outputs,
            parity_name=f"{groups.name}-parity",
            wanted=wanted,
            tolerance=groups.tolerance,
            shapes=tuple((0, 0) if shape is None else shape for shape in shapes),
            dtype=groups.dtype,
        )
    )


def _outputs(
    groups: BatchGroups, place: tuple[int, int]
) -> tuple[list[Key], list[tuple[int, int] | None]]:
    """Key and shape of every output of a group; no shape if there is no such chunk."""
    m, _, n = groups.sides.splits
    keys: list[Key] = []
    shapes: list[tuple[int, int] | None] = []
    for (name, (heights, widths)), i, j in itertools.product(
        zip(groups.outputs, groups.chunks, strict=True), range(m), range(n)
    ):
        row, column = place[0] * m + i, place[1] * n + j
        if row < len(heights) and column < len(widths):
            keys.append((name, row, column))
            shapes.append((heights[row], widths[column]))
        else:
            keys.append((f"{groups.name}-void", *place, len(keys)))
            shapes.append(None)
    return keys, shapes


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
        if str(name).startswith(_MIXTURES):
            layers.setdefault(str(name), {})
        layers[name if name in layers else groups.name][key] = task
    inputs = {layer for operand in operands for layer in operand.__dask_layers__()}
    mixtures = layers.keys() - {groups.name, *groups.outputs}
    below = inputs | mixtures | {groups.name}
    held = {
        name
        for name in groups.outputs
        if all(isinstance(task, DataShareTask) for task in layers[name].values())
    }
    dependencies = {
        **dict.fromkeys(mixtures, inputs),
        groups.name: inputs | mixtures,
        **{name: below if name in held else below | held for name in groups.outputs},
    }
    return HighLevelGraph.merge(
        *(operand.__dask_graph__() for operand in operands), HighLevelGraph(layers, dependencies)
    )
