"""Sums are right to the promised precision, integers wrap, and what is not read does not matter."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_coded.fields import COMPLEX
from dask_coded.kernels import combine
from dask_coded.kernels._support import plan_rows

REAL_DTYPES = [np.float16, np.float32, np.float64]
COMPLEX_DTYPES = [np.complex64, np.complex128]


def normal(stream: np.random.Generator, dtype: Any, *shape: int) -> Any:
    values = stream.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * stream.standard_normal(shape)
    return values.astype(dtype)


def exact_sums(weights: Any, blocks: Any) -> tuple[Any, Any]:
    """Sums in long doubles, and ``sum |w| |x|``, against which rounding is measured."""
    wide = np.asarray(blocks).astype(np.clongdouble)
    matrix = np.asarray(weights).astype(np.clongdouble)
    sums = np.tensordot(matrix, wide, axes=1)
    return sums, np.tensordot(np.abs(matrix), np.abs(wide), axes=1)


# --- dtypes and precision ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", REAL_DTYPES + COMPLEX_DTYPES)
@pytest.mark.parametrize("blocks", [1, 5, 16, 40, 200])
def test_error_is_a_few_roundings(dtype: Any, blocks: int) -> None:
    stream = np.random.default_rng(blocks)
    data = [normal(stream, dtype, 31, 17) for _ in range(blocks)]
    weights = stream.standard_normal((4, blocks))
    sums, sizes = exact_sums(weights, data)
    found = np.stack(combine(weights, data))
    assert found.dtype == dtype
    assert (np.abs(found - sums) <= 16 * np.finfo(dtype).eps * sizes).all()


@pytest.mark.parametrize("dtype", REAL_DTYPES + COMPLEX_DTYPES)
def test_complex_weights(dtype: Any) -> None:
    stream = np.random.default_rng(1)
    data = [normal(stream, dtype, 9, 7) for _ in range(6)]
    for weights in (normal(stream, complex, 3, 6), stream.standard_normal((3, 6))):
        found = np.stack(combine(weights, data, field=COMPLEX))
        assert found.dtype == np.result_type(dtype, np.complex64)
        sums, sizes = exact_sums(weights, data)
        assert (np.abs(found - sums) <= 16 * np.finfo(found.dtype).eps * sizes).all()


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_weights_that_amplify_lose_nothing(dtype: Any) -> None:
    """Large weights that cancel: exact data gives results rounded once, and no more."""
    stream = np.random.default_rng(2)
    weights = 1e5 * stream.standard_normal((3, 16))
    weights[:, -1] = -weights[:, :-1].sum(axis=1)
    common = normal(stream, dtype, 500)
    sums, sizes = exact_sums(weights, [common] * 16)
    found = np.stack(combine(weights, [common] * 16))
    # float64 weights sum to zero only to their own rounding; float32 ones to 2**29 times that.
    assert (np.abs(found - sums) <= 32 * np.finfo(np.float64).eps * sizes).all()


def test_long_sums_of_float32_do_not_drift() -> None:
    data = [np.full(10, 0.1, np.float32)] * 3000
    (found,) = combine(np.ones((1, 3000)), data)
    assert (found == np.float32(3000 * float(np.float32(0.1)))).all()


@pytest.mark.parametrize("factor", [1e-60, 1e-40, 1e40, 1e60])
def test_weights_beyond_the_range_of_float32(factor: float) -> None:
    data = [np.array([1e-20, 1.0, 1e20], np.float32) for _ in range(2)]
    (found,) = combine([[factor, 2 * factor]], [d * np.float32(min(1, 1e8 / factor)) for d in data])
    (wide,) = combine(
        [[factor, 2 * factor]], [(d * np.float32(min(1, 1e8 / factor))).astype(float) for d in data]
    )
    with np.errstate(over="ignore", under="ignore"):
        assert (found == wide.astype(np.float32)).all()


def test_float16_is_summed_in_float32() -> None:
    # Adding ones one by one in float16 stops at 2048.
    data = [np.ones(3, np.float16)] * 4096
    (found,) = combine(np.ones((1, 4096)), data)
    assert found.dtype == np.float16
    assert (found == 4096).all()
    stream = np.random.default_rng(3)
    data = [normal(stream, np.float16, 300) for _ in range(8)]
    weights = stream.standard_normal((2, 8))
    out = [np.empty(300, np.float32) for _ in range(2)]
    combine(weights, data, out=out)
    sums, sizes = exact_sums(weights, data)
    assert (np.abs(np.stack(out) - sums) <= 8 * np.finfo(np.float32).eps * sizes).all()
    half = combine(weights, data)
    assert (np.stack(half) == np.stack(out).astype(np.float16)).all()


def test_mixed_dtypes_are_promoted() -> None:
    single, double = np.ones(3, np.float32), np.ones(3)
    assert combine([[1, 1]], [single, double])[0].dtype == np.float64
    assert combine([[0.5, 1]], [np.ones(3, np.int16), single])[0].dtype == np.float32
    assert combine([[1, 1]], [np.ones(3, np.int8), np.ones(3, np.int32)])[0].dtype == np.int32
    assert combine([[1, 1]], [single, np.ones(3, np.complex64)])[0].dtype == np.complex64


# --- integers ---------------------------------------------------------------------------------


def extremes(stream: np.random.Generator, dtype: Any, size: int) -> Any:
    if np.dtype(dtype) == bool:
        return stream.integers(0, 2, size).astype(bool)
    limits = np.iinfo(dtype)
    values = stream.integers(limits.min, limits.max, size, dtype, endpoint=True)
    edges = np.array([limits.min, limits.max, 0, 1], dtype)
    return np.where(stream.random(size) < 0.3, stream.choice(edges, size), values)


@pytest.mark.parametrize("dtype", ["?", *np.typecodes["AllInteger"]])
@pytest.mark.parametrize("reach", [1, 5, 300, 2**22, 2**50, 2**80])
def test_integers_wrap(dtype: str, reach: int) -> None:
    bits = 1 if dtype == "?" else 8 * np.dtype(dtype).itemsize
    stream = np.random.default_rng(bits)
    data = [extremes(stream, np.dtype(dtype), 200) for _ in range(7)]
    # Large whole weights are what float64 makes of them.
    weights = np.rint(stream.uniform(-1, 1, (3, 7)) * reach)
    outputs = combine(weights, data)
    for output, row in zip(outputs, weights, strict=True):
        assert output.dtype == np.dtype(dtype)
        wide = sum(int(w) * block.astype(object) for w, block in zip(row, data, strict=True))
        assert ((output.astype(object) - wide) % 2**bits == 0).all()


@pytest.mark.parametrize("dtype", ["i1", "u2", "i4", "i8", "u8"])
def test_integer_sums_are_those_of_numpy(dtype: str) -> None:
    stream = np.random.default_rng(4)
    data = [extremes(stream, dtype, 100) for _ in range(5)]
    weights = stream.integers(-9, 9, (3, 5))
    expected = weights.astype(dtype) @ np.stack(data)
    assert (np.stack(combine(weights, data)) == expected).all()


@given(st.sampled_from("?bBhHiIqQ"), st.integers(1, 6), st.data())
def test_all_ones_parity_is_inverted_exactly(dtype: str, count: int, data: st.DataObject) -> None:
    stream = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    blocks = [extremes(stream, np.dtype(dtype), 20) for _ in range(count)]
    (parity,) = combine(np.ones((1, count)), blocks)
    lost = data.draw(st.integers(0, count - 1))
    kept = [block for index, block in enumerate(blocks) if index != lost]
    (found,) = combine([[1] + [-1] * len(kept)], [parity, *kept])
    assert found.dtype == np.dtype(dtype)
    assert (found == blocks[lost]).all()


# --- what is not read -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", REAL_DTYPES + COMPLEX_DTYPES)
def test_a_single_one_copies_bit_for_bit(dtype: Any) -> None:
    stream = np.random.default_rng(5)
    bits = stream.integers(0, 256, (2, 64 * np.dtype(dtype).itemsize), np.uint8)
    odd, other = (row.view(dtype) for row in bits)
    # Not-a-number of every payload, negative zeros, denormals.
    (found,) = combine([[1, 0]], [odd, other])
    assert found.tobytes() == odd.tobytes()


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", REAL_DTYPES + COMPLEX_DTYPES)
@pytest.mark.parametrize("amplify", [1, 1e4])
def test_zero_weights_do_not_leak(dtype: Any, poison: float, amplify: float) -> None:
    """Rows whose supports overlap are computed together, yet each reads only its own blocks."""
    stream = np.random.default_rng(6)
    count, length = 8, 20_000
    data = [normal(stream, dtype, length) for _ in range(count)]
    weights = stream.uniform(0.5, 1, (6, count)) * np.where(dtype == np.float16, 1, amplify)
    for row in range(4):
        weights[row, row] = 0
    assert not all(group.uniform for group in plan_rows(weights).groups)
    clean = combine(weights, data)
    dirty = [block.copy() for block in data]
    dirty[2][12_345] = poison
    found = combine(weights, dirty)
    for row in range(6):
        wrong = ~np.isfinite(found[row])
        assert wrong.sum() == (0 if row == 2 else 1)
        _, sizes = exact_sums(weights[row : row + 1], data)
        error = np.abs(found[row] - clean[row])[~wrong]
        assert (error <= 16 * np.finfo(dtype).eps * sizes[0][~wrong]).all()


def test_blocks_without_weight_are_not_read() -> None:
    poison = np.full(5, np.nan)
    first, second = combine([[2, 0, 1], [0, 0, 0]], [np.ones(5), poison, np.ones(5)])
    assert (first == 3).all()
    assert (second == 0).all()


def test_not_a_number_and_infinity_pass_through_quietly() -> None:
    block = np.array([np.nan, np.inf, -np.inf, 1.0])
    (found,) = combine([[2.0, 1.0]], [block, block[::-1]])
    # Infinities of both signs meet in the middle.
    assert np.isnan(found).all()
    (found,) = combine([[2.0, 1.0]], [block, np.ones(4)])
    assert np.isnan(found[0])
    assert found[1:].tolist() == [np.inf, -np.inf, 3.0]


# --- which rows go together -------------------------------------------------------------------


@given(st.integers(1, 7), st.integers(1, 9), st.integers(0, 2**32))
def test_plan_computes_every_row_once(rows: int, columns: int, seed: int) -> None:
    stream = np.random.default_rng(seed)
    weights = stream.integers(0, 3, (rows, columns)) * (stream.random((rows, columns)) < 0.4)
    plan = plan_rows(weights.astype(float))
    copied = [row for row, _ in plan.copies]
    grouped = [row for group in plan.groups for row in group.rows]
    assert sorted(plan.zeros + copied + grouped) == list(range(rows))
    for row, column in plan.copies:
        assert weights[row].tolist() == np.eye(columns)[column].tolist()
    for row in plan.zeros:
        assert not weights[row].any()
    for group in plan.groups:
        part = weights[group.rows]
        assert np.flatnonzero(part.any(axis=0)).tolist() == group.columns
        assert group.uniform == part[:, group.columns].all()


def test_plan_keeps_strangers_apart() -> None:
    """A block-diagonal matrix costs what its blocks cost."""
    weights = np.kron(np.eye(5), np.ones((3, 4)))
    plan = plan_rows(weights)
    assert sorted(group.columns for group in plan.groups) == [
        list(range(start, start + 4)) for start in range(0, 20, 4)
    ]
    assert all(group.uniform for group in plan.groups)


def test_plan_reads_common_blocks_once() -> None:
    weights = np.ones((6, 16)) - np.eye(6, 16)
    (group,) = plan_rows(weights).groups
    assert group.columns == list(range(16))
    assert not group.uniform
