"""Compiles the kernels of a GPU before the work comes that needs them."""

from collections.abc import Collection

import numpy as np

from dask_coded.errors import ParameterError
from dask_coded.fields import REAL, Field
from dask_coded.kernels._combine import combine
from dask_coded.kernels._neighbors import candidate_distances, candidate_products, top_k
from dask_coded.kernels.gpu import require_device

__all__ = ["warm_up"]

# Elements of a block, and features of a point: a multiple of the widest access, and even.
_SIZE = 64
# Weights whose sums of float32 data stay in float32, and such that need float64.
_SMALL, _LARGE = 1.0, 1e3


def warm_up(
    sizes: Collection[tuple[int, int]],
    dtypes: Collection[str] = ("float32",),
    *,
    field: Field = REAL,
    nearest: Collection[int] = (),
) -> None:
    """Compile, load and run once on the current device the kernels that a job will need.

    Each specialisation takes NVRTC up to a second or two when it is first used on a machine; CuPy
    then keeps it on disk. Give this to every worker as it starts, and the first loss of a share
    does not wait for a compiler::

        client.register_worker_callbacks(partial(warm_up, [(16, 4)], ["float32"]))

    Parameters
    ----------
    sizes
        Pairs (inputs, outputs) of sums. A code of k data shares and s parities encodes with
        ``(k, s)``, and decodes t lost shares with ``(k, t)``.
    dtypes
        Of the blocks.
    field
        Arithmetic; under ``PAIRED`` the kernels have twice as many inputs and outputs.
    nearest
        How many neighbours will be asked for: compiles distances, products and top-k too.

    Raises
    ------
    ParameterError
        If a size is no pair of positive numbers.
    DeviceError
        If there is no CuPy or no device.

    Examples
    --------
    >>> warm_up([(4, 0)])
    Traceback (most recent call last):
    dask_coded.errors.ParameterError: sums have at least one input and one output; got (4, 0)
    """
    for inputs, outputs in sizes:
        if inputs < 1 or outputs < 1:
            raise ParameterError(
                f"sums have at least one input and one output; got {(inputs, outputs)}"
            )
    cupy = require_device()
    for name in dtypes:
        dtype = np.dtype(name)
        block = cupy.zeros((_SIZE,), dtype)
        for inputs, outputs in sizes:
            for size in (1, 2) if field.exact or dtype.kind in "biu" else (_SMALL, _LARGE):
                weights = np.full((outputs, inputs), size)
                weights[0, :1] = 2  # a single one would only be copied
                if not field.exact and field != REAL:
                    weights = weights * (1 + 1j)
                combine(weights, [block] * inputs, field=field)
        if nearest and dtype.kind == "f":
            points = cupy.zeros((1, _SIZE), dtype)
            rows, starts = cupy.zeros((1,), np.int64), cupy.asarray(np.array([0, 1]))
            candidate_products(points, points, rows, starts)
            distances = candidate_distances(points, points, rows, starts)
            for k in nearest:
                top_k(distances, k, starts)
    cupy.cuda.Device().synchronize()
