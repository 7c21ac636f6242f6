"""Numbers as integers that a prime field can hold: scaling, rounding, and the check of range."""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dask_coded.errors import FieldRangeError, ParameterError, UnsupportedDtypeError
from dask_coded.fields import PrimeField

__all__ = ["FractionBits", "Scaled", "check_bits", "result_dtype", "scaled_operands"]

#: Bits behind the point of both operands, or of each.
FractionBits: TypeAlias = int | tuple[int, int] | None
NDArray: TypeAlias = npt.NDArray[Any]

_LARGEST_SCALE = 1100
_WIDEST = 2**61 - 1


@dataclass(frozen=True, eq=False)
class Scaled:
    """Both operands as elements of the field, and what turns products back into numbers."""

    left: NDArray
    right: NDArray
    bits: int
    """The product of elements is the product of numbers times ``2 ** bits``."""
    integral: bool
    field: PrimeField

    def numbers(self, products: NDArray) -> NDArray:
        """Numbers from products: int64, or float64 where an operand was floating."""
        signed = self.field.decode_signed(products)
        return signed if self.integral else np.ldexp(signed.astype(np.float64), -self.bits)


def result_dtype(a: Any, b: Any) -> np.dtype[Any]:
    """dtype of the product of two dtypes.

    Raises
    ------
    UnsupportedDtypeError
        If one is neither of integers nor of real floating-point numbers.
    """
    for dtype in (np.dtype(a), np.dtype(b)):
        if dtype.kind not in "biuf" or dtype.itemsize > 8:
            raise UnsupportedDtypeError(
                f"private products take integers and real floats of up to 64 bits; got {dtype}. "
                "Convert with astype, or multiply real and imaginary parts apart"
            )
    return np.dtype(np.float64 if "f" in (np.dtype(a).kind, np.dtype(b).kind) else np.int64)


def check_bits(fraction_bits: FractionBits) -> tuple[int | None, int | None]:
    """Bits of each operand, None where they are to be chosen.

    Raises
    ------
    ParameterError
        If they are neither None, nor an int, nor two.
    """
    pair = fraction_bits if isinstance(fraction_bits, tuple) else (fraction_bits,) * 2
    valid = all(
        each is None or (type(each) is int and abs(each) <= _LARGEST_SCALE) for each in pair
    )
    if len(pair) != 2 or not valid:
        raise ParameterError(
            f"fraction_bits={fraction_bits!r}; give an int, or one for each operand, from "
            f"-{_LARGEST_SCALE} to {_LARGEST_SCALE}, or None for as many as fit"
        )
    return pair[0], pair[1]


def scaled_operands(
    a: NDArray, b: NDArray, fraction_bits: FractionBits, field: PrimeField
) -> Scaled:
    """Round floats to multiples of ``2 ** -bits``, and see that the product stays in range.

    Parameters
    ----------
    a, b
        ``(..., r, k)`` and ``(..., k, c)``.
    fraction_bits
        See :func:`dask_coded.private.matmul`; integers are taken as they are.
    field
        Whose elements are wanted.

    Raises
    ------
    FieldRangeError
        If an entry is not finite, or if a sum of products may leave the range of the field.
    """
    integral = result_dtype(a.dtype, b.dtype).kind == "i"
    bits = check_bits(fraction_bits)
    chosen = _chosen(a, b, bits, field)
    whole = [_rounded(x, f) for x, f in zip((a, b), chosen, strict=True)]
    bound = _bound(*whole)
    if 2 * bound >= field.p:
        raise FieldRangeError(_too_large(a, b, chosen, bound, integral, field))
    left, right = (field.encode_signed(x) for x in whole)
    return Scaled(left, right, sum(chosen), integral, field)


def _largest(x: NDArray) -> float:
    if not x.size:
        return 0.0
    largest = float(np.abs(x).max()) if x.dtype.kind == "f" else float(_extent(x))
    if not math.isfinite(largest):
        raise FieldRangeError(
            "a prime field holds no NaN and no infinity, and an operand has one; replace them"
        )
    return largest


def _extent(x: NDArray) -> int:
    return max(abs(int(x.min())), abs(int(x.max()))) if x.size else 0


def _chosen(
    a: NDArray, b: NDArray, bits: tuple[int | None, int | None], field: PrimeField
) -> tuple[int, int]:
    """The bits as given, none for integers, and as many as fit where they are open."""
    sizes = [_largest(a), _largest(b)]
    given = [f if x.dtype.kind == "f" else 0 for x, f in zip((a, b), bits, strict=True)]
    # How large the entries of both may get, multiplied with each other, in powers of two.
    room = math.log2((field.p - 1) / 2 / max(a.shape[-1], 1))
    found = []
    for own, other in ((0, 1), (1, 0)):
        size, fixed, theirs = sizes[own], given[own], given[other]
        if fixed is None:
            share = room / 2 if theirs is None else room - _rounded_bits(sizes[other], theirs)
            limit = share if share < 1 else math.log2(2.0**share - 0.5)
            fixed = math.floor(limit - math.log2(size)) if size else 0
            fixed = max(-_LARGEST_SCALE, min(fixed, _LARGEST_SCALE))
        found.append(fixed)
    return found[0], found[1]


def _rounded_bits(size: float, bits: int) -> float:
    """Logarithm of what ``size * 2 ** bits`` may be rounded to."""
    exponent = math.log2(size) + bits if size else -math.inf
    return exponent if exponent > 50 else max(0.0, math.log2(2.0**exponent + 0.5))


def _rounded(x: NDArray, bits: int) -> NDArray:
    """Whole numbers, nearest to ``x * 2 ** bits``; refuses what no int64 holds."""
    if x.dtype.kind != "f":
        return x.astype(np.int64) if x.dtype.kind == "b" else x
    with np.errstate(over="ignore"):
        scaled = np.rint(np.ldexp(x.astype(np.float64), bits))
    if np.abs(scaled).max(initial=0.0) >= 2.0**62:
        raise FieldRangeError(
            f"entries up to {_largest(x):.3g} with {bits} fraction bits exceed every field here, "
            "which tell numbers below 2**60 apart; use fewer fraction bits, or scale the data down"
        )
    return scaled.astype(np.int64)


def _bound(a: NDArray, b: NDArray) -> int:
    """No entry of ``a @ b``, and of either, is larger in size."""
    left, right, inner = _extent(a), _extent(b), a.shape[-1]
    bounds: list[int] = [left * right * inner]
    # Sums along the inner dimension are often much smaller than the largest entry repeated.
    if inner and left * inner < 2**63 and right * inner < 2**63 and a.size and b.size:
        rows = int(np.abs(a.astype(np.int64)).sum(axis=-1).max())
        columns = int(np.abs(b.astype(np.int64)).sum(axis=-2).max())
        bounds += [rows * right, left * columns]
    return max(min(bounds), left, right)


def _too_large(
    a: NDArray, b: NDArray, bits: tuple[int, int], bound: int, integral: bool, field: PrimeField
) -> str:
    excess = math.ceil(math.log2(2 * bound / field.p) + 1e-9)
    found = (
        f"entries up to {_largest(a):.4g} and {_largest(b):.4g}"
        + ("" if integral else f" with {bits[0]} and {bits[1]} fraction bits")
        + f" and an inner length of {a.shape[-1]} may give products up to 2**"
        f"{math.log2(bound):.1f}; {field.name} tells them apart below 2**"
        f"{math.log2(field.p) - 1:.1f}"
    )
    remedies = []
    if not integral:
        remedies.append(f"use {max(excess, 1)} fraction bits fewer in all, or fraction_bits=None")
    if field.p < _WIDEST:
        remedies.append("use the larger prime of PrimeField(2**61 - 1)")
    if integral and field.p == _WIDEST:
        remedies.append("split an operand into high and low digits and multiply these apart")
    return f"{found}: {', or '.join(remedies)}"
