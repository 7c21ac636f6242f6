"""Integers modulo a prime: exact codes, privacy, and exact products of integer data."""

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dask_coded.errors import BlockShapeError, FieldRangeError, ParameterError
from dask_coded.fields import _limbs, _modular
from dask_coded.fields._elimination import reduced_echelon
from dask_coded.fields._modular import Residues
from dask_coded.typing import Array

__all__ = ["PrimeField"]

_LARGEST_MODULUS = 2**61 - 1
# Whole numbers beyond this have no exact float64, so one that large was probably rounded before.
_LARGEST_EXACT_FLOAT = 2**53


@dataclass(frozen=True)
class PrimeField:
    """Integers modulo a prime, with exact vectorised arithmetic.

    Elements are int64 in ``[0, p)``. Every method returns such elements, and takes them; numbers of
    any other kind go through :meth:`asarray`, signed data through :meth:`encode_signed`.

    Parameters
    ----------
    p
        Any prime up to ``2**61 - 1``, which is itself prime, as is ``2**31 - 1``.

    Raises
    ------
    ParameterError
        If `p` is no prime in that range.

    Examples
    --------
    >>> field = PrimeField(2**61 - 1)
    >>> half = field.reciprocal(field.asarray(2))
    >>> int(field.multiply(half, field.asarray(10)))
    5
    """

    p: int

    def __post_init__(self) -> None:
        try:
            modulus = operator.index(self.p)
        except TypeError:
            modulus = -1
        if isinstance(self.p, bool) or not 2 <= modulus <= _LARGEST_MODULUS:
            raise ParameterError(
                f"a prime field needs a prime from 2 to 2**61 - 1; got {self.p!r}. "
                "2**31 - 1 is fast, 2**61 - 1 has the widest range"
            )
        if not _modular.is_prime(modulus):
            raise ParameterError(
                f"{modulus} is not prime; the next prime above it is {_next_prime(modulus)}"
                if modulus < _LARGEST_MODULUS - 1
                else f"{modulus} is not prime; 2**61 - 1 is"
            )
        object.__setattr__(self, "p", modulus)

    @property
    def name(self) -> str:
        """``"prime:<p>"``."""
        return f"prime:{self.p}"

    @property
    def exact(self) -> bool:
        """True: nothing rounds."""
        return True

    @property
    def dtype(self) -> np.dtype[Any]:
        """int64."""
        return np.dtype(np.int64)

    # Numbers in and out.

    def asarray(self, values: Any) -> Residues:
        """Elements from whole numbers of any size, sign and kind, reduced modulo p.

        Raises
        ------
        FieldRangeError
            If a number is not whole, or is a float too large to be a whole number exactly.
        """
        array = values if isinstance(values, np.ndarray) else _from_python(values)
        kind = array.dtype.kind
        if kind == "b":
            return array.astype(np.int64) % self.p
        if kind in "iu":
            return _reduced(array, self.p)
        if kind == "f":
            return _reduced(self._from_floats(array), self.p)
        if kind == "O" and all(isinstance(v, int | np.integer) for v in array.flat):
            return np.asarray(array.astype(object) % self.p).astype(np.int64)
        raise FieldRangeError(
            f"{self.name} holds whole numbers; got values of dtype {array.dtype}. "
            "Scale and round them to integers first"
        )

    def _from_floats(self, array: npt.NDArray[Any]) -> Residues:
        if not np.isfinite(array).all():
            raise FieldRangeError(
                f"{self.name} holds whole numbers; got NaN or infinity. Give finite numbers"
            )
        if (array != np.rint(array)).any():
            worst = array[array != np.rint(array)].flat[0]
            raise FieldRangeError(
                f"{self.name} holds whole numbers; got {worst}. Scale and round to integers first"
            )
        if (np.abs(array) > _LARGEST_EXACT_FLOAT).any():
            raise FieldRangeError(
                f"floats up to {np.abs(array).max():.3g} were given to {self.name}, but beyond "
                "2**53 floats skip whole numbers. Give integers"
            )
        return array.astype(np.int64)

    def check_range(self, bound: int) -> None:
        """See that signed values up to `bound` in size are told apart.

        Raises
        ------
        FieldRangeError
            If p is too small; the message names the least modulus that would do.
        """
        bound = int(bound)
        if 2 * bound < self.p:
            return
        needed = 2 * bound + 1
        if needed > _LARGEST_MODULUS:
            advice = (
                "no field here is that large: scale the data down, or compute modulo several "
                "primes and join them by the Chinese remainder theorem"
            )
        else:
            advice = f"take a prime of at least {needed}, such as {_suggest_prime(needed)}"
        raise FieldRangeError(
            f"{self.name} tells signed values up to {(self.p - 1) // 2} apart; "
            f"values up to {bound} were asked for: {advice}"
        )

    def encode_signed(self, x: Any) -> Residues:
        """Elements from signed integers: negative ``x`` becomes ``p + x``.

        Raises
        ------
        FieldRangeError
            If a value is larger in size than ``(p - 1) / 2``, so that decoding would be ambiguous.
        """
        array = np.asarray(x)
        if array.dtype.kind not in "iub":
            raise FieldRangeError(
                f"only integers are encoded into {self.name}; got dtype {array.dtype}. "
                "Scale and round to integers first"
            )
        if array.size == 0:
            return array.astype(np.int64)
        self.check_range(max(abs(int(array.min())), abs(int(array.max()))))
        elements = np.array(array, dtype=np.int64)
        elements += (elements < 0) * np.int64(self.p)
        return elements

    def decode_signed(self, x: Array) -> Residues:
        """Signed integers, at most ``(p - 1) / 2`` in size, from elements: the centered lift.

        Raises
        ------
        FieldRangeError
            If a value is no element of this field.
        """
        elements = np.array(x, dtype=np.int64)
        if elements.size and (elements.view(np.uint64) >= self.p).any():
            raise FieldRangeError(
                f"only elements of {self.name}, 0 to {self.p - 1}, have a signed value; "
                f"got values from {elements.min()} to {elements.max()}"
            )
        elements -= (elements > (self.p - 1) // 2) * np.int64(self.p)
        return elements

    # Elementwise arithmetic.

    def add(self, a: Array, b: Array) -> Residues:
        """Elementwise sum with broadcasting."""
        return _modular.add(_int64(a), _int64(b), self.p)

    def subtract(self, a: Array, b: Array) -> Residues:
        """Elementwise difference with broadcasting."""
        return _modular.subtract(_int64(a), _int64(b), self.p)

    def multiply(self, a: Array, b: Array) -> Residues:
        """Elementwise product with broadcasting."""
        return _modular.multiply(_int64(a), _int64(b), self.p)

    def power(self, base: Array, exponents: Any) -> Residues:
        """``base ** exponents`` elementwise, with broadcasting; ``0 ** 0`` is 1.

        Raises
        ------
        FieldRangeError
            If an exponent does not fit into int64.
        ParameterError
            If zero is raised to a negative exponent.
        """
        try:
            wanted = np.asarray(exponents)
            powers = wanted.astype(np.int64, casting="same_kind")
        except (TypeError, OverflowError) as error:
            raise FieldRangeError(
                f"exponents are integers below 2**63 in size; got {exponents!r}"
            ) from error
        if wanted.dtype.kind == "u" and (powers < 0).any():
            raise FieldRangeError("exponents are integers below 2**63 in size; got larger ones")
        elements, powers = np.broadcast_arrays(_int64(base), powers)
        negative = powers < 0
        if negative.any():
            if (negative & (elements == 0)).any():
                raise ParameterError("zero has no negative power; leave it out")
            # The non-zero elements form a group of order p - 1.
            powers = np.where(negative, powers % (self.p - 1), powers)
        return _modular.power(elements, powers, self.p)

    def reciprocal(self, a: Array) -> Residues:
        """Elementwise inverse.

        Raises
        ------
        ParameterError
            If an element is zero.
        """
        elements = _int64(a)
        if (elements == 0).any():
            raise ParameterError(f"zero has no reciprocal in {self.name}; leave it out")
        return _modular.power(elements, np.asarray(self.p - 2), self.p)

    # Matrices.

    def matmul(self, a: Array, b: Array) -> Residues:
        """Matrix product ``(i, j) @ (j, k) -> (i, k)``, exact for blocks of any size.

        Factors are cut into limbs whose float64 products are exact; see ``fields/_limbs.py``.

        Raises
        ------
        BlockShapeError
            If the arguments are no matrices, or their inner dimensions differ.
        """
        left, right = _int64(a), _int64(b)
        if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
            raise BlockShapeError(
                f"a matrix product needs shapes (i, j) and (j, k); got {left.shape} and "
                f"{right.shape}"
            )
        return _limbs.matmul(left, right, self.p)

    def rank(self, a: Array) -> int:
        """Rank of a matrix ``(i, j)``."""
        matrix = _matrix(a)
        if matrix.shape[0] > matrix.shape[1]:
            # A sweep per column: the fewer the better.
            return len(reduced_echelon(matrix, self.p)[1])
        return len(reduced_echelon(matrix.T, self.p)[1])

    def compress(self, responses: Array) -> Residues:
        """Map ``L (R, r)`` that picks a column basis: see :meth:`Field.compress`."""
        matrix = _matrix(responses)
        pivots = reduced_echelon(matrix, self.p)[1]
        picks = np.zeros((matrix.shape[1], len(pivots)), np.int64)
        picks[pivots, np.arange(len(pivots))] = 1
        return picks

    def solve(self, basis: Array, functional: Array) -> Residues | None:
        """``D (O, s)`` with ``D @ basis == functional``, or None: see :meth:`Field.solve`.

        The first independent rows of `basis` are used; the other columns of D are zero.

        Raises
        ------
        BlockShapeError
            If `basis` ``(s, r)`` and `functional` ``(O, r)`` differ in r.
        """
        rows, wanted = _matrix(basis), _matrix(functional)
        if rows.shape[1] != wanted.shape[1]:
            raise BlockShapeError(
                f"basis (s, r) and functional (O, r) must agree in r; got {rows.shape} and "
                f"{wanted.shape}"
            )
        count = rows.shape[0]
        system = np.concatenate([rows, wanted]).T
        reduced, pivots = reduced_echelon(system, self.p, pivot_columns=count)
        if reduced[len(pivots) :, count:].any():
            return None
        weights = np.zeros((wanted.shape[0], count), np.int64)
        weights[:, pivots] = reduced[: len(pivots), count:].T
        return weights

    def left_null(self, basis: Array) -> Residues:
        """``H (c, s)`` whose rows span ``{h : h @ basis == 0}``, in reduced form."""
        rows = _matrix(basis)
        count = rows.shape[0]
        reduced, pivots = reduced_echelon(rows.T, self.p)
        free = np.setdiff1d(np.arange(count), pivots)
        null = np.zeros((len(free), count), np.int64)
        null[np.arange(len(free)), free] = 1
        opposite = _modular.subtract(np.asarray(0), reduced[: len(pivots)][:, free].T, self.p)
        null[:, pivots] = opposite
        return null

    def inverse(self, a: Array) -> Residues:
        """Inverse of a square matrix.

        Raises
        ------
        BlockShapeError
            If the matrix is not square.
        ParameterError
            If it is singular.
        """
        matrix = _matrix(a)
        size = matrix.shape[0]
        if matrix.shape[1] != size:
            raise BlockShapeError(f"only square matrices have an inverse; got {matrix.shape}")
        system = np.concatenate([matrix, np.eye(size, dtype=np.int64)], axis=1)
        reduced, pivots = reduced_echelon(system, self.p, pivot_columns=size)
        if len(pivots) < size:
            raise ParameterError(
                f"a {size} x {size} matrix of rank {len(pivots)} in {self.name} has no inverse; "
                "choose distinct points, or other shares"
            )
        return reduced[:, size:]


def _int64(values: Array) -> Residues:
    return np.asarray(values, dtype=np.int64)


def _matrix(values: Array) -> Residues:
    matrix = _int64(values)
    if matrix.ndim != 2:
        raise BlockShapeError(f"a matrix was expected; got an array of shape {matrix.shape}")
    return matrix


def _from_python(values: Any) -> npt.NDArray[Any]:
    """An array of numbers that are not in one yet, without rounding large integers."""
    array = np.asarray(values)
    if array.dtype.kind in "fO":
        # NumPy turns integers on both sides of 2**63 into floats.
        exact = np.asarray(values, dtype=object)
        if all(isinstance(v, int | np.integer) for v in exact.flat):
            return exact
    return array


def _reduced(array: npt.NDArray[Any], p: int) -> Residues:
    if array.size and (array.min() < 0 or array.max() >= p):
        wide = np.uint64 if array.dtype.kind == "u" else np.int64
        array = array.astype(wide) % wide(p)
    return np.array(array, dtype=np.int64)


def _next_prime(number: int) -> int:
    while not _modular.is_prime(number):
        number += 1
    return number


def _suggest_prime(least: int) -> str:
    return "2**31 - 1" if least <= 2**31 - 1 else "2**61 - 1"
