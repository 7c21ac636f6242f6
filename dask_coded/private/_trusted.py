"""Products of arrays on the cluster: what needs trust runs on trusted workers, and only there.

    trusted workers                                  untrusted workers
    chunks of a, b --> one task per row of chunks --- shares ---> products
                       encode ... decode         <-- results ---
    chunk of a @ b <--'

All of it but the arrows to the right are Dask tasks, confined to the trusted workers.
"""

import uuid
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
from distributed import get_worker, wait
from distributed.utils import sync

from dask_coded.cluster import confined, enable
from dask_coded.errors import BlockShapeError, TrustError
from dask_coded.private._product import Job, multiply

__all__ = ["multiply_on_trusted", "refuse_untrusted"]

NDArray: TypeAlias = npt.NDArray[Any]

_Block: TypeAlias = list[list[Any]]


def multiply_on_trusted(
    a: Any, b: Any, job: Job, trusted: Sequence[str], client: Any, dtype: Any
) -> da.Array:
    """The product as a Dask array, on its way on the trusted workers; one chunk a row of chunks.

    Parameters
    ----------
    a, b
        Matrices, at least one of them a Dask array. A NumPy array goes to a trusted worker
        directly, not through the scheduler.
    job
        What the trusted workers do with each row of chunks of `a` and all of `b`.
    trusted
        Their addresses.
    """
    for operand in (a, b):
        if isinstance(operand, da.Array):
            refuse_untrusted(operand, trusted, client)
    enable(client)
    columns = b.shape[1]
    parts, heights = _rows(a, client, trusted)
    right = _nested(b, client, trusted)
    name = f"private-product-{uuid.uuid4().hex}"
    rows = []
    for index, (left, height) in enumerate(zip(parts, heights, strict=True)):
        call = dask.delayed(_on_worker, pure=False)
        product = call(left, right, job, dask_key_name=f"{name}-{index}")
        rows.append(da.from_delayed(product, shape=(height, columns), dtype=dtype))
    with confined(trusted):
        whole = da.concatenate(rows, axis=0)
        made: da.Array = client.persist(whole)
    return made


def _on_worker(left: _Block, right: _Block, job: Job) -> NDArray:
    """One row of chunks of the product; runs on a trusted worker, in a thread of its own."""
    worker: Any = get_worker()

    def on_loop(function: Any, *args: Any) -> Any:
        return sync(worker.loop, function, *args)

    a: NDArray = np.block(left)
    b: NDArray = np.block(right)
    return multiply(a, b, job, on_loop, worker.connection_args)


def _rows(a: Any, client: Any, trusted: Sequence[str]) -> tuple[list[_Block], list[int]]:
    """The blocks of each row of chunks, and its height."""
    if isinstance(a, np.ndarray):
        return [_scattered(a, client, trusted)], [a.shape[0]]
    if np.isnan(a.shape).any():
        raise BlockShapeError("the chunks of a have unknown sizes; call a.compute_chunk_sizes()")
    blocks = a.to_delayed().tolist()
    return [[row] for row in blocks], list(a.chunks[0])


def _nested(b: Any, client: Any, trusted: Sequence[str]) -> _Block:
    if isinstance(b, np.ndarray):
        return _scattered(b, client, trusted)
    blocks: _Block = b.to_delayed().tolist()
    return blocks


def _scattered(x: NDArray, client: Any, trusted: Sequence[str]) -> _Block:
    # Directly, or it would pass through the scheduler; not under a name made of its content; and
    # to all, as nobody could make it again when the only one that has it is lost.
    future = client.scatter(x, workers=list(trusted), broadcast=True, direct=True, hash=False)
    return [[future]]


def refuse_untrusted(x: da.Array, trusted: Sequence[str], client: Any) -> None:
    """See that an array has been nowhere but on trusted workers, and will not be.

    Raises
    ------
    TrustError
        If a chunk is held by another worker, or if the graph itself holds data, which would pass
        through the scheduler.
    """
    held = client.futures_of(x)
    if held:
        wait(held)
        for key, holders in client.who_has(held).items():
            others = sorted(set(holders) - set(trusted))
            if others:
                raise TrustError(
                    f"chunk {key!r} is held by {', '.join(others)}, which is not trusted and has "
                    "seen it. Persist the array within dask_coded.cluster.confined(trusted)"
                )
    for key, task in dict(x.__dask_graph__()).items():
        if any(array.size for array in _arrays(task)):
            raise TrustError(
                f"task {key!r} holds an array, and would carry it through the scheduler. Give the "
                "NumPy array itself, or let tasks read the data from where it is stored"
            )


def _arrays(task: Any) -> Iterator[NDArray]:
    """Arrays among what a task was made with, however deeply nested."""
    if isinstance(task, np.ndarray):
        if task.dtype.kind in "biufc":
            yield task
    elif isinstance(task, dict):
        for each in task.values():
            yield from _arrays(each)
    elif isinstance(task, list | tuple | set):
        for each in task:
            yield from _arrays(each)
    elif type(task).__module__ == "dask._task_spec":
        for part in ("value", "args", "kwargs"):
            yield from _arrays(getattr(task, part, None))
