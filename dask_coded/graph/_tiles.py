"""Encoding operands tile by tile.

A code speaks of blocks, Dask of chunks. Between them stands the stripe: chunks are dealt to the
blocks of consecutive codewords, so that every tile of a codeword is one chunk and a task never
holds more than one codeword's worth of them.

::

    operand with I x K chunks, blocks of the code m x p

    rows    stripe r holds chunk rows    r m, ..., r m + m - 1, one for each row block
    inner   block k holds chunk columns  k T, ..., k T + T - 1  with T = ceil(K / p)
    tile    (r, s, t) of share s combines chunk (r m + i, k T + t) over all blocks (i, k)

Beyond the last chunk tiles are void: zero, and never computed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dask._task_spec import Task, TaskRef
from dask.typing import Key

from dask_coded.typing import Array

__all__ = ["Tiles", "encode_tiles"]


@dataclass(frozen=True)
class Tiles:
    """Encoded tiles of one operand: where they are, and the tasks that make them."""

    refs: Mapping[tuple[Any, ...], Any]
    """``(*batch, stripe, share, position)`` to a reference or value; void tiles are left out."""
    tasks: dict[Key, Task] = field(default_factory=dict)


def encode_tiles(
    name: str,
    generator: Array,
    blocks: tuple[int, int],
    counts: tuple[int, int],
    chunk: Callable[[int, int], Any],
    mix: Callable[..., Any],
    *,
    rows_first: bool,
    tell_blocks: bool = False,
    batch: tuple[int, ...] = (),
    together: Sequence[Sequence[int]] = (),
) -> Tiles:
    """Tiles of every share of one matrix operand.

    Parameters
    ----------
    name
        Of the tasks; keys are ``(name, *batch, stripe, share, position)``.
    generator
        ``(n_shares, blocks[0] * blocks[1])``.
    blocks
        Block grid of the operand, ``(m, p)`` for the left one, ``(p, n)`` for the right one.
    counts
        Chunk grid of the operand.
    chunk
        ``chunk(row, column)``: key of a chunk, or an array.
    mix
        ``mix(weights, *chunks)``: a tile that is no chunk.
    rows_first
        True for the left operand, whose stripes are along rows; the right one's along columns.
    tell_blocks
        Also give `mix` the argument ``blocks``: for each chunk, which row block (column block of
        the right operand) it belongs to.
    batch
        Leading indices, part of the keys.
    together
        Shares that belong on one worker, which encodes once what several of them have alike.
    """
    outer, inner = (0, 1) if rows_first else (1, 0)
    stripes = -(-counts[outer] // blocks[outer])
    positions = -(-counts[inner] // blocks[inner])
    refs: dict[tuple[Any, ...], Any] = {}
    tasks: dict[Key, Task] = {}
    grid = [
        (first, second, first * blocks[1] + second)
        for first in range(blocks[0])
        for second in range(blocks[1])
    ]
    place_of = {share: which for which, shares in enumerate(together) for share in shares}
    for stripe in range(stripes):
        for position in range(positions):
            present: list[tuple[int, int, Any]] = []
            for first, second, block in grid:
                index = [first, second]
                index[outer] += stripe * blocks[outer]
                index[inner] = index[inner] * positions + position
                if index[0] < counts[0] and index[1] < counts[1]:
                    present.append(((first, second)[outer], block, chunk(*index)))
            known: dict[tuple[int, bytes], Any] = {}
            for share, row in enumerate(generator):
                used = [
                    (row[block], source, where)
                    for where, block, source in present
                    if row[block] != 0
                ]
                place = (*batch, stripe, share, position)
                if not used:
                    continue
                if len(used) == 1 and used[0][0] == 1:
                    refs[place] = _reference(used[0][1])
                    continue
                alike = (place_of.get(share, -1 - share), row.tobytes())
                if alike in known:
                    refs[place] = known[alike]
                    continue
                key = (name, *place)
                tasks[key] = Task(
                    key,
                    mix,
                    np.array([weight for weight, _, _ in used]),
                    *(_reference(source) for _, source, _ in used),
                    **({"blocks": tuple(where for _, _, where in used)} if tell_blocks else {}),
                )
                refs[place] = known[alike] = TaskRef(key)
    return Tiles(refs, tasks)


def _reference(source: Any) -> Any:
    # A key is a name or a tuple; an array may be of any library.
    return TaskRef(source) if isinstance(source, (str, tuple)) else source
