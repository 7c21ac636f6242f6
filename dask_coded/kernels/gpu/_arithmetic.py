"""Which arithmetic of ``cuda/arithmetic.cuh`` sums what, and how it is given its weights."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dask_coded.typing import Array

__all__ = [
    "GOLDILOCKS",
    "MERSENNE",
    "Arithmetic",
    "element_type",
    "floating",
    "modular",
    "wrapping",
]

MERSENNE = 2**31 - 1
GOLDILOCKS = 2**64 - 2**32 + 1
_ELEMENT_TYPES = {
    "float16": "Half",
    "bfloat16": "BFloat",
    "float32": "float",
    "float64": "double",
    "complex64": "Complex<float>",
    "complex128": "Complex<double>",
}


class Arithmetic(NamedTuple):
    """One arithmetic with its weights."""

    name: str
    """Its C++ type."""
    weights: npt.NDArray[Any]
    """Matrix ``(o, i)`` in the dtype that its kernel takes."""
    registers: int
    """32-bit registers of one sum."""
    modulus: int = 0
    """Prime, of a kernel that is told it or that looks for values outside ``[0, p)``."""
    inverse: int = 0
    """``-1 / p`` modulo ``2**64``, of Montgomery."""

    @property
    def rounds(self) -> bool:
        """Whether sums round, and zero times infinity is NaN."""
        return self.weights.dtype.kind in "fc"


def element_type(dtype: np.dtype[Any]) -> str:
    """The C++ type of an element; integers are unsigned, as they wrap alike."""
    if dtype.kind in "biu":
        return f"u{8 * dtype.itemsize}"
    return _ELEMENT_TYPES[dtype.name]


def floating(weights: Array, complex_data: bool, wide: bool) -> Arithmetic:
    """Sums of floats in float32, or in float64 where `wide`."""
    real, number = (("double", 2), ("float", 1))[not wide]
    if weights.dtype.kind == "c" and weights.imag.any():
        return Arithmetic(f"Cartesian<{real}>", weights.astype("D" if wide else "F"), 2 * number)
    kept = np.ascontiguousarray(weights.real).astype("d" if wide else "f")
    if complex_data or weights.dtype.kind == "c":
        return Arithmetic(f"Scaled<{real}>", kept, 2 * number)
    return Arithmetic(f"Real<{real}>", kept, number)


def wrapping(weights: Array, dtype: np.dtype[Any]) -> Arithmetic:
    """Sums of integers modulo ``2**bits``, of booleans modulo 2; the weights are whole."""
    if dtype.kind == "b":
        return Arithmetic("Parity", _residues(weights, 2, "u4"), 1)
    if dtype.itemsize == 8:
        return Arithmetic("Wrapping<u64>", _residues(weights, 2**64, "u8"), 2)
    return Arithmetic("Wrapping<u32>", _residues(weights, 2**32, "u4"), 1)


def modular(weights: Any, p: int) -> Arithmetic:
    """Sums modulo an odd prime below ``2**61``, or ``GOLDILOCKS``."""
    if p == MERSENNE:
        return Arithmetic("Mersenne31", _residues(weights, p, "u4"), 2, p)
    if p == GOLDILOCKS:
        return Arithmetic("Goldilocks", _residues(weights, p, "u8"), 6, p)
    return Arithmetic(
        "Montgomery", _residues(weights, p, "u8", 2**64), 4, p, -pow(p, -1, 2**64) % 2**64
    )


def _residues(weights: Any, modulus: int, dtype: str, factor: int = 1) -> npt.NDArray[Any]:
    """Whole numbers of any size and kind, times `factor`, modulo `modulus`."""
    whole = [int(value) * factor % modulus for value in np.asarray(weights).flat]
    return np.array(whole, dtype).reshape(np.shape(weights))
