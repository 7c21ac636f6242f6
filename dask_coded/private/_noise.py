"""Uniform noise from the operating system's cryptographic generator."""

import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["uniform"]

_AT_ONCE = 1 << 18
"""Numbers drawn at once: 2 MiB of them."""


def uniform(p: int, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Independent numbers, each uniform in ``[0, p)``.

    Bits from ``os.urandom`` are taken as a number of just enough bits, and drawn again where it is
    p or larger: a remainder modulo p would prefer small numbers. There is no seed, on purpose:
    noise that can be drawn again hides nothing.
    """
    bits = (p - 1).bit_length()
    dtype = np.dtype(np.uint32 if bits <= 32 else np.uint64)
    mask = dtype.type((1 << bits) - 1)
    noise: npt.NDArray[Any] = np.empty(math.prod(shape), np.int64)
    filled = 0
    while filled < noise.size:
        count = min(noise.size - filled, _AT_ONCE)
        drawn = np.frombuffer(os.urandom(count * dtype.itemsize), dtype) & mask
        drawn = drawn[drawn < p]
        noise[filled : filled + len(drawn)] = drawn
        filled += len(drawn)
    return noise.reshape(shape)
