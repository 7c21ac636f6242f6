"""Sketches of products: what is right passes, and no single entry that is wrong does."""

from typing import Any

import numpy as np
import pytest

from dask_coded.errors import UnverifiableError
from dask_coded.graph import PiecewiseAdjoint, row_lengths, sketch_columns
from dask_coded.graph._sketches import Sketch, _sketch, disagrees

KINDS = ("normal", "positive", "constant", "sorted", "centered", "wide", "zero")
DTYPES = ("float16", "float32", "float64", "complex64", "complex128")


def drawn(kind: str, shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> Any:
    """Data that rounds in many ways."""
    values: Any = rng.normal(size=shape)
    if kind == "positive":
        values = rng.uniform(size=shape)
    elif kind == "constant":
        values = np.full(shape, rng.uniform(0.1, 1.0))
    elif kind == "sorted":
        values = np.sort(values, axis=0)
    elif kind == "centered":
        values = values - values.mean(axis=0)
    elif kind == "wide" and dtype != "float16":
        values = values * 10.0 ** rng.uniform(-8, 8, size=(shape[0],) + (1,) * (len(shape) - 1))
    elif kind == "zero":
        values = np.zeros(shape)
    if dtype == "float16":
        # As large as sums of products may become without overflow.
        values = values.clip(-1, 1) / np.sqrt(shape[0])
    if dtype.startswith("complex"):
        values = values + 1j * rng.normal(size=shape)
    return values.astype(dtype)


def product(a: Any, y: Any) -> Any:
    return PiecewiseAdjoint(lambda a, y: a.T @ y.conj())(a, y)


def sketch_of(a: Any) -> Sketch:
    return _sketch(a @ sketch_columns(a.shape[1], "f"), row_lengths(a, np.float64), a)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_right_results_pass(kind: str, dtype: str) -> None:
    for seed, rows in enumerate((1, 2, 7, 300, 4000)):
        rng = np.random.default_rng(seed)
        a = drawn(kind, (rows, 1 + 13 * seed), dtype, rng)
        for y in (drawn(kind, (rows,), dtype, rng), drawn("normal", (rows, 3), dtype, rng)):
            assert not disagrees(product(a, y), y, sketch_of(a), 0.0)


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_no_single_entry_that_is_wrong_passes(dtype: str) -> None:
    rng = np.random.default_rng(1)
    a, y = drawn("normal", (200, 40), dtype, rng), drawn("normal", (200, 3), dtype, rng)
    right, known = product(a, y), sketch_of(a)
    # Errors are noticed that are so large, relative to the lengths of the operands.
    least = 3000 * float(np.finfo(dtype).eps) * known.size * float(np.linalg.norm(y, axis=0).max())
    for entry in range(right.size):
        wrong = right.copy()
        wrong.reshape(-1)[entry] += (-1) ** entry * least
        assert disagrees(wrong, y, known, 0.0)


def test_errors_that_cancel_in_sums_do_not_in_sketches() -> None:
    rng = np.random.default_rng(2)
    a, y = rng.normal(size=(50, 40)), rng.normal(size=50)
    right, known = product(a, y), sketch_of(a)
    for _ in range(200):
        wrong = right.copy()
        first, second = rng.choice(40, 2, replace=False)
        wrong[first] += 1.0
        wrong[second] -= 1.0
        assert disagrees(wrong, y, known, 0.0)
        # Nor those of exchanged entries, or of a wrong sign.
        wrong = right.copy()
        wrong[[first, second]] = right[[second, first]]
        assert disagrees(wrong, y, known, 0.0)
    assert disagrees(-right, y, known, 0.0)
    assert disagrees(0 * right, y, known, 0.0)


@pytest.mark.parametrize("dtype", ["int64", "uint64", "int32", "uint8"])
def test_every_bit_of_an_integer_counts(dtype: str) -> None:
    """Sums wrap around, and still agree to the last bit."""
    rng = np.random.default_rng(3)
    info = np.iinfo(dtype)
    a = rng.integers(info.min, info.max, (20, 6), dtype=dtype, endpoint=True)
    y = rng.integers(info.min, info.max, (20, 2), dtype=dtype, endpoint=True)
    columns = sketch_columns(6, "u" if dtype == "uint64" else "i")
    known = Sketch(a.astype(columns.dtype) @ columns, 0.0)
    right = a.T @ y
    assert not disagrees(right, y, known, 0.0)
    for bit in range(info.bits):
        for entry in range(right.size):
            wrong = right.copy()
            flat = wrong.reshape(-1).view(f"u{info.bits // 8}")
            flat[entry] ^= flat.dtype.type(1 << bit)
            assert disagrees(wrong, y, known, 0.0)


def test_a_matrix_may_not_claim_to_be_long() -> None:
    """Lengths come from who holds the block; a sketch does not."""
    rng = np.random.default_rng(4)
    a = rng.normal(size=(50, 40))
    lengths = np.linalg.norm(a, axis=1)
    values = a @ sketch_columns(40, "f")
    assert _sketch(values, lengths, a).size == pytest.approx(np.linalg.norm(a))
    lengths[7] = 1e200
    assert _sketch(values, lengths, a).size < 1e4 * np.linalg.norm(a)


@pytest.mark.parametrize("scale", [1e-200, 1e-150, 1e150, 1e200])
def test_squares_beyond_range(scale: float) -> None:
    rng = np.random.default_rng(5)
    a, y = rng.normal(size=(30, 9)), rng.normal(size=(30, 2))
    for matrix, other in ((scale * a, y), (a, scale * y)):
        right, known = product(matrix, other), sketch_of(matrix)
        assert not disagrees(right, other, known, 0.0)
        right[4, 1] *= 1 + 1e-6
        assert disagrees(right, other, known, 0.0)


def test_nothing_to_compare_with() -> None:
    a, y = np.ones((5, 3)), np.ones(5)
    y[2] = np.nan
    with pytest.raises(UnverifiableError, match="NaN"):
        disagrees(np.ones(3), y, sketch_of(a), 0.0)
