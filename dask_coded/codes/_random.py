"""Random coefficients that are the same on every machine and under every NumPy version."""

from typing import Any, cast

import numpy as np

from dask_coded.fields import Field
from dask_coded.typing import Array

__all__ = ["nonzero_rows", "orthonormal_rows", "unit_rows"]


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


def nonzero_rows(field: Field, seed: int, rows: int, columns: int) -> Array:
    """Random rows in any field: of unit norm for floats, of anything but zeros if exact.

    Rows that are one column wide are ones: there is nothing to combine.
    """
    if columns == 1:
        return np.ones((rows, 1), dtype=field.dtype)
    if not field.exact:
        return unit_rows(field, seed, rows, columns)
    stream = np.random.RandomState(seed)
    drawn: Any = field.asarray(stream.randint(0, 2**62, (rows, columns), np.int64))
    drawn[~drawn.any(axis=1), 0] = 1
    return cast(Array, drawn)


def orthonormal_rows(field: Field, seed: int, frames: int, rows: int, columns: int) -> Array:
    """For each frame `rows` random orthonormal rows, ``(frames, rows, columns)``."""
    gaussian: Any = unit_rows(field, seed, frames * rows, columns)
    gaussian = gaussian.reshape(frames, rows, columns)
    q, r = np.linalg.qr(gaussian.conj().swapaxes(1, 2))
    # Which signs a factorisation has is left to whoever wrote it; these are always the same.
    diagonal = np.diagonal(r, axis1=1, axis2=2)
    return cast(Array, (q * (diagonal / np.abs(diagonal))[:, None, :]).conj().swapaxes(1, 2))
