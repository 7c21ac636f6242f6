"""Compiles the kernels of a GPU before the work comes that needs them."""

import logging
from collections.abc import Collection, Iterator
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from dask_coded.errors import DeviceError, ParameterError
from dask_coded.fields import REAL, Field
from dask_coded.kernels._combine import combine
from dask_coded.kernels._neighbors import (
    candidate_distances,
    candidate_products,
    fuse_distances,
    top_k,
)
from dask_coded.kernels.gpu import require_device
from dask_coded.typing import AnyArray, Array

__all__ = ["warm_up"]

logger = logging.getLogger(__name__)

#: How blocks lie: on the grain of the widest access, off it, or with gaps between elements.
Layout: TypeAlias = Literal["aligned", "unaligned", "strided"]

# Elements of a block, and features of a point: a multiple of the widest access, and even.
_SIZE = 64
# Weights whose sums of float32 data stay in float32, and factors that make them need float64.
_FRACTIONS, _LARGE = (0.5, 0.75), 1e6
# A single one would only be copied.
_WHOLE = (2, 3)


class Code(Protocol):
    """What is asked of a code of :mod:`dask_coded.codes`."""

    field: Field
    n_shares: int

    @property
    def operand_grids(self) -> tuple[tuple[int, ...], ...]: ...
    def generator(self, operand: int = 0) -> Array: ...
    def is_decodable(self, survivors: Collection[int]) -> bool: ...
    def decoder(self, survivors: Collection[int]) -> Any: ...


def warm_up(
    sizes: Collection[tuple[int, int]] = (),
    dtypes: Collection[str] = (),
    *,
    code: Any = None,
    field: Field = REAL,
    nearest: Collection[int] = (),
    layouts: Collection[Layout] = ("aligned", "unaligned"),
    required: bool = False,
) -> None:
    """Compile, load and run once on the current device the kernels that a job will need.

    Each specialization takes NVRTC up to a second or two when it is first used on a machine; CuPy
    then keeps it on disk. Give this to every worker as it starts, and the first loss of a share
    does not wait for a compiler::

        client.register_worker_callbacks(partial(warm_up, code=code, dtypes=["float32"]))

    Parameters
    ----------
    sizes
        Pairs (inputs, outputs) of sums. The tasks of the array verbs make one output each, so
        that a code of k data shares needs ``(k, 1)`` for encoding and for decoding; more outputs
        are those of one call of :func:`combine`.
    dtypes
        Of the blocks; float32, or int64 in an exact field, if none is given.
    code
        A code of :mod:`dask_coded.codes`, in whose field the sums are taken then: those that make
        its shares, and those that decode when its last shares are lost, from none of them to as
        many as it tolerates.
    field
        Arithmetic; under ``PAIRED`` the kernels have twice as many inputs and outputs.
    nearest
        How many neighbours will be asked for: compiles distances, products, top-k, and the fusion
        of as many partial results as `sizes` and `code` have inputs.
    layouts
        Where blocks lie. Those that a task makes are ``"aligned"``; slices may start anywhere and
        are ``"unaligned"`` then, or ``"strided"``.
    required
        Whether a missing device is an error. Otherwise it is logged, as of the workers of one
        cluster some may have no GPU.

    Raises
    ------
    ParameterError
        If a size is no pair of positive numbers, or a layout is unknown.
    DeviceError
        If `required`, and there is no CuPy or no device.

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
    if unknown := set(layouts) - {"aligned", "unaligned", "strided"}:
        raise ParameterError(
            f"blocks lie 'aligned', 'unaligned' or 'strided'; got {sorted(unknown)}"
        )
    if code is not None:
        field = code.field
    try:
        cupy = require_device()
    except DeviceError as error:
        if required:
            raise
        logger.warning("No kernels are compiled here: %s", error)
        return
    for name in dtypes or ("int64" if field.exact else "float32",):
        dtype = np.dtype(name)
        floats = not field.exact and dtype.kind not in "biu"
        matrices = [weights for size in sizes for weights in _weights(*size, field, floats)]
        if code is not None:
            matrices += _rows_of(code)
        for layout in layouts:
            block = _block(cupy, dtype, layout)
            for weights in matrices:
                combine(weights, [block] * weights.shape[1], field=field)
        if nearest and dtype.kind == "f":
            counts = {int(np.count_nonzero(weights, axis=1).max()) for weights in matrices}
            _search(cupy, dtype, nearest, counts, layouts)
    cupy.cuda.Device().synchronize()


def _weights(inputs: int, outputs: int, field: Field, floats: bool) -> Iterator[Array]:
    """Weights of one size for each of the precisions that sums may need."""
    whole = np.resize(_FRACTIONS if floats else _WHOLE, (outputs, inputs))
    for factor in (1, _LARGE) if floats else (1,):
        turned = 1j if floats and field != REAL else 0
        yield whole * factor * (1 + turned) if floats else whole


def _rows_of(code: Code) -> list[Array]:
    """Weights of the sums that make shares and decode, each with one output; equal ones once."""
    rows: list[Array] = []
    for operand in range(len(code.operand_grids)):
        rows += list(code.generator(operand))
    for kept in range(code.n_shares, 0, -1):
        if not code.is_decodable(range(kept)):
            break
        rows += list(code.decoder(range(kept)).weights)
    used = {row[row != 0].tobytes(): row[row != 0] for row in rows if row.any()}
    return [row[None, :] for row in used.values()]


def _block(cupy: Any, dtype: np.dtype[Any], layout: str) -> AnyArray:
    zeros = cupy.zeros((2 * _SIZE,), dtype)
    if layout == "strided":
        return zeros[::2]
    return zeros[:_SIZE] if layout == "aligned" else zeros[1 : _SIZE + 1]


def _search(
    cupy: Any,
    dtype: np.dtype[Any],
    nearest: Collection[int],
    counts: Collection[int],
    layouts: Collection[str],
) -> None:
    rows, starts = cupy.zeros((1,), np.int64), cupy.asarray(np.array([0, 1]))
    norms = cupy.zeros((1,), np.float64)
    for layout in layouts:
        # Rows with gaps between their elements are copied before anything else.
        points = _block(cupy, dtype, "unaligned" if layout == "unaligned" else "aligned")[None]
        candidate_products(points, points, rows, starts)
        distances = candidate_distances(points, points, rows, starts)
    for count in counts:
        fuse_distances(np.ones(count), [distances] * count, norms, norms, rows, starts)
    for k in nearest:
        top_k(distances, k, starts)
