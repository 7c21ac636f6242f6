"""Floating-point coefficient matrices against NumPy's own routines."""

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_coded.errors import ParameterError, WeightsError
from dask_coded.fields import COMPLEX, PAIRED, REAL, Field, PrimeField, field_from_name

FLOATS = [REAL, COMPLEX, PAIRED]
every_field = pytest.mark.parametrize("field", FLOATS, ids=repr)


def made(field: Field, rows: int, columns: int, rank: int | None = None, seed: int = 0) -> Any:
    """A random matrix of the field, of a given rank."""
    stream = np.random.default_rng(seed)

    def draw(*shape: int) -> Any:
        real = stream.standard_normal(shape)
        return real + 1j * stream.standard_normal(shape) if field.dtype.kind == "c" else real

    return draw(rows, columns) if rank is None else draw(rows, rank) @ draw(rank, columns)


@every_field
def test_is_a_field_and_a_value(field: Field) -> None:
    assert isinstance(field, Field)
    assert not field.exact
    assert pickle.loads(pickle.dumps(field)) == field
    assert hash(pickle.loads(pickle.dumps(field))) == hash(field)
    assert field_from_name(field.name) == field
    assert repr(field) == field.name.upper()


def test_paired_is_not_complex() -> None:
    """Both compute alike on coefficients; they differ in what a block is."""
    assert PAIRED != COMPLEX
    assert PAIRED.dtype == COMPLEX.dtype


@pytest.mark.parametrize("name", ["", "REAL", "rational", "prime", "prime:", "prime:-7", "prime:8"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ParameterError):
        field_from_name(name)


def test_names_of_prime_fields() -> None:
    assert field_from_name("prime:257") == PrimeField(257)


@every_field
def test_coefficients(field: Field) -> None:
    assert field.asarray([[1, 2], [3, 4]]).dtype == field.dtype
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(WeightsError, match="finite"):
            field.asarray([1.0, bad])


@every_field
def test_elementwise(field: Field) -> None:
    a, b = made(field, 3, 4), made(field, 1, 4, seed=1)
    np.testing.assert_array_equal(field.multiply(a, b), a * b)
    np.testing.assert_array_equal(field.subtract(a, b), a - b)
    np.testing.assert_allclose(field.multiply(a, field.reciprocal(a)), np.ones((3, 4)))
    np.testing.assert_array_equal(field.matmul(a, b.T), a @ b.T)


@every_field
@given(st.integers(0, 6), st.integers(1, 6), st.integers(0, 6), st.integers(0, 99))
def test_rank_null_space_and_compression(
    field: Field, rows: int, columns: int, rank: int, seed: int
) -> None:
    rank = min(rank, rows, columns)
    matrix = made(field, rows, columns, rank, seed)
    assert field.rank(matrix) == rank == (np.linalg.matrix_rank(matrix) if rows else 0)

    null: Any = field.left_null(matrix)
    assert null.shape == (rows - rank, rows)
    np.testing.assert_allclose(null @ matrix, np.zeros((rows - rank, columns)), atol=1e-12)
    np.testing.assert_allclose(null @ null.conj().T, np.eye(rows - rank), atol=1e-12)

    lift = field.compress(matrix)
    assert lift.shape == (columns, rank)
    basis: Any = matrix @ lift
    np.testing.assert_allclose(basis.conj().T @ basis, np.eye(rank), atol=1e-9)


@every_field
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_solutions_have_least_norm(
    field: Field, rows: int, columns: int, rank: int, seed: int
) -> None:
    """As NumPy's pseudoinverse gives them, whether the system is long, wide or deficient."""
    rank = min(rank, rows, columns)
    basis = made(field, rows, columns, rank, seed)
    functional = made(field, 2, rows, seed=seed + 1) @ basis
    weights: Any = field.solve(basis, functional)
    inverse = np.linalg.pinv(basis, rcond=1e-10)
    growth = np.abs(inverse).max()
    np.testing.assert_allclose(weights, functional @ inverse, atol=1e-12 * (1 + growth**2))
    np.testing.assert_allclose(weights @ basis, functional, atol=1e-11 * (1 + growth))


@every_field
def test_what_has_no_solution_has_least_misfit(field: Field) -> None:
    """Nothing is refused here: how large the misfit may be is for the caller to say."""
    basis, functional = made(field, 2, 3), made(field, 1, 3, seed=1)
    weights: Any = field.solve(basis, functional)
    misfit = weights @ basis - functional
    assert np.abs(misfit).max() > 0.1
    np.testing.assert_allclose(misfit @ basis.conj().T, np.zeros((1, 2)), atol=1e-12)


@every_field
def test_duplicate_rows_share_their_weight(field: Field) -> None:
    basis = made(field, 3, 3)[[0, 1, 2, 2]]
    weights: Any = field.solve(basis, basis[2:3])
    np.testing.assert_allclose(weights, [[0, 0, 0.5, 0.5]], atol=1e-12)


@every_field
def test_nothing_at_all(field: Field) -> None:
    nothing = np.zeros((0, 0), dtype=field.dtype)
    assert field.rank(nothing) == 0
    assert field.solve(nothing, np.zeros((2, 0), dtype=field.dtype)).shape == (2, 0)
    zeros = np.zeros((3, 2), dtype=field.dtype)
    assert field.rank(zeros) == 0
    assert field.compress(zeros).shape == (2, 0)
    np.testing.assert_allclose(np.abs(field.left_null(zeros)), np.eye(3))


@every_field
def test_inverse(field: Field) -> None:
    matrix = made(field, 4, 4)
    np.testing.assert_allclose(field.matmul(matrix, field.inverse(matrix)), np.eye(4), atol=1e-12)
