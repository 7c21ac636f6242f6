"""Coefficients of structured codes against sums and products written out."""

from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest

from dask_coded.codes._points import cardinal_ladder, ladder, rowwise_kron, spread_first
from dask_coded.fields import COMPLEX, PAIRED, REAL, Field, PrimeField

F101 = PrimeField(101)
EPS = float(np.finfo(float).eps)


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("size", [1, 2, 5, 6])
def test_real_ladder(size: int, stride: int) -> None:
    """A constant and whole frequencies if size is odd, half-integers otherwise."""
    angles = 2 * np.pi * np.arange(13) / 13
    columns = [np.ones(13)] * (size % 2)
    for half in range(1 + size % 2, size, 2):
        for wave in (np.cos, np.sin):
            columns.append(np.sqrt(2) * wave(stride * half / 2 * angles))
    found = ladder(REAL, 13, size, stride=stride)
    np.testing.assert_allclose(found, np.stack(columns, axis=1), atol=1e-13)


def test_complex_ladder() -> None:
    angles = 2 * np.pi * np.arange(9) / 9
    expected = np.exp(2j * np.outer(angles, np.arange(4)))
    np.testing.assert_allclose(ladder(COMPLEX, 9, 4, stride=2), expected, atol=1e-14)
    backwards = ladder(COMPLEX, 9, 4, stride=2, reverse=True)
    np.testing.assert_allclose(backwards, expected.conj(), atol=1e-14)


def test_exact_ladder() -> None:
    expected = [[pow(point, 2 * power, 101) for power in range(4)] for point in range(1, 10)]
    np.testing.assert_array_equal(ladder(F101, 9, 4, stride=2), expected)
    backwards = ladder(F101, 9, 4, stride=2, reverse=True)
    np.testing.assert_array_equal(backwards, np.array(expected)[:, ::-1])


@pytest.mark.parametrize("field", [REAL, COMPLEX], ids=repr)
@pytest.mark.parametrize("n_points", [8, 35, 100])
def test_ladders_are_orthonormal_on_all_points(field: Field, n_points: int) -> None:
    """No point of the circle is special, which is what makes every loss of a run alike."""
    values: Any = ladder(field, n_points, n_points - 1)
    gram = values.conj().T @ values / n_points
    np.testing.assert_allclose(gram, np.eye(n_points - 1), atol=4 * EPS)


def test_high_frequencies_lose_no_digits() -> None:
    """At 100 points the frequency 99.5 has the values of its alias one half."""
    values = ladder(REAL, 100, 200)
    np.testing.assert_allclose(values[:, -2:], values[:, :2] * [1, -1], rtol=2 * EPS, atol=1e-18)


@pytest.mark.parametrize("field", [REAL, COMPLEX, PAIRED, F101], ids=repr)
@pytest.mark.parametrize("size", [1, 2, 5, 6, 11])
def test_cardinal_functions_reproduce_the_ladder(field: Field, size: int) -> None:
    """Laid through the first points, each function of the span comes out at all the others."""
    points = spread_first(11, size)
    cardinal: Any = cardinal_ladder(field, 11, size)
    values: Any = ladder(field, 11, size)[points]
    np.testing.assert_array_equal(cardinal[:size], np.eye(size))
    assert cardinal.dtype == field.dtype
    found: Any = field.matmul(cardinal, values[:size])
    if field.exact:
        np.testing.assert_array_equal(found, values)
    else:
        np.testing.assert_allclose(found, values, atol=1e-14)


def sine(step: int, n_points: int) -> Decimal:
    """``sin(pi step / n_points)`` by its series, in as many digits as the context has."""
    pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
    angle = pi * step / n_points
    total, term = Decimal(0), angle
    for power in range(1, 99, 2):
        total += term
        term *= -angle * angle / ((power + 1) * (power + 2))
    return total


def test_cardinal_functions_are_accurate_to_the_last_digit() -> None:
    """Lagrange's product of chords, in 50 digits."""
    n_points, size = 35, 16
    points = spread_first(n_points, size)
    cardinal: Any = cardinal_ladder(REAL, n_points, size)
    with localcontext(prec=50):
        chords = {step: sine(step, n_points) for step in range(1 - n_points, n_points)}
        for row in range(size, n_points):
            for column in range(size):
                value = Decimal(1)
                for other in set(range(size)) - {column}:
                    value *= chords[points[row] - points[other]]
                    value /= chords[points[column] - points[other]]
                error = abs(value - Decimal(float(cardinal[row, column])))
                assert error <= abs(value) * Decimal(EPS)


@pytest.mark.parametrize(("n_points", "size"), [(5, 5), (10, 4), (100, 96), (7, 1)])
def test_points_are_spread(n_points: int, size: int) -> None:
    points = spread_first(n_points, size)
    assert sorted(points) == list(range(n_points))
    gaps = np.diff([*points[:size], points[0] + n_points])
    assert gaps.max() - gaps.min() <= 1


def test_rowwise_kron() -> None:
    stream = np.random.default_rng(0)
    a, b = stream.standard_normal((4, 2)), stream.standard_normal((4, 3))
    expected = [np.kron(row, other) for row, other in zip(a, b, strict=True)]
    np.testing.assert_array_equal(rowwise_kron(REAL, a, b), expected)
