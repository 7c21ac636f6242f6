"""Random coefficients that are the same on every machine and under every NumPy version."""

from typing import cast

import numpy as np

from dask_coded.fields import Field
from dask_coded.typing import Array

__all__ = ["unit_rows"]


def unit_rows(field: Field, seed: int, rows: int, columns: int) -> Array:
    """Rows of unit norm, uniform on the real sphere, or on the complex one.

    Unit norm keeps parity results as large as data results, so that amplification, which weighs
    all results alike, bounds the error. ``RandomState`` is used because NumPy promises never to
    change its stream: shares encoded today must decode under any later version.
    """
    stream = np.random.RandomState(seed)
    gaussian = stream.standard_normal((rows, columns)).astype(field.dtype)
    if field.dtype.kind == "c":
        gaussian += 1j * stream.standard_normal((rows, columns))
    return cast(Array, gaussian / np.linalg.norm(gaussian, axis=1, keepdims=True))
