"""No partial sum of a float64 product may round, for any modulus and any length of sums."""

import numpy as np
import pytest

from dask_coded.fields._limbs import LimbFactor, _choose_cut
from dask_coded.fields._modular import is_prime


def largest_prime_of(bits: int) -> int:
    return next(n for n in range(2**bits - 1, 1, -1) if is_prime(n))


PRIMES = [largest_prime_of(bits) for bits in range(2, 62)] + [2]


@pytest.mark.parametrize("p", PRIMES)
def test_largest_sums_stay_exact(p: int) -> None:
    for inner in (1, 17, 60, 513):
        cut = _choose_cut(p, inner)
        assert cut.depth >= min(inner, 512)
        # Digits of the left factor are largest where all but the first are half the base.
        half = max((1 << cut.width - 1) - 1, 1)
        steep = -sum(half << cut.width * position for position in range(max(cut.left - 1, 1)))
        # The longest sums that are taken at once, and one more.
        for length in (inner, min(cut.depth, 3000), min(cut.depth, 3000) + 1):
            a = np.full((4, length), p // 2)
            a[1] = (p // 2 + 1) % p
            a[2, ::2] = p - 1
            a[3] = steep % p
            b = np.full((length, 2), p - 1)
            b[:, 1] = p // 2
            factor = LimbFactor(a, p)
            found = factor.times(b.astype(factor.operand_dtype))
            expected = a.astype(object) @ b.astype(object) % p
            assert (found == expected).all()


@pytest.mark.parametrize("p", PRIMES)
def test_random_digits(p: int) -> None:
    stream = np.random.default_rng(p)
    a, b = stream.integers(0, p, (4, 33)), stream.integers(0, p, (33, 50))
    factor = LimbFactor(a, p)
    found = factor.times(b.astype(factor.operand_dtype))
    assert (found == a.astype(object) @ b.astype(object) % p).all()


def test_common_primes_take_few_products() -> None:
    """The cost that the benchmarks rest on."""
    assert _choose_cut(65537, 16).products == 1
    assert _choose_cut(2**31 - 1, 16).products == 2
    assert _choose_cut(2**31 - 1, 4000).products == 3
    assert _choose_cut(2**61 - 1, 4000).products == 9


def test_a_single_row_keeps_to_matrix_products() -> None:
    factor = LimbFactor(np.array([[2, 3]]), 5)
    assert factor.rows == 1
    assert factor.times(np.array([[1.0], [2.0]])).tolist() == [[3]]
