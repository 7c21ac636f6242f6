"""Matrix products modulo a prime below 2**61, as a few exact float64 products.

Factors are cut into limbs, short digits in a base ``2**width``, so that every partial sum of a
float64 product stays an integer below 2**53 and nothing rounds; the products of limbs are put
together modulo p at the end, with as many operations as the *result* has entries.

Left factors (weights) get balanced digits, in ``[-2**(width - 1), 2**(width - 1)]``, which saves a
bit. Right factors (data) stay whole when p is small enough, else they get plain digits.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dask_coded.fields._modular import Residues, add, fold

__all__ = ["LimbFactor", "matmul"]

# Terms that a product should sum before it is reduced; longer sums gain little.
_DEPTH_WANTED = 512
# Entries of a panel of either factor: 32 MiB of limbs at most.
_PANEL = 1 << 20


class _Cut(NamedTuple):
    """How the factors are cut into limbs."""

    width: int
    left: int
    right: int
    depth: int

    @property
    def products(self) -> int:
        return self.left * self.right


def _choose_cut(p: int, inner: int) -> _Cut:
    """The cut with the fewest float64 products that can sum `inner` terms (or plenty) at once."""
    bits = (p - 1).bit_length()
    cuts = []
    for limbs in range(1, 6):
        width = -(-bits // limbs)
        # Whole right factor: 2p * 2**width of the sum so far plus depth * 2**(width - 1) * p
        # stays below 2**52, which leaves the last bit to the remainder in `_recombine_floats`.
        spare = 53 - bits - width
        if spare > 2:
            cuts.append(_Cut(width, limbs, 1, (1 << spare) - 4))
        # Both cut alike: up to `limbs` products of 2 * width - 1 bits share a power of two.
        depth = (1 << 54 - 2 * width) // limbs if width <= 26 else 0
        if limbs > 1 and depth:
            cuts.append(_Cut(width, limbs, limbs, depth))
    enough = [cut for cut in cuts if cut.depth >= min(inner, _DEPTH_WANTED)]
    return min(enough, key=lambda cut: (cut.products, cut.right))


class LimbFactor:
    """A matrix ``(o, i)`` of residues, made ready to multiply many others modulo p.

    Attributes
    ----------
    operand_dtype
        dtype in which :meth:`times` wants its argument: float64, or int64 when it will be cut.
    rows
        Rows of the float64 products: tells a caller how much work :meth:`times` is.
    """

    def __init__(self, matrix: Residues, p: int) -> None:
        self.shape: tuple[int, int] = (matrix.shape[0], matrix.shape[1])
        self._p = p
        self._cut = _choose_cut(p, self.shape[1])
        limbs = _balanced_limbs(matrix, p, self._cut).reshape(-1, self.shape[1])
        self.rows = len(limbs)
        if self.rows == 1:
            # BLAS hands a single row to a matrix-vector routine, which starts threads early.
            limbs = np.concatenate([limbs, np.zeros_like(limbs)])
        self._limbs = limbs
        self.operand_dtype: np.dtype[Any] = np.dtype(
            np.float64 if self._cut.right == 1 else np.int64
        )

    def times(self, other: npt.NDArray[Any]) -> Residues:
        """``self @ other mod p`` for residues `other` ``(i, n)`` of dtype `operand_dtype`."""
        total: Residues = np.zeros((self.shape[0], other.shape[1]), np.int64)
        for start in range(0, self.shape[1], self._cut.depth):
            part = slice(start, start + self._cut.depth)
            limbs, piece = self._limbs[:, part], other[part]
            product = (
                self._times_whole(limbs, piece)
                if self._cut.right == 1
                else self._times_limbs(limbs, piece)
            )
            total = product if start == 0 else add(total, product, self._p)
        return total

    def _product(self, limbs: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """One float64 product, as ``(limb, o, n)``, least limb first."""
        product: npt.NDArray[Any] = np.matmul(limbs, other)[: self.rows]
        return product.reshape(self._cut.left, self.shape[0], other.shape[1])

    def _times_whole(self, limbs: npt.NDArray[Any], other: npt.NDArray[Any]) -> Residues:
        """Horner's rule in float64: every number here is an integer below 2**53."""
        product = self._product(limbs, other)
        total = product[-1]
        self._reduce(total)
        for lower in product[-2::-1]:
            total *= float(1 << self._cut.width)
            total += lower
            self._reduce(total)
        return fold(total.astype(np.int64), self._p)

    def _reduce(self, values: npt.NDArray[Any]) -> None:
        """Into ``[-p, 2p)``, in place."""
        quotient = values * (1.0 / self._p)
        np.floor(quotient, out=quotient)
        quotient *= self._p
        values -= quotient

    def _times_limbs(self, limbs: npt.NDArray[Any], other: npt.NDArray[Any]) -> Residues:
        """Horner's rule in int64 over the sums of limb products that share a power of two."""
        width, count = self._cut.width, self._cut.left
        sums = np.zeros((2 * count - 1, self.shape[0], other.shape[1]))
        for position in range(count):
            digits = other >> (width * position)
            if position < count - 1:
                digits &= (1 << width) - 1
            sums[position : position + count] += self._product(limbs, digits.astype(np.float64))
        total: Residues = np.zeros(sums.shape[1:], np.int64)
        for lower in sums[::-1]:
            quotient = total.astype(np.float64)
            quotient *= float(1 << width)
            quotient += lower
            quotient *= 1.0 / self._p
            np.floor(quotient, out=quotient)
            # Both products wrap modulo 2**64; their difference is small and exact.
            total <<= width
            total += lower.astype(np.int64)
            total -= quotient.astype(np.int64) * self._p
            total = fold(total, self._p)
        return total


def _balanced_limbs(matrix: Residues, p: int, cut: _Cut) -> npt.NDArray[np.float64]:
    """Digits ``(left, o, i)`` of the representatives in ``[-p/2, p/2]``, least first."""
    rest = np.where(matrix > p // 2, matrix - p, matrix)
    limbs = np.empty((cut.left, *matrix.shape))
    half, mask = 1 << cut.width - 1, (1 << cut.width) - 1
    for limb in limbs[:-1]:
        digit = ((rest + half) & mask) - half
        limb[...] = digit
        rest = (rest - digit) >> cut.width
    limbs[-1] = rest
    return limbs


def matmul(a: Residues, b: Residues, p: int) -> Residues:
    """``a @ b mod p`` for matrices ``(i, j)`` and ``(j, k)`` of any size, panel by panel."""
    rows, inner = a.shape
    columns = b.shape[1]
    result: Residues = np.zeros((rows, columns), np.int64)
    depth = max(1, min(inner, 2048))
    height = max(1, _PANEL // depth)
    for top in range(0, rows, height):
        high = slice(top, top + height)
        for start in range(0, inner, depth):
            deep = slice(start, start + depth)
            factor = LimbFactor(a[high, deep], p)
            for left in range(0, columns, height):
                wide = slice(left, left + height)
                product = factor.times(b[deep, wide].astype(factor.operand_dtype, copy=False))
                result[high, wide] = product if start == 0 else add(result[high, wide], product, p)
    return result
