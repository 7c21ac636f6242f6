"""Paired coefficients: complex arithmetic on the halves of real blocks, done on real arrays."""

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from dask_coded.errors import BlockShapeError, UnsupportedDtypeError, WeightsError
from dask_coded.fields import PAIRED, REAL
from dask_coded.kernels import combine

Array = np.ndarray[Any, Any]


def as_complex(block: Array) -> Array:
    """What the two halves of a block stand for."""
    upper, lower = np.split(block.astype(np.float64), 2)
    return upper + 1j * lower


def made_blocks(
    count: int, shape: tuple[int, ...], dtype: str = "f8", seed: int = 0
) -> list[Array]:
    stream = np.random.default_rng(seed)
    return [stream.standard_normal(shape).astype(dtype) for _ in range(count)]


WEIGHTS = np.array([[1, 2j, -0.5 + 1j], [0, 1, 0], [1j, 0, 3]])


@given(
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=4),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 99),
)
def test_halves_follow_complex_arithmetic(
    shape: tuple[int, ...], rows: int, columns: int, seed: int
) -> None:
    stream = np.random.default_rng(seed)
    weights = stream.standard_normal((rows, columns, 2)) @ [1, 1j]
    blocks = made_blocks(columns, (2 * shape[0], *shape[1:]), seed=seed)
    found = combine(weights, blocks, field=PAIRED)
    expected = np.tensordot(weights, np.stack([as_complex(block) for block in blocks]), 1)
    np.testing.assert_allclose([as_complex(out) for out in found], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f8"])
def test_outputs_have_the_dtype_of_the_blocks(dtype: str) -> None:
    blocks = made_blocks(3, (6, 5), dtype)
    found = combine(WEIGHTS, blocks, field=PAIRED)
    assert {out.dtype for out in found} == {np.dtype(dtype).newbyteorder("=")}
    expected = np.tensordot(WEIGHTS, np.stack([as_complex(block) for block in blocks]), 1)
    tolerance = 8 * float(np.finfo(np.dtype(dtype)).eps)
    for out, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(as_complex(out), right, atol=8 * tolerance)


@pytest.mark.parametrize("order", ["C", "F", "strided", "broadcast"])
def test_any_memory_layout(order: str) -> None:
    plain = made_blocks(3, (6, 5))
    if order == "strided":
        blocks = [np.repeat(np.repeat(block, 2, 0), 3, 1)[::2, ::3] for block in plain]
    elif order == "broadcast":
        plain = [np.repeat(block[:, :1], 5, 1) for block in plain]
        blocks = [np.broadcast_to(block[:, :1], (6, 5)) for block in plain]
    else:
        blocks = [np.asarray(block, order=order) for block in plain]  # type: ignore[call-overload]
    for out, right in zip(
        combine(WEIGHTS, blocks, field=PAIRED), combine(WEIGHTS, plain, field=PAIRED), strict=True
    ):
        np.testing.assert_allclose(out, right, atol=1e-14)
        assert out.flags.writeable


def test_real_weights_are_those_of_the_real_field() -> None:
    """Nothing is cut in half: odd axes, integers and complex blocks pass as they do under REAL."""
    weights = [[1, 2, -1], [0, 1, 0]]
    for blocks in (
        made_blocks(3, (5, 2)),
        [np.arange(5) + shift for shift in range(3)],
        [np.full((), 1 + 2j) for _ in range(3)],
    ):
        found = combine(np.array(weights, dtype=complex), blocks, field=PAIRED)
        expected = combine(weights, blocks, field=REAL)
        for out, right in zip(found, expected, strict=True):
            assert out.dtype == right.dtype
            np.testing.assert_array_equal(out, right)


def test_a_single_one_copies_bit_for_bit() -> None:
    blocks = made_blocks(3, (4, 3))
    blocks[1][0, 0] = np.nan
    assert combine(WEIGHTS, blocks, field=PAIRED)[1].tobytes() == blocks[1].tobytes()


def test_writes_into_out() -> None:
    blocks = made_blocks(3, (4, 3))
    out = [np.full((4, 3), np.nan) for _ in range(3)]
    found = combine(WEIGHTS, blocks, field=PAIRED, out=out)
    assert all(array is own for array, own in zip(found, out, strict=True))
    np.testing.assert_array_equal(out, combine(WEIGHTS, blocks, field=PAIRED))


def test_whole_weights_keep_integers_exact() -> None:
    blocks = [np.array([1, 2, 3, 4]), np.array([10, 20, 30, 40])]
    (found,) = combine([[1, 2 + 1j]], blocks, field=PAIRED)
    np.testing.assert_array_equal(found, [1 + 20 - 30, 2 + 40 - 40, 3 + 60 + 10, 4 + 80 + 20])


def test_no_block_and_no_output_at_all() -> None:
    empty = np.zeros((0, 3))
    (found,) = combine([[1j]], [empty], field=PAIRED)
    assert found.shape == (0, 3)
    assert combine(np.zeros((0, 1), complex), [empty], field=PAIRED) == []


@pytest.mark.parametrize("shape", [(), (3,), (5, 2)])
def test_odd_first_axis_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BlockShapeError, match="Pad a row of zeros"):
        combine([[1j]], [np.zeros(shape)], field=PAIRED)


def test_complex_blocks_are_refused() -> None:
    with pytest.raises(UnsupportedDtypeError, match="field=COMPLEX"):
        combine([[1j]], [np.zeros(4, complex)], field=PAIRED)


def test_integers_with_fractional_weights_are_refused() -> None:
    with pytest.raises(UnsupportedDtypeError, match="whole weights"):
        combine([[0.5j]], [np.zeros(4, int)], field=PAIRED)


@pytest.mark.parametrize("shapes", [[(4, 3)], [(4, 3), (2, 3)]])
def test_out_that_does_not_fit_is_refused(shapes: list[tuple[int, ...]]) -> None:
    out = [np.zeros(shape) for shape in shapes]
    with pytest.raises(BlockShapeError, match=r"2 outputs of shape \(4, 3\)"):
        combine([[1j], [2j]], [np.zeros((4, 3))], field=PAIRED, out=out)


def test_out_that_overlaps_is_refused() -> None:
    block = np.zeros((4, 3))
    with pytest.raises(BlockShapeError, match="share memory"):
        combine([[1j]], [block], field=PAIRED, out=[block])


def test_weights_that_are_not_finite_are_refused() -> None:
    with pytest.raises(WeightsError, match="finite"):
        combine([[complex(0, np.inf)]], [np.zeros(4)], field=PAIRED)
