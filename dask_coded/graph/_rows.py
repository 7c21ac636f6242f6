"""Encoded rows at rest: the tiles of a matrix that is multiplied many times."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from dask._task_spec import List, Task, TaskRef
from dask.typing import Key

from dask_coded.codes import AbstractLinearCode, Repair
from dask_coded.errors import BlockShapeError
from dask_coded.fields import Field
from dask_coded.graph._arithmetic import checked_mixture, given_up, mixed
from dask_coded.graph._build import Work, group_tasks
from dask_coded.graph._measured import row_lengths
from dask_coded.graph._tasks import Shape
from dask_coded.graph._unfit import Unfit
from dask_coded.kernels import settled
from dask_coded.typing import AnyArray, Array

__all__ = ["decoded_rows", "encoded_rows", "reference", "references", "row_length_tasks"]


def reference(key: Key) -> TaskRef:
    """An argument that stands for the result of another task."""
    return TaskRef(key)


def references(keys: Sequence[Key]) -> Task:
    """An argument that stands for the results of several tasks, one below the other."""
    return Task(None, np.concatenate, List(*map(TaskRef, keys)))


def encoded_rows(
    code: AbstractLinearCode,
    chunks: Sequence[Key],
    shares: Sequence[Key],
    *,
    shapes: tuple[Shape, ...],
    dtypes: tuple[str, ...],
    tolerance: float | None = None,
) -> dict[Key, Task]:
    """Tasks of all shares of one stripe.

    The shares form a group whose outputs they all are: a share that is lost is decoded from the
    others, by the same mechanism that decodes a product.

    Parameters
    ----------
    code
        Systematic code of the stripe.
    chunks
        Key of the chunk of each block; void blocks are left out at the end.
    shares
        Key of every share.
    shapes
        Of every share.
    dtypes
        Of every share: that of the matrix, or a wider one where sums of integers need it.
    tolerance
        What rebuilding a share may amplify rounding to; see :class:`GroupSpec`.
    """
    work: list[Work] = []
    for share, row in enumerate(code.generator()):
        used = [block for block in range(len(chunks)) if row[block] != 0]
        if len(used) == 1 and row[used[0]] == 1:
            if share < code.k:
                work.append((_checked, (shapes[share], TaskRef(chunks[used[0]]))))
            else:
                work.append((_as_it_is, (TaskRef(shares[used[0]]),)))
        else:
            # Parity reads the data shares, not their sources: a source is read once.
            args = (row[used], *(TaskRef(shares[block]) for block in used))
            work.append((_weighted_sum, (code.field, dtypes[share], *args)))
    return group_tasks(
        f"group-{shares[0]}",
        Repair(code),
        work,
        shares,
        parity_name=f"unused-{shares[0]}",
        shapes=shapes,
        dtype=dtypes[0],
        dtypes=dtypes if len(set(dtypes)) > 1 else None,
        tolerance=tolerance,
        at_rest=True,
    )


def decoded_rows(
    group: str,
    code: AbstractLinearCode,
    shares: Sequence[Key],
    outputs: Sequence[Key],
    *,
    shapes: tuple[Shape, ...],
    dtype: str,
    tolerance: float | None,
) -> dict[Key, Task]:
    """Tasks that give the blocks of one stripe back, from any shares that decode."""
    return group_tasks(
        group,
        code,
        [(_as_it_is, (TaskRef(key),)) for key in shares],
        outputs,
        parity_name=f"{group}-parity",
        shapes=shapes,
        dtype=dtype,
        tolerance=tolerance,
    )


def row_length_tasks(tiles: Sequence[Key], lengths: Sequence[Key]) -> dict[Key, Task]:
    """Tasks that measure the rows of some tiles, each where its tile is."""
    return {
        key: Task(key, _lengths, TaskRef(tile)) for tile, key in zip(tiles, lengths, strict=True)
    }


def _lengths(tile: Any) -> Any:
    # Whoever multiplies an unfit tile says so.
    return tile if isinstance(tile, Unfit) else row_lengths(tile)


def _checked(shape: Shape, block: Any) -> Any:
    # A share that is lost is made anew in the shape that the array says; it must not depend on who
    # is lost whether that is right.
    if block.shape != shape:
        raise BlockShapeError(
            f"a block of the matrix has shape {block.shape}, and its array says {shape}; "
            "correct the chunks that it was made with, e.g. chunks= of map_blocks"
        )
    return _as_it_is(block)


def _as_it_is(block: Any) -> Any:
    if isinstance(block, Unfit):
        return given_up(block, spare=True)
    # Whatever came from another worker begins anywhere in memory, where products are much slower.
    if type(block) is np.ndarray:
        return np.require(block, requirements=("C_CONTIGUOUS", "ALIGNED"))
    return settled(block)


def _weighted_sum(field: Field, dtype: str, weights: Array, *blocks: AnyArray) -> Any:
    return checked_mixture(settled(mixed(weights, *blocks, field=field, dtype=dtype)))
