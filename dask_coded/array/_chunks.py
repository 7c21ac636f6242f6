"""What kind of arrays the chunks are: on the host, or on which device's library."""

from typing import Any

import dask.array as da
import numpy as np

from dask_coded.errors import UnsupportedOperationError
from dask_coded.kernels import served_library

__all__ = ["as_operand", "check_comparable", "check_together", "chunk_library"]


def chunk_library(*arrays: da.Array) -> str | None:
    """The one library of all chunks, if these can be encoded; else None."""
    found = {served_library(array._meta) for array in arrays}
    return found.pop() if len(found) == 1 else None


def as_operand(x: Any) -> Any:
    """A Dask array, or an array in memory: of a device where it is one, of NumPy otherwise."""
    return x if isinstance(x, da.Array) or served_library(x) is not None else np.asarray(x)


def check_together(meta: Any, x: Any) -> None:
    """Check that an operand lives where the chunks are that it is multiplied with.

    Raises
    ------
    UnsupportedOperationError
        If both are arrays of some library, and not of the same.
    """
    theirs, ours = served_library(getattr(x, "_meta", x)), served_library(meta)
    if None not in (theirs, ours) and theirs != ours:
        raise UnsupportedOperationError(
            f"a matrix of {ours} chunks cannot be multiplied with an operand of {theirs}: nothing "
            f"is copied between host and device unasked. Convert it, e.g. {ours}.asarray(x), or "
            f"x.map_blocks({ours}.asarray) for a Dask array"
        )


def check_comparable(meta: Any, verify: Any) -> None:
    """Check that results of such chunks can be compared with each other.

    Raises
    ------
    UnsupportedOperationError
        If they live on a device.
    """
    library = served_library(meta)
    if verify is not None and library not in ("numpy", None):
        raise UnsupportedOperationError(
            f"verify={verify!r} compares results on the host, and these are {library} chunks, "
            "which are not copied unasked; leave verify= out, or use NumPy chunks"
        )
