"""Decode weights that are whole numbers, so that integers decode exactly."""

from typing import Any

import numpy as np

from dask_coded.fields import Field
from dask_coded.typing import Array

__all__ = ["whole"]


def whole(field: Field, responses: Array, targets: Array) -> Array | None:
    """Whole weights where results are whole sums of the unknowns, one copy of each being read.

    Averaging copies would lower no amplification, and would take integers to fractions. None
    leaves it to the field.
    """
    sums: Any = responses
    if field.exact or (sums != np.rint(sums.real)).any():
        return None
    _, first = np.unique(sums, axis=0, return_index=True)
    solved: Any = field.solve(sums[first], targets)
    weights = np.zeros((len(targets), len(sums)), dtype=field.dtype)
    weights[:, first] = np.rint(solved.real)
    return weights if np.array_equal(weights @ sums, targets) else None
