"""What kind of arrays the chunks are: on the host, or on which device's library.

Chunks of CuPy go through every verb where they are, and so do those of any library that has a
backend in :mod:`dask_coded.kernels`. Three rules keep it so:

* Nothing is copied between host and device unasked. What would have to be is refused.
* What a verb makes has the array type of its operands: zeros and padding are made like an array
  that is there, and ``_meta`` like that of an operand.
* A task of a group is done when its array is there. Calls of a device return before that; if tasks
  did too, a device that hangs would have answered, and a decode would wait for it.

A cluster of GPUs is one worker with one thread for each, as dask-cuda starts them; memory pools
(RMM) and transports (UCX) are the cluster's affair, and nothing here sets either. Where only some
workers have a GPU, these declare it, and whoever makes device chunks demands it::

    dask cuda worker ADDRESS --resources "GPU=1"

    with dask.annotate(resources={"GPU": 1}):
        x = y.map_blocks(cupy.asarray)
        z = coded_matmul(x, x.T).persist()

All tasks of a group then stay on such workers, decoding and repair included. Without resources
Dask places device chunks on workers that cannot hold them: the share is lost, and when too many
are, CuPy's own error is raised (a DeviceError for operands that were in the client's memory).

Such operands are sent with the graph: each is copied to the host once, when the graph is submitted,
and not before. A large one, or one that is used often, is better made on the workers, by
``map_blocks`` as above or by ``client.scatter``.
"""

from typing import Any
from uuid import uuid4

import dask.array as da
import numpy as np
from dask.array.utils import meta_from_array

from dask_coded.errors import UnsupportedOperationError
from dask_coded.graph import carried_task, layered
from dask_coded.kernels import served_library

__all__ = [
    "as_dask",
    "as_operand",
    "check_comparable",
    "check_together",
    "chunk_library",
    "has_codable_dtype",
    "on_device",
]


def chunk_library(*arrays: da.Array) -> str | None:
    """The one library of all chunks, if these can be encoded; else None."""
    found = {served_library(array._meta) for array in arrays}
    return found.pop() if len(found) == 1 else None


def has_codable_dtype(dtype: np.dtype[Any]) -> bool:
    """Whether there are accurate weighted sums of such numbers: not of long double."""
    return dtype.kind in "iufc" and dtype.char not in "gG"


def on_device(x: Any) -> bool:
    """Whether something is an array in memory, and not in the host's."""
    return served_library(x) not in (None, "numpy")


def as_dask(x: Any) -> da.Array:
    """A Dask array, of one chunk where it is none yet.

    An array of a device stays where it is until the graph is sent to a cluster. Dask would pickle
    it for its name, and the scheduler would unpickle it, device or not.
    """
    if not on_device(x):
        return da.asanyarray(x)
    name = f"array-{uuid4().hex}"
    key = (name, *[0] * x.ndim)
    graph = layered(name, {key: carried_task(key, x)})
    return da.Array(graph, name, tuple((size,) for size in x.shape), meta=meta_from_array(x))


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
