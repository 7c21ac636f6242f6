"""Any memory layout gives the same sums, and tiles cover every element once."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_coded.fields import PrimeField
from dask_coded.kernels import combine
from dask_coded.kernels._layout import coalesced, tiles


@st.composite
def arranged(draw: st.DrawFn, shape: tuple[int, ...], dtype: Any) -> Any:
    """An array of small whole numbers in some memory layout."""
    stream = np.random.default_rng(draw(st.integers(0, 99)))
    axes = draw(st.permutations(range(len(shape))))
    steps = [draw(st.sampled_from([1, 2, -1, -3])) for _ in shape]
    repeated = [draw(st.integers(0, 5)) == 0 for _ in shape]
    spread = [1 if r else n * abs(s) for n, s, r in zip(shape, steps, repeated, strict=True)]
    memory = stream.integers(-8, 9, [spread[axis] for axis in axes]).astype(dtype)
    array = memory.transpose(np.argsort(axes).tolist() if axes else ())
    array = array[tuple(slice(None, None, step) for step in steps)]
    return np.broadcast_to(array, shape)


@given(st.data())
def test_every_layout(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(0, 7) | st.just(1), max_size=4)))
    dtype = data.draw(st.sampled_from(["f4", ">f8", "c16", "f2", "i2", ">i8"]))
    count = data.draw(st.integers(1, 4))
    blocks = [data.draw(arranged(shape, dtype)) for _ in range(count)]
    weights = np.random.default_rng(count).integers(-4, 5, (3, count))
    expected = np.tensordot(weights, np.stack(blocks).astype("c16"), axes=1)
    outputs = combine(weights, blocks)
    for output, wanted in zip(outputs, expected, strict=True):
        assert output.dtype == np.dtype(dtype).newbyteorder("=")
        assert output.shape == shape
        assert (output == wanted).all()


@given(st.data())
def test_every_layout_of_prime_elements(data: st.DataObject) -> None:
    field = PrimeField(257)
    shape = tuple(data.draw(st.lists(st.integers(0, 5), max_size=3)))
    blocks = [data.draw(arranged(shape, "i4")) + 8 for _ in range(3)]
    weights = np.random.default_rng(1).integers(0, 257, (2, 3))
    expected = np.tensordot(weights, np.stack(blocks).astype("i8"), axes=1) % 257
    for output, wanted in zip(combine(weights, blocks, field=field), expected, strict=True):
        assert output.dtype == np.int64
        assert (output == wanted).all()


@pytest.mark.parametrize("length", [100_003, 8191, 8192, 8193])
@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "i4", "i8"])
def test_more_than_one_tile(length: int, dtype: str) -> None:
    stream = np.random.default_rng(length)
    blocks = [stream.integers(-50, 50, length).astype(dtype) for _ in range(5)]
    # A row that is a copy, one that is nothing, rows with a common and with separate supports.
    weights = [[1, 2, 3, 0, 0], [0, 0, 1, 0, 0], [3, 2, 1, 0, 0], [0] * 5, [0, 0, 0, 2, 1]]
    expected = np.tensordot(np.array(weights), np.stack(blocks).astype("c16"), axes=1)
    assert (np.stack(combine(weights, blocks)) == expected).all()
    square = [block[: length // 8 * 8].reshape(-1, 8)[:, ::3] for block in blocks]
    expected = expected[:, : length // 8 * 8].reshape(5, -1, 8)[:, :, ::3]
    assert (np.stack(combine(weights, square)) == expected).all()


def test_fortran_blocks_give_fortran_outputs() -> None:
    blocks = [np.asfortranarray(np.ones((300, 200))) for _ in range(2)]
    outputs = combine(np.ones((2, 2)), blocks)
    assert all(output.flags.f_contiguous for output in outputs)
    (output,) = combine(np.ones((1, 2)), [blocks[0], np.ones((300, 200))])
    assert output.flags.c_contiguous


def test_blocks_are_left_alone() -> None:
    blocks = [np.arange(6.0), np.ones(6)]
    for block in blocks:
        block.flags.writeable = False
    combine([[2, 3]], blocks)
    assert (blocks[0] == np.arange(6)).all()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(1, 50))
def test_tiles_cover_everything_once(shape: list[int], size: int) -> None:
    seen = np.zeros(shape, int)
    for index, tile_shape in tiles(tuple(shape), size):
        assert seen[index].shape == tile_shape
        assert seen[index].size <= max(size, 1)
        seen[index] += 1
    assert (seen == 1).all()


def test_contiguous_arrays_become_lines() -> None:
    c = [np.zeros((4, 5, 6)), np.zeros((4, 5, 6))]
    assert [view.shape for view in coalesced(c)] == [(120,)] * 2
    f = [np.zeros((4, 5, 6), order="F")] * 2
    assert [view.shape for view in coalesced(f)] == [(120,)] * 2
    rows = [np.zeros((8, 5, 6))[::2], np.zeros((4, 5, 6))]
    assert [view.shape for view in coalesced(rows)] == [(4, 30)] * 2
    assert [view.shape for view in coalesced([np.zeros(()), np.zeros(())])] == [(1,)] * 2
    turned = [np.zeros((6, 8, 2)).transpose(2, 0, 1)[:, :, ::2], np.zeros((2, 6, 4))]
    for view, array in zip(coalesced(turned), turned, strict=True):
        assert np.shares_memory(view, array)
        assert view.size == array.size
