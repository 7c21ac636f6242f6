"""Rounding, its stated bound, and the range: against Python's integers and fractions."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dask_coded.errors import FieldRangeError, ParameterError, UnsupportedDtypeError
from dask_coded.fields import PrimeField
from dask_coded.private._fixed_point import result_dtype, scaled_operands

M31, M61 = PrimeField(2**31 - 1), PrimeField(2**61 - 1)


def product(a: Any, b: Any, bits: Any = None, field: PrimeField = M61) -> np.ndarray:
    scaled = scaled_operands(a, b, bits, field)
    return scaled.numbers(field.matmul(scaled.left, scaled.right))


def exact(a: np.ndarray, b: np.ndarray) -> list[list[Fraction]]:
    rows = [[Fraction(x.item()) for x in row] for row in a]
    columns = [[Fraction(x.item()) for x in column] for column in b.T]
    return [
        [sum((x * y for x, y in zip(row, column, strict=True)), Fraction(0)) for column in columns]
        for row in rows
    ]


integers = hnp.arrays(np.int64, (3, 4), elements=st.integers(-(2**28), 2**28))
floats = hnp.arrays(
    np.float64, (3, 4), elements=st.floats(-1e6, 1e6, allow_subnormal=False, width=64)
)


@given(integers, integers)
def test_integers_are_exact(a: np.ndarray, b: np.ndarray) -> None:
    expected = a.astype(object) @ b.T.astype(object)
    assert (product(a, b.T) == expected).all()


@given(floats, floats, st.integers(0, 12), st.integers(0, 12))
def test_error_is_within_the_stated_bound(a: np.ndarray, b: np.ndarray, f: int, g: int) -> None:
    b = b.T
    try:
        found = product(a, b, (f, g))
    except FieldRangeError:
        assume(False)
    largest = [Fraction(float(np.abs(x).max())) for x in (a, b)]
    bound = a.shape[1] * (
        largest[1] / 2 ** (f + 1) + largest[0] / 2 ** (g + 1) + Fraction(1, 2 ** (f + g + 2))
    )
    for row, expected in zip(found, exact(a, b), strict=True):
        for entry, true in zip(row, expected, strict=True):
            rounding = abs(true) * Fraction(1, 2**52)
            assert abs(Fraction(entry.item()) - true) <= bound + rounding


@given(
    hnp.arrays(np.float64, (2, 3), elements=st.floats(-1e30, 1e30)),
    hnp.arrays(np.float64, (3, 2), elements=st.floats(-1e-30, 1e30)),
    st.sampled_from([M31, M61]),
)
def test_chosen_bits_always_fit(a: np.ndarray, b: np.ndarray, field: PrimeField) -> None:
    found = product(a, b, None, field)
    digits = 2.0**-12 if field == M31 else 2.0**-26
    assert np.abs(found - a @ b).max() <= digits * 3 * np.abs(a).max() * np.abs(b).max()


@given(
    hnp.arrays(np.int64, (2, 3), elements=st.integers(-1000, 1000)),
    hnp.arrays(np.float64, (3, 2), elements=st.floats(-1e3, 1e3)),
    st.sampled_from([M31, M61]),
)
def test_chosen_bits_fit_beside_integers(a: np.ndarray, b: np.ndarray, field: PrimeField) -> None:
    assert product(a, b, None, field).dtype == np.float64
    assert product(b.T, a.T, None, field).dtype == np.float64


@pytest.mark.parametrize(
    ("a", "b", "bits", "field", "said"),
    [
        (np.full((1, 4), 2**14), np.full((4, 1), 2**14), None, M31, "use the larger prime"),
        (np.full((1, 4), 2**30), np.full((4, 1), 2**30), None, M61, "high and low digits"),
        (np.full((1, 4), 3.0), np.full((4, 1), 3.0), 14, M31, "4 fraction bits fewer in all"),
        (np.full((1, 4), 3.0), np.full((4, 1), 3.0), (40, 20), M61, "40 and 20 fraction bits"),
        (np.full((1, 4), 1e300), np.full((4, 1), 3.0), 4, M61, "scale the data down"),
        (np.array([[np.nan]]), np.ones((1, 1)), 4, M61, "no NaN"),
        (np.array([[np.inf]]), np.ones((1, 1)), None, M61, "no infinity"),
        (np.array([[2**63]], dtype=np.uint64), np.ones((1, 1), int), None, M61, "2\\*\\*63.0"),
    ],
)
def test_range_is_checked_before_anything(
    a: np.ndarray, b: np.ndarray, bits: Any, field: PrimeField, said: str
) -> None:
    with pytest.raises(FieldRangeError, match=said):
        scaled_operands(a, b, bits, field)


def test_remedy_is_enough() -> None:
    """As many fraction bits fewer as the message says."""
    a, b = np.full((1, 4), 3.0), np.full((4, 1), 3.0)
    with pytest.raises(FieldRangeError, match="use 4 fraction bits fewer"):
        scaled_operands(a, b, (14, 14), M31)
    assert product(a, b, (12, 12), M31).item() == 36.0


def test_sums_decide_and_not_the_largest_entry() -> None:
    """One large entry in a row of small ones leaves room."""
    a = np.ones((1, 1000), int)
    a[0, 0] = 2**28
    assert product(a, np.ones((1000, 1), int), None, M31).item() == 2**28 + 999


def test_edges() -> None:
    assert product(np.zeros((2, 3)), np.zeros((3, 2))).tolist() == [[0, 0], [0, 0]]
    assert product(np.ones((2, 3), bool), np.ones((3, 1), np.uint8)).tolist() == [[3], [3]]
    small = np.full((1, 1), 1e-300)
    assert product(small, np.full((1, 1), 1e300)).item() == pytest.approx(1.0, rel=1e-7)


@pytest.mark.parametrize("bits", [1.5, (1, 2, 3), (1, "2"), True, 2000, [3, 4]])
def test_bits_that_are_none(bits: Any) -> None:
    with pytest.raises(ParameterError, match="give an int, or one for each"):
        scaled_operands(np.ones((1, 1)), np.ones((1, 1)), bits, M61)


@pytest.mark.parametrize("dtype", [complex, object, np.longdouble, "U3"])
def test_dtypes_that_no_field_holds(dtype: Any) -> None:
    with pytest.raises(UnsupportedDtypeError, match="real floats of up to 64 bits"):
        result_dtype(dtype, float)
