"""Products are recognised by their structure: what only looks like one is left alone."""

import functools
import pickle
from collections.abc import Callable
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from dask_coded.graph import DaskProduct, LeftAlone, recognise

A = da.ones((8, 20), chunks=(2, 2))
B = da.ones((20, 6), chunks=(2, 3))


def found(array: da.Array, **options: Any) -> list[DaskProduct | LeftAlone]:
    return list(recognise(array.__dask_graph__(), **options))


@pytest.mark.parametrize(
    ("array", "kind", "shape"),
    [
        (A @ B, "matmul", ((), 4, 10, 2)),
        (A.rechunk((2, 20)) @ B.rechunk((20, 3)), "matmul", ((), 4, 1, 2)),
        (da.dot(A, B), "tensordot", ((), 4, 10, 2)),
        (da.tensordot(A, B, axes=1), "tensordot", ((), 4, 10, 2)),
        (da.tensordot(A, B, axes=(-1, -2)), "tensordot", ((), 4, 10, 2)),
        (da.dot(A, B[:, 0]), "tensordot", ((), 4, 10, None)),
        (da.dot(A[0], B), "tensordot", ((), None, 10, 2)),
        (A @ B[:, 0], "matmul", ((), 4, 10, 1)),
        (A[None] @ da.stack([B, B]), "matmul", ((2,), 4, 10, 2)),
    ],
)
def test_shapes(array: da.Array, kind: str, shape: tuple[Any, ...]) -> None:
    (product,) = found(array)
    assert isinstance(product, DaskProduct)
    assert product.kind == kind
    assert (product.batch, product.rows, product.inner, product.columns) == shape
    assert product.dtype in (None, np.dtype("f8"))
    assert (product.dtype is None) == (kind == "matmul" and product.inner == 1)


def test_the_output_is_the_layer_that_others_read() -> None:
    array = A @ B
    (product,) = found(array + 1)
    assert isinstance(product, DaskProduct)
    assert product.name == array.name
    assert product.left == A.name
    assert product.right == B.name


def test_the_same_after_travelling_to_the_scheduler() -> None:
    graph = (A @ B + 1).__dask_graph__()
    before = next(recognise(graph))
    after = next(recognise(pickle.loads(pickle.dumps(graph))))
    assert isinstance(after, DaskProduct)
    assert after == before


def test_any_width_of_the_tree_of_sums() -> None:
    for width in (2, 3, 4, 16):
        with dask.config.set(split_every=width):
            for array in (A @ B, da.dot(A, B)):
                (product,) = found(array)
                assert isinstance(product, DaskProduct)
                assert product.name == array.name


def test_keys_may_be_called_anything() -> None:
    """Nothing is concluded from names."""
    array = (A @ B).copy()
    names = {name: f"layer-{i}" for i, name in enumerate(array.__dask_graph__().layers)}
    pickled = pickle.dumps(array.__dask_graph__())
    for old, new in names.items():
        # Same lengths, so that the pickle stays one.
        new = new.ljust(len(old), "-")
        pickled = pickled.replace(old.encode(), new.encode())
    (product,) = recognise(pickle.loads(pickled))
    assert isinstance(product, DaskProduct)
    assert product.name.startswith("layer-")


def spoiled(array: da.Array, layer: str, change: Callable[[dict[Any, Any]], None]) -> da.Array:
    """A product with one materialised layer changed."""
    graph = array.__dask_graph__()
    (name,) = (name for name in graph.layers if name.startswith(layer))
    tasks = dict(graph.layers[name])
    change(tasks)
    layers = dict(graph.layers) | {name: MaterializedLayer(tasks)}
    return da.Array(
        HighLevelGraph(layers, graph.dependencies), array.name, array.chunks, meta=array._meta
    )


def swap(tasks: dict[Any, Any]) -> None:
    first, second, *_ = tasks
    tasks[first], tasks[second] = tasks[second], tasks[first]


def shorten(tasks: dict[Any, Any]) -> None:
    key = next(iter(tasks))
    tasks[key] = (tasks[key][0], tasks[key][1][:-1])


def other_function(tasks: dict[Any, Any]) -> None:
    key = next(iter(tasks))
    tasks[key] = (functools.partial(max), tasks[key][1])


def one_more(tasks: dict[Any, Any]) -> None:
    name, *_ = next(iter(tasks))
    tasks[(name, 99, 99)] = next(iter(tasks.values()))


@pytest.mark.parametrize(
    ("array", "layer", "change", "reason"),
    [
        (A @ B, "_chunk_sum-aggregate", swap, "other chunks"),
        (A @ B, "_chunk_sum-aggregate", shorten, "adds"),
        (A @ B, "_chunk_sum-aggregate", other_function, "not as Dask writes it"),
        (A @ B, "_chunk_sum-aggregate", one_more, "other chunks than those of the output"),
        (A @ B, "_chunk_sum-partial", swap, "other chunks"),
        (A @ B, "_chunk_sum-partial", shorten, "other chunks"),
        (da.dot(A, B), "sum-aggregate", swap, "other chunks"),
        (da.dot(A, B), "sum-aggregate", other_function, "not as Dask writes it"),
        (A.rechunk((2, 20)) @ B.rechunk((20, 3)), "getitem", swap, "no plain removal"),
        (A.rechunk((2, 20)) @ B.rechunk((20, 3)), "getitem", one_more, "does more"),
    ],
)
def test_near_misses(
    array: da.Array, layer: str, change: Callable[[dict[Any, Any]], None], reason: str
) -> None:
    (left,) = found(spoiled(array, layer, change))
    assert isinstance(left, LeftAlone)
    assert reason in left.reason


def test_an_intermediate_that_is_read_twice_stays() -> None:
    array = A @ B
    graph = array.__dask_graph__()
    (name,) = (name for name in graph.layers if name.startswith("matmul"))
    between = da.Array(graph, name, ((2,) * 4, (1,) * 10, (3, 3)), dtype=float)
    (left,) = found(between.sum() + array.sum())
    assert isinstance(left, LeftAlone)
    assert "2 layers read" in left.reason
    (left,) = found(array, wanted=frozenset({name}))
    assert isinstance(left, LeftAlone)
    assert "wanted" in left.reason


def test_sparse_chunks_are_left_alone() -> None:
    scipy_sparse = pytest.importorskip("scipy.sparse")
    sparse = A.map_blocks(scipy_sparse.csr_matrix, meta=scipy_sparse.csr_matrix((0, 0)))
    (left,) = found(da.dot(sparse, B))
    assert isinstance(left, LeftAlone)
    assert "sparse" in left.reason


def test_no_product_no_finding() -> None:
    assert found((A + 1).T.sum(axis=0)) == []
