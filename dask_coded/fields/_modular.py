"""Elementwise arithmetic modulo a prime below 2**61, on int64 arrays of residues in ``[0, p)``.

Nothing here needs 128-bit integers or long doubles. A product modulo p is ``a*b - q*p`` with both
products taken modulo 2**64, where q is the quotient estimated in float64. The estimate is off by
at most one as long as the true quotient stays below 2**50, so one factor is first cut to 31 bits.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Residues", "add", "fold", "is_prime", "multiply", "power", "subtract"]

Residues: TypeAlias = npt.NDArray[np.int64]

# Below this a product of two residues fits into int64 as it is.
_DIRECT_LIMIT = 3_037_000_499
_HALF_BITS = 31
_HALF_MASK = (1 << _HALF_BITS) - 1
# Deterministic for every number below 3.3e24 (Sorenson and Webster, 2015, arXiv:1509.00864).
_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


def is_prime(number: int) -> bool:
    """Miller-Rabin with the first twelve primes as bases, exact below 3.3e24."""
    if number < 2:
        return False
    for small in _WITNESSES:
        if number % small == 0:
            return number == small
    twos = ((number - 1) & (1 - number)).bit_length() - 1
    odd = (number - 1) >> twos
    for base in _WITNESSES:
        x = pow(base, odd, number)
        if x in (1, number - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % number
            if x == number - 1:
                break
        else:
            return False
    return True


def fold(values: Residues, p: int) -> Residues:
    """Residues from values in ``[-p, 2p)``."""
    # Seen as unsigned, a negative number is huge: the minimum picks whichever lies in range.
    unsigned = np.minimum(values.view(np.uint64), (values + p).view(np.uint64))
    folded: Residues = np.minimum(unsigned, unsigned - np.uint64(p)).view(np.int64)
    return folded


def add(a: Residues, b: Residues, p: int) -> Residues:
    """``(a + b) mod p`` with broadcasting."""
    with np.errstate(over="ignore"):
        return fold(np.asarray(a + b), p)


def subtract(a: Residues, b: Residues, p: int) -> Residues:
    """``(a - b) mod p`` with broadcasting."""
    with np.errstate(over="ignore"):
        return fold(np.asarray(a - b), p)


def multiply(a: Residues, b: Residues, p: int) -> Residues:
    """``(a * b) mod p`` with broadcasting."""
    if p <= _DIRECT_LIMIT:
        return np.asarray(a * b % p)
    with np.errstate(over="ignore"):
        high = _multiply_narrow(a, b >> _HALF_BITS, p)
        low = _multiply_narrow(a, b & _HALF_MASK, p)
        return fold(np.asarray(_multiply_narrow(high, 1 << _HALF_BITS, p) + low), p)


def _multiply_narrow(a: Residues, b: Residues | int, p: int) -> Residues:
    """``(a * b) mod p`` for ``b <= 2**31``: the quotient stays small, its estimate off by one."""
    quotient = np.asarray(np.multiply(a, b, dtype=np.float64) * (1.0 / p)).astype(np.int64)
    return fold(np.asarray(a * b - quotient * p), p)


def power(base: Residues, exponents: Residues, p: int) -> Residues:
    """``base ** exponents mod p`` with broadcasting, for exponents that are not negative."""
    base, exponents = np.broadcast_arrays(base, exponents)
    result = np.ones(base.shape, np.int64)
    square = base
    remaining = exponents
    while True:
        result = np.where(remaining & 1 == 1, multiply(result, square, p), result)
        remaining = remaining >> 1
        if not remaining.any():
            return result
        square = multiply(square, square, p)
