"""Type aliases shared by all layers; no logic."""

from collections.abc import Collection
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["AnyArray", "Array", "Grid", "Shares"]

#: A host matrix of coefficients (generator, responses, targets, weights).
Array: TypeAlias = npt.NDArray[np.generic]
#: A block of data: a NumPy or CuPy array.
AnyArray: TypeAlias = Any
#: Block grid of an operand or of the output, e.g. ``(m, p)``.
Grid: TypeAlias = tuple[int, ...]
#: Share indices, each in ``0 .. n_shares - 1``.
Shares: TypeAlias = Collection[int]
