"""PrimeField against Python integers, galois, and the axioms."""

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_coded.errors import BlockShapeError, FieldRangeError, ParameterError
from dask_coded.fields import Field, PrimeField

PRIMES = [2, 3, 31, 65537, 2**31 - 1, 2**32 + 15, 2**45 - 55, 2**52 - 47, 2**61 - 1]

every_prime = pytest.mark.parametrize("p", PRIMES)
any_field = st.sampled_from(PRIMES).map(PrimeField)


def elements(p: int) -> st.SearchStrategy[int]:
    """Elements with the edges, where carries and wrong quotients show, drawn often."""
    edges = sorted({e % p for e in (0, 1, p - 1, p // 2, p // 2 + 1, 2**31 % p, (2**31 - 1) % p)})
    return st.sampled_from(edges) | st.integers(0, p - 1)


@st.composite
def field_and_elements(draw: st.DrawFn, count: int = 3) -> tuple[PrimeField, list[Any]]:
    field = draw(any_field)
    lengths = draw(st.integers(1, 6))
    numbers = st.lists(elements(field.p), min_size=lengths, max_size=lengths)
    return field, [np.array(draw(numbers), dtype=np.int64) for _ in range(count)]


def random_elements(stream: np.random.Generator, p: int, *shape: int) -> Any:
    """Uniform elements, with a share of edges mixed in."""
    values = stream.integers(0, p, shape)
    edges = np.array([0, 1, p - 1, p // 2, p // 2 + 1]) % p
    return np.where(stream.random(shape) < 0.3, stream.choice(edges, shape), values)


def random_rank(
    stream: np.random.Generator, field: PrimeField, rows: int, cols: int, r: int
) -> Any:
    """A matrix of rank r exactly: identities in both factors."""
    left = random_elements(stream, field.p, rows, r)
    right = random_elements(stream, field.p, r, cols)
    left[:r], right[:, :r] = np.eye(r), np.eye(r)
    order = stream.permutation(rows)
    return field.matmul(left, right)[order]


# --- the value ------------------------------------------------------------------------------


@every_prime
def test_is_a_field_value(p: int) -> None:
    field = PrimeField(p)
    assert isinstance(field, Field)
    assert field.name == f"prime:{p}"
    assert field.exact
    assert field.dtype == np.int64
    assert pickle.loads(pickle.dumps(field)) == field
    assert hash(PrimeField(np.int64(p))) == hash(field)
    assert type(PrimeField(np.int64(p)).p) is int


@pytest.mark.parametrize(
    "p", [0, 1, -7, 4, 561, 2**31, 2**61, 2**61 - 3, 2**89 - 1, True, 3.0, "31", None]
)
def test_refuses_what_is_no_prime_in_range(p: Any) -> None:
    with pytest.raises(ParameterError, match=r"prime"):
        PrimeField(p)


def test_names_the_next_prime() -> None:
    with pytest.raises(ParameterError, match="next prime above it is 65537"):
        PrimeField(65536)


def test_primality_against_a_sieve() -> None:
    limit = 5000
    sieve = np.ones(limit, bool)
    sieve[:2] = False
    for number in range(2, 71):
        sieve[number * number :: number] = False
    for number in range(limit):
        if sieve[number]:
            assert PrimeField(number).p == number
        else:
            with pytest.raises(ParameterError):
                PrimeField(number)


@pytest.mark.parametrize(
    "p",
    # Strong pseudoprimes to the bases 2, 3, 5 and 7, and squares of primes.
    [3215031751, 118670087467, 307768373641, 1000003**2, (2**30 - 35) ** 2, 3825123056546413051],
)
def test_pseudoprimes_are_not_prime(p: int) -> None:
    with pytest.raises(ParameterError):
        PrimeField(p)


# --- numbers in and out -----------------------------------------------------------------------


@given(any_field, st.lists(st.integers(-(2**200), 2**200), min_size=1, max_size=5))
def test_asarray_of_python_integers(field: PrimeField, numbers: list[int]) -> None:
    found = field.asarray(numbers)
    assert found.dtype == np.int64
    assert found.tolist() == [number % field.p for number in numbers]


@every_prime
@pytest.mark.parametrize("dtype", "bBhHiIlL?")
def test_asarray_of_every_integer_dtype(p: int, dtype: str) -> None:
    if dtype == "?":
        numbers = np.array([False, True])
    else:
        limits = np.iinfo(dtype)
        numbers = np.array([limits.min, limits.min // 2, 0, 1, limits.max // 3, limits.max], dtype)
    assert PrimeField(p).asarray(numbers).tolist() == [int(n) % p for n in numbers]


def test_asarray_takes_whole_floats_and_nothing_else() -> None:
    field = PrimeField(31)
    assert field.asarray([[-1.0, 2.0], [62.0, 2.0**53]]).tolist() == [[30, 2], [0, 2**53 % 31]]
    assert field.asarray(5).shape == ()
    assert field.asarray([]).shape == (0,)
    for bad in ([0.5], [np.nan], [np.inf], [2.0**60], [1j], ["1"], [None], [2**70, 0.5]):
        with pytest.raises(FieldRangeError, match="whole"):
            field.asarray(bad)


def test_asarray_never_aliases() -> None:
    given = np.array([1, 2, 3])
    PrimeField(31).asarray(given)[0] = 9
    assert given[0] == 1


@given(field_and_elements(count=1))
def test_signed_values_round_trip(drawn: tuple[PrimeField, list[Any]]) -> None:
    field, (values,) = drawn
    signed = field.decode_signed(values)
    assert np.abs(signed).max() <= field.p // 2
    assert ((signed.astype(object) - values) % field.p == 0).all()
    if field.p > 2:
        assert (field.encode_signed(signed) == values).all()


def test_signed_values_of_small_dtypes() -> None:
    field = PrimeField(257)
    assert field.encode_signed(np.array([-128, -1, 0, 127], np.int8)).tolist() == [129, 256, 0, 127]
    assert field.encode_signed(np.empty((0, 3), np.int8)).shape == (0, 3)
    with pytest.raises(FieldRangeError, match="only integers"):
        field.encode_signed([0.5])
    with pytest.raises(FieldRangeError, match="elements"):
        field.decode_signed(np.array([257]))
    with pytest.raises(FieldRangeError, match="elements"):
        field.decode_signed(np.array([-1]))


def test_range_error_names_the_least_modulus() -> None:
    PrimeField(257).check_range(128)
    with pytest.raises(FieldRangeError, match=r"at least 259, such as 2\*\*31 - 1"):
        PrimeField(257).check_range(129)
    with pytest.raises(FieldRangeError, match=r"such as 2\*\*61 - 1"):
        PrimeField(2**31 - 1).check_range(2**40)
    with pytest.raises(FieldRangeError, match="Chinese remainder"):
        PrimeField(2**61 - 1).check_range(2**60)
    with pytest.raises(FieldRangeError, match="at least 2001"):
        PrimeField(31).encode_signed([-1000, 3])
    with pytest.raises(FieldRangeError):
        PrimeField(2**61 - 1).encode_signed(np.array([np.iinfo(np.int64).min]))


# --- elementwise ------------------------------------------------------------------------------


@given(field_and_elements())
def test_axioms(drawn: tuple[PrimeField, list[Any]]) -> None:
    field, (a, b, c) = drawn
    add, mul = field.add, field.multiply
    zero, one = field.asarray(0), field.asarray(1)
    assert (add(a, b) == add(b, a)).all()
    assert (mul(a, b) == mul(b, a)).all()
    assert (add(add(a, b), c) == add(a, add(b, c))).all()
    assert (mul(mul(a, b), c) == mul(a, mul(b, c))).all()
    assert (mul(a, add(b, c)) == add(mul(a, b), mul(a, c))).all()
    assert (add(a, zero) == a).all()
    assert (mul(a, one) == a).all()
    assert (add(field.subtract(a, b), b) == a).all()
    units = np.where(a == 0, 1, a)
    assert (mul(units, field.reciprocal(units)) == 1).all()


@given(field_and_elements(count=2))
def test_elementwise_is_python_arithmetic(drawn: tuple[PrimeField, list[Any]]) -> None:
    field, (a, b) = drawn
    wide = a.astype(object)
    assert (field.add(a, b) == (wide + b) % field.p).all()
    assert (field.subtract(a, b) == (wide - b) % field.p).all()
    assert (field.multiply(a, b) == wide * b % field.p).all()


@every_prime
def test_many_products(p: int) -> None:
    stream = np.random.default_rng(p)
    a, b = random_elements(stream, p, 5000), random_elements(stream, p, 5000)
    assert (PrimeField(p).multiply(a, b) == a.astype(object) * b % p).all()


@given(any_field, st.data())
def test_power_is_python_pow(field: PrimeField, data: st.DataObject) -> None:
    base = data.draw(elements(field.p))
    exponents = data.draw(st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 3), min_size=1))
    found = field.power(field.asarray(base), exponents)
    assert found.tolist() == [pow(base, e, field.p) for e in exponents]


@every_prime
def test_power_broadcasts_and_takes_negative_exponents(p: int) -> None:
    field = PrimeField(p)
    points = np.arange(1, min(p, 6))
    table = field.power(points[:, None], np.arange(-3, 4)[None])
    assert table.tolist() == [[pow(int(x), e, p) for e in range(-3, 4)] for x in points]
    with pytest.raises(ParameterError, match="negative"):
        field.power(field.asarray([1, 0]), -1)
    for bad in (0.5, 2**70, np.array([2**63], np.uint64)):
        with pytest.raises(FieldRangeError):
            field.power(points, bad)
    with pytest.raises(ParameterError, match="reciprocal"):
        field.reciprocal(field.asarray([1, 0]))


def test_arguments_are_left_alone_and_broadcast() -> None:
    field = PrimeField(2**61 - 1)
    a = np.full((3, 1), field.p - 1)
    b = np.full((1, 4), field.p - 2)
    for array in (a, b):
        array.flags.writeable = False
    for verb in (field.add, field.subtract, field.multiply):
        assert verb(a, b).shape == (3, 4)
    assert field.multiply(a[0, 0], b[0, 0]) == 2


# --- matrices ---------------------------------------------------------------------------------


@every_prime
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 4), (1, 700, 3), (4, 3000, 2), (2, 0, 3)])
def test_matmul_is_python_arithmetic(p: int, shape: tuple[int, int, int]) -> None:
    stream = np.random.default_rng(shape[1])
    a = random_elements(stream, p, *shape[:2])
    b = random_elements(stream, p, *shape[1:])
    # The rows and columns that make the largest partial sums.
    a[0], b[:, 0] = p - 1, p - 1
    a[-1], b[:, -1] = p // 2, p - 1
    expected = (a.astype(object) @ b.astype(object)) % p if shape[1] else np.zeros((2, 3))
    found = PrimeField(p).matmul(a, b)
    assert found.dtype == np.int64
    assert (found == expected).all()


@pytest.mark.parametrize("p", [31, 2**31 - 1, 2**61 - 1])
def test_matmul_of_large_blocks(p: int) -> None:
    """Freivalds: a wrong product survives one random vector with probability 1/p."""
    field = PrimeField(p)
    stream = np.random.default_rng(1)
    a, b = stream.integers(0, p, (600, 4100)), stream.integers(0, p, (4100, 530))
    a[:300], b[:, :300] = p - 1, p - 1
    product = field.matmul(a, b)
    assert product.min() >= 0
    assert product.max() < p
    for probe in stream.integers(0, p, (4, 530, 1)):
        assert (field.matmul(product, probe) == field.matmul(a, field.matmul(b, probe))).all()
    rows, columns = stream.integers(0, 600, 5), stream.integers(0, 530, 5)
    for i, j in zip(rows, columns, strict=True):
        assert product[i, j] == a[i].astype(object) @ b[:, j].astype(object) % p


def test_matmul_of_any_layout() -> None:
    field = PrimeField(2**61 - 1)
    stream = np.random.default_rng(2)
    a, b = stream.integers(0, field.p, (9, 12)), stream.integers(0, field.p, (12, 8))
    expected = field.matmul(a, b)
    assert (field.matmul(np.asfortranarray(a), np.asfortranarray(b)) == expected).all()
    assert (field.matmul(a[::-1, ::-1], b[::-1]) == expected[::-1]).all()


def test_matmul_refuses_shapes() -> None:
    field = PrimeField(31)
    for a, b in (((2, 3), (2, 3)), ((3,), (3, 1)), ((2, 2, 2), (2, 2))):
        with pytest.raises(BlockShapeError):
            field.matmul(np.zeros(a, np.int64), np.zeros(b, np.int64))


@every_prime
@pytest.mark.parametrize(("rows", "cols", "r"), [(6, 6, 6), (9, 5, 5), (5, 9, 3), (8, 8, 2)])
def test_rank_compress_and_null_space(p: int, rows: int, cols: int, r: int) -> None:
    field = PrimeField(p)
    stream = np.random.default_rng(rows * cols)
    matrix = random_rank(stream, field, rows, cols, r)
    assert field.rank(matrix) == field.rank(matrix.T) == r

    lift = field.compress(matrix)
    assert lift.shape == (cols, r)
    assert field.rank(field.matmul(matrix, lift)) == r

    null = field.left_null(matrix)
    assert null.shape == (rows - r, rows)
    assert not field.matmul(null, matrix).any()
    assert field.rank(null) == rows - r


@every_prime
def test_solve(p: int) -> None:
    field = PrimeField(p)
    stream = np.random.default_rng(4)
    basis = random_rank(stream, field, 9, 7, 4)
    functional = field.matmul(random_elements(stream, p, 3, 9), basis)
    weights = field.solve(basis, functional)
    assert weights is not None
    assert weights.shape == (3, 9)
    assert (field.matmul(weights, basis) == functional).all()
    outside = functional.copy()
    # A unit vector that no combination of the rows gives.
    free = next(k for k in range(7) if field.rank(np.vstack([basis, np.eye(7, dtype=int)[k]])) > 4)
    outside[1, free] = (outside[1, free] + 1) % p
    assert field.solve(basis, outside) is None
    with pytest.raises(BlockShapeError):
        field.solve(basis, functional[:, 1:])


@every_prime
def test_compressed_coordinates_decode_alike(p: int) -> None:
    """``D V[S] == T`` exactly when ``D (V L)[S] == T L``, for every S."""
    field = PrimeField(p)
    stream = np.random.default_rng(5)
    responses = random_rank(stream, field, 6, 5, 3)
    targets = field.matmul(random_elements(stream, p, 2, 6), responses)
    lift = field.compress(responses)
    basis, functional = field.matmul(responses, lift), field.matmul(targets, lift)
    for bits in range(1, 64):
        chosen = [share for share in range(6) if bits >> share & 1]
        weights = field.solve(basis[chosen], functional)
        assert (weights is None) == (field.solve(responses[chosen], targets) is None)
        if weights is not None:
            assert (field.matmul(weights, responses[chosen]) == targets).all()


@every_prime
def test_inverse(p: int) -> None:
    field = PrimeField(p)
    stream = np.random.default_rng(6)
    lower = np.tril(random_elements(stream, p, 12, 12), -1) + np.eye(12, dtype=np.int64)
    upper = np.triu(random_elements(stream, p, 12, 12), 1) + np.eye(12, dtype=np.int64)
    matrix = field.matmul(lower, upper)[stream.permutation(12)]
    inverse = field.inverse(matrix)
    assert (field.matmul(inverse, matrix) == np.eye(12)).all()
    assert (field.matmul(matrix, inverse) == np.eye(12)).all()
    with pytest.raises(ParameterError, match="rank 2"):
        field.inverse(random_rank(stream, field, 4, 4, 2))
    with pytest.raises(BlockShapeError, match="square"):
        field.inverse(matrix[:3])
    with pytest.raises(BlockShapeError, match="matrix"):
        field.rank(matrix[0])


def test_empty_matrices() -> None:
    field = PrimeField(31)
    empty = np.zeros((0, 4), np.int64)
    assert field.rank(empty) == 0
    assert field.compress(empty).shape == (4, 0)
    assert field.left_null(empty).shape == (0, 0)
    assert field.inverse(np.zeros((0, 0), np.int64)).shape == (0, 0)
    assert field.solve(empty, np.ones((1, 4), np.int64)) is None
    solved = field.solve(empty, np.zeros((2, 4), np.int64))
    assert solved is not None
    assert solved.shape == (2, 0)


# --- galois as the oracle ---------------------------------------------------------------------


@pytest.fixture(scope="module", params=[31, 2**31 - 1])
def pair(request: pytest.FixtureRequest) -> tuple[PrimeField, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        galois = pytest.importorskip("galois")
        return PrimeField(request.param), galois.GF(request.param)


def test_against_galois(pair: tuple[PrimeField, Any]) -> None:
    field, oracle = pair
    stream = np.random.default_rng(7)
    a, b = stream.integers(0, field.p, (2, 8, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ga, gb = oracle(a), oracle(b)
        assert (field.add(a, b) == ga + gb).all()
        assert (field.multiply(a, b) == ga * gb).all()
        units = np.where(a == 0, 1, a)
        assert (field.reciprocal(units) == oracle(units) ** -1).all()
        assert (field.matmul(a, b) == ga @ gb).all()
        assert field.rank(a) == np.linalg.matrix_rank(ga)
        low = random_rank(stream, field, 8, 6, 3)
        assert field.rank(low) == np.linalg.matrix_rank(oracle(low))
        # Both reduced row echelon forms of the same space.
        expected = np.asarray(oracle(low).left_null_space())
        found = np.asarray(oracle(field.left_null(low)).row_reduce())
        assert (found == np.asarray(oracle(expected).row_reduce())).all()
        if field.rank(a) == 8:
            assert (field.inverse(a) == np.linalg.inv(ga)).all()
