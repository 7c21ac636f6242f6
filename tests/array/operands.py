"""Operands of products, of all kinds of shapes, chunks and dtypes."""

import itertools

import dask.array as da
import numpy as np
from hypothesis import strategies as st

__all__ = ["DTYPES", "products"]

DTYPES = ["float32", "float64", "complex64", "complex128", "int32", "int64", "uint8"]


def chunked(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Any chunks, uneven ones included."""
    chunks = []
    for length in shape:
        cuts = draw(st.sets(st.integers(1, length - 1), max_size=4)) if length > 1 else set()
        edges = [0, *sorted(cuts), length]
        chunks.append(tuple(b - a for a, b in itertools.pairwise(edges)))
    return tuple(chunks)


@st.composite
def products(draw: st.DrawFn, dtypes: list[str] = DTYPES) -> tuple[da.Array, da.Array]:
    """Operands of a product: vectors, matrices, and stacks of them that broadcast."""
    rows, inner, columns = (draw(st.integers(1, 7)) for _ in range(3))
    left: tuple[int, ...] = draw(st.sampled_from([(inner,), (rows, inner)]))
    right: tuple[int, ...] = draw(st.sampled_from([(inner,), (inner, columns)]))
    stack = draw(st.sampled_from([(), (2,), (3, 2)]))
    if len(left) == 2:
        left = (*draw(broadcastable(stack)), *left)
    if len(right) == 2:
        right = (*draw(broadcastable(stack)), *right)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    arrays = []
    for shape in (left, right):
        dtype = np.dtype(draw(st.sampled_from(dtypes)))
        # No product exceeds what a byte holds: Dask would wrap it in each chunk, and only then sum.
        values = rng.integers(0, 6, shape) if dtype.kind == "u" else rng.integers(-9, 9, shape)
        arrays.append(da.from_array(values.astype(dtype), chunks=chunked(draw, shape)))
    return arrays[0], arrays[1]


def broadcastable(stack: tuple[int, ...]) -> st.SearchStrategy[tuple[int, ...]]:
    ones = (1,) * len(stack)
    return st.sampled_from([stack, ones, stack[1:], ()])
