"""Random coefficients that are the same on every machine and under every NumPy version."""

from typing import cast

import numpy as np

from dask_coded.typing import Array

__all__ = ["elements", "unit_rows"]


def unit_rows(seed: int, rows: int, columns: int) -> Array:
    """Real rows of unit norm, uniform on the sphere.

    Unit norm keeps parity results as large as data results, so that amplification, which weighs
    all results alike, bounds the error. ``RandomState`` is used because NumPy promises never to
    change its stream: shares encoded today must decode under any later version.
    """
    gaussian = np.random.RandomState(seed).standard_normal((rows, columns))
    return cast(Array, gaussian / np.linalg.norm(gaussian, axis=1, keepdims=True))


def elements(seed: int, rows: int, columns: int, modulus: int) -> Array:
    """Integers ``1 .. modulus - 1``, uniform."""
    return cast(Array, np.random.RandomState(seed).randint(1, modulus, (rows, columns), np.int64))
