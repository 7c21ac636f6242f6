"""Finding Dask's own products in a graph, by the structure of their layers.

Dask writes a product as one Blockwise layer, whose chunks keep the contracted axis with length
one, and a sum over that axis::

    matmul     Blockwise _matmul     (..., i, k, j)  ->  Blockwise _chunk_sum  ->  tree of sums
               ... with one inner chunk                  ->  getitem [..., 0, :]
    tensordot  Blockwise _tensordot  (i, k, j)       ->  Blockwise sum  ->  tree of sums

Nothing is concluded from the text of keys: functions are compared by identity, and every task of
the sum is checked to add what it should. Sizes, dtype and type of the chunks are not in these
layers, except that a sum knows its dtype.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from dask._task_spec import Task, TaskRef
from dask.array import chunk
from dask.array.core import _concatenate2
from dask.array.routines import _chunk_sum, _matmul, _tensordot
from dask.blockwise import Blockwise
from dask.highlevelgraph import HighLevelGraph

__all__ = ["DaskProduct", "LeftAlone", "recognise"]

Counts: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class DaskProduct:
    """A product as Dask wrote it."""

    kind: str
    """``"matmul"`` or ``"tensordot"``, which is also what ``dot`` is."""
    name: str
    """Name of the layer, and of the keys, of the output."""
    layers: tuple[str, ...]
    """The layers before it that belong to the product and to nothing else, first one first."""
    left: str
    right: str
    """Names of the operands' keys."""
    left_counts: Counts
    right_counts: Counts
    """Chunks of the operands along each of their axes; a stacking axis may have one for many."""
    axis: int
    """The contracted axis in the chunks of the first layer."""
    function: Callable[..., Any]
    """What Dask does with two chunks; the result has the contracted axis."""
    dtype: np.dtype[Any] | None
    """dtype of the sum; None if there is nothing to sum, and only the chunks know."""

    @property
    def batch(self) -> Counts:
        """Chunks of the output along stacking axes."""
        if self.kind != "matmul":
            return ()
        pairs = zip(self.left_counts[:-2], self.right_counts[:-2], strict=True)
        return tuple(max(pair) for pair in pairs)

    @property
    def rows(self) -> int | None:
        """Chunks of the output along rows; None if the left operand is a vector."""
        return None if len(self.left_counts) == 1 else self.left_counts[-2]

    @property
    def columns(self) -> int | None:
        """Chunks of the output along columns; None if the right operand is a vector."""
        return None if len(self.right_counts) == 1 else self.right_counts[-1]

    @property
    def inner(self) -> int:
        """Chunks along the contracted axis."""
        return self.left_counts[-1]


@dataclass(frozen=True)
class LeftAlone:
    """A product of Dask's that stays as it is."""

    name: str
    """Of its first layer."""
    reason: str


class _Reason(Exception):
    """Why a product is left alone; never leaves this module."""


def recognise(
    graph: HighLevelGraph, wanted: frozenset[str] = frozenset()
) -> Iterator[DaskProduct | LeftAlone]:
    """All products of Dask's in a graph, in its order.

    Parameters
    ----------
    graph
        Not yet optimised: in a low-level graph no product can be told any more.
    wanted
        Names of keys that are asked for, so that their layers have to stay.
    """
    for name, layer in graph.layers.items():
        function = _function(layer)
        if function not in (_matmul, _tensordot):
            continue
        try:
            yield _product(graph, wanted, name, layer, function is _matmul)
        except _Reason as reason:
            yield LeftAlone(name, str(reason))


def _function(layer: Any) -> Any:
    task = getattr(layer, "task", None)
    return task.func if isinstance(layer, Blockwise) and type(task) is Task else None


def _product(
    graph: HighLevelGraph, wanted: frozenset[str], name: str, layer: Blockwise, matmul: bool
) -> DaskProduct:
    if not matmul and layer.task.kwargs["is_sparse"]:
        raise _Reason("its chunks are sparse")
    (left, left_index), (right, right_index) = _operands(layer)
    left_counts, right_counts = layer.numblocks[left], layer.numblocks[right]
    out = layer.output_indices
    if matmul:
        function: Callable[..., Any] = _matmul
        fits = (
            len(left_index) == len(right_index) >= 2
            and right_index[:-1] == (*left_index[:-2], left_index[-1])
            and out == (*left_index, right_index[-1])
        )
        if not fits:
            raise _Reason("its indices are not those of a product of matrices")
    else:
        function = functools.partial(_tensordot, **layer.task.kwargs)
        _check_tensordot(layer.task.kwargs, left_index, right_index, out)
    axis = len(left_index) - 1
    inner = right_counts[-2] if matmul else right_counts[0]
    if left_counts[-1] != inner:
        raise _Reason(f"{left_counts[-1]} inner chunks of one operand meet {inner} of the other")
    counts = tuple(layer.dims[index] for index in out)
    if matmul and inner == 1:
        output = _dropped_axis(graph, wanted, layer.output, counts, axis)
        layers: tuple[str, ...] = (layer.output,)
        dtype = None
    else:
        output, layers, dtype = _sum(graph, wanted, layer.output, counts, axis, matmul)
    annotations = [graph.layers[other].annotations or None for other in (*layers, output)]
    if any(other != annotations[0] for other in annotations):
        raise _Reason("its layers have different annotations")
    kind = "matmul" if matmul else "tensordot"
    return DaskProduct(
        kind, output, layers, left, right, left_counts, right_counts, axis, function, dtype
    )


def _operands(layer: Blockwise) -> list[tuple[str, tuple[Any, ...]]]:
    operands = [(name, index) for name, index in layer.indices if index is not None]
    refs = [arg.key for arg in layer.task.args if isinstance(arg, TaskRef)]
    in_order = refs == [f"__dask_blockwise__{number}" for number in range(2)]
    if len(layer.indices) != 2 or len(operands) != 2 or not in_order:
        raise _Reason("it does not have two arrays as operands")
    if layer.io_deps or layer.new_axes or layer.concatenate:
        raise _Reason("its operands are made, or joined, inside the layer")
    return operands


def _check_tensordot(
    kwargs: Mapping[str, Any], left: tuple[Any, ...], right: tuple[Any, ...], out: tuple[Any, ...]
) -> None:
    if len(left) > 2 or len(right) > 2:
        raise _Reason(f"it is a product of {len(left)} and {len(right)} dimensions, not of two")
    axes = tuple(
        tuple(axis % len(index) for axis in own)
        for own, index in zip(kwargs["axes"], (left, right), strict=True)
    )
    if axes != ((len(left) - 1,), (0,)):
        raise _Reason(f"it contracts axes {axes}, not the last one with the first one")
    if out != (*left, *right[1:]) or right[0] != left[-1]:
        raise _Reason("its indices are not those of a product")
    if len(left) == len(right) == 1:
        raise _Reason("it has one output chunk, so there is nothing to code")


def _next(graph: HighLevelGraph, wanted: frozenset[str], name: str) -> str:
    """The only layer that reads this one."""
    readers = graph.dependents[name]
    if name in wanted:
        raise _Reason("an intermediate of it is wanted")
    if len(readers) != 1:
        raise _Reason(f"{len(readers)} layers read an intermediate of it, not one")
    return str(next(iter(readers)))


def _dropped_axis(
    graph: HighLevelGraph, wanted: frozenset[str], name: str, counts: Counts, axis: int
) -> str:
    """The layer that takes the axis of length one away."""
    output = _next(graph, wanted, name)
    tasks = dict(graph.layers[output])
    index = tuple(0 if i == axis else slice(None) for i in range(len(counts)))
    for place in np.ndindex(*counts):
        task = tasks.pop((output, *place[:axis], *place[axis + 1 :]), None)
        fits = (
            type(task) is Task
            and task.func is chunk.getitem
            and [getattr(arg, "key", arg) for arg in task.args] == [(name, *place), index]
        )
        if not fits:
            raise _Reason("what follows it is no plain removal of the contracted axis")
    if tasks:
        raise _Reason("what follows it does more than to remove the contracted axis")
    return output


def _sum(
    graph: HighLevelGraph,
    wanted: frozenset[str],
    name: str,
    counts: Counts,
    axis: int,
    matmul: bool,
) -> tuple[str, tuple[str, ...], np.dtype[Any]]:
    """Output name, layers before it, and dtype of the sum over an axis."""
    layers = [name]
    first = _next(graph, wanted, name)
    layer = graph.layers[first]
    function = _function(layer)
    task = getattr(layer, "task", None)
    add = _chunk_sum if matmul else chunk.sum
    fits = (
        isinstance(function, functools.partial)
        and function.func is add
        and function.keywords.keys() == {"dtype"}
        and task.kwargs == {"axis": (axis,), "keepdims": True}
        and layer.indices == ((name, layer.output_indices),)
    )
    if not fits:
        raise _Reason("what follows it is not Dask's sum over the contracted axis")
    dtype = np.dtype(function.keywords["dtype"])
    layers.append(first)
    source, extent = layer.output, counts[axis]
    free = counts[:axis] + counts[axis + 1 :]
    while True:
        level = _next(graph, wanted, source)
        tasks = dict(graph.layers[level])
        last = len(next(iter(tasks))) == len(counts)
        call = _call(add, dtype, axis, keepdims=not last)
        extent = _check_level(tasks, level, source, free, extent, axis, call, last)
        if last:
            return level, tuple(layers), dtype
        layers.append(level)
        source = level


def _call(
    add: Callable[..., Any], dtype: np.dtype[Any], axis: int, keepdims: bool
) -> Callable[[Any], bool]:
    """A test whether a function is Dask's sum of a list of chunks."""
    keywords = {"dtype": dtype, "axis": (axis,), "keepdims": keepdims}
    seen: dict[int, bool] = {}

    def plain(function: Any) -> bool:
        return (
            isinstance(function, functools.partial)
            and function.func is add
            and not function.args
            and function.keywords == keywords
        )

    def joined(function: Any) -> bool:
        first, funcs = getattr(function, "first", None), getattr(function, "funcs", ())
        return (
            isinstance(first, functools.partial)
            and first.func is _concatenate2
            and first.keywords == {"axes": [axis]}
            and len(funcs) == 1
            and plain(funcs[0])
        )

    def test(function: Any) -> bool:
        if id(function) not in seen:
            seen[id(function)] = plain(function) if add is _chunk_sum else joined(function)
        return seen[id(function)]

    return test


def _check_level(
    tasks: Mapping[Any, Any],
    level: str,
    source: str,
    free: Counts,
    extent: int,
    axis: int,
    call: Callable[[Any], bool],
    last: bool,
) -> int:
    """Check one level of the tree of sums; the length of the axis after it."""
    length = 1 if last else len(tasks) // max(1, int(np.prod(free)))
    read = 0
    for place in np.ndindex(*free):
        before, after = place[:axis], place[axis:]
        start = 0
        for position in range(length):
            key = (level, *place) if last else (level, *before, position, *after)
            task = tasks.get(key)
            fits = (
                type(task) is tuple and len(task) == 2 and call(task[0]) and type(task[1]) is list
            )
            if not fits:
                raise _Reason("its sum is not as Dask writes it")
            summands = task[1]
            end = start + len(summands)
            if summands != [(source, *before, k, *after) for k in range(start, end)]:
                raise _Reason("its sum adds other chunks than those of the contracted axis")
            start = end
            read += 1
        if start != extent:
            raise _Reason(f"its sum adds {start} of {extent} chunks of the contracted axis")
    if read != len(tasks):
        raise _Reason("its sum makes other chunks than those of the output")
    return length
