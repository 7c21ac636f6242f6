"""Complex weights on real blocks whose upper and lower halves are real and imaginary part.

A weight ``a + b i`` turns a block of halves ``(x, y)`` into ``(a x - b y, b x + a y)``. All of that
is real: the halves become blocks of their own, and the weights a real matrix twice as large.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from dask_coded.errors import BlockShapeError, UnsupportedDtypeError
from dask_coded.fields import REAL
from dask_coded.kernels._backends import Backend
from dask_coded.kernels.gpu._memory import device_memory
from dask_coded.typing import AnyArray

__all__ = ["combine_paired"]


def combine_paired(
    backend: Backend, weights: Any, blocks: Sequence[AnyArray], out: Sequence[AnyArray] | None
) -> list[AnyArray]:
    """:func:`dask_coded.kernels.combine` over ``PAIRED``, by any backend that serves ``REAL``.

    Raises
    ------
    BlockShapeError
        If the first axis has odd length, or `out` has another number or shape of arrays.
    UnsupportedDtypeError
        If blocks are complex.
    """
    if not weights.imag.any():
        return backend(weights.real.copy(), blocks, field=REAL, out=out)
    shape = tuple(blocks[0].shape)
    if not shape or shape[0] % 2:
        raise BlockShapeError(
            f"the halves of paired blocks lie along the first axis, so its length must be even; "
            f"got shape {shape}. Pad a row of zeros"
        )
    common = np.result_type(*{block.dtype for block in blocks}).newbyteorder("=")
    if common.kind == "c":
        raise UnsupportedDtypeError(
            f"paired coefficients are complex numbers for real blocks; got {common}. "
            "Use field=COMPLEX"
        )
    made_bytes = 0 if out is not None else len(weights) * blocks[0].size * common.itemsize
    with device_memory("combine", made_bytes):
        return _combined(backend, weights, blocks, common, out)


def _combined(
    backend: Backend,
    weights: Any,
    blocks: Sequence[AnyArray],
    common: np.dtype[Any],
    out: Sequence[AnyArray] | None,
) -> list[AnyArray]:
    shape = tuple(blocks[0].shape)
    if out is None:
        # NumPy hands this on to the library of the block, so that it works on any device. Its own
        # subclasses are not wanted, and CuPy knows no `subok`.
        like = np.asarray(blocks[0]) if isinstance(blocks[0], np.ndarray) else blocks[0]
        with _device_of(like):
            made = [np.empty_like(like, dtype=common) for _ in weights]
    else:
        made = list(out)
        if len(made) != len(weights) or any(tuple(array.shape) != shape for array in made):
            raise BlockShapeError(
                f"weights make {len(weights)} outputs of shape {shape}; out holds arrays of shape "
                f"{[tuple(array.shape) for array in made]}"
            )
    real = np.block([[weights.real, -weights.imag], [weights.imag, weights.real]])
    backend(real, _halves(blocks), field=REAL, out=_halves(made))
    return made


def _device_of(block: AnyArray) -> AbstractContextManager[Any]:
    """CuPy allocates on the current device, which need not be that of the blocks."""
    device = getattr(block, "device", None)
    return device if isinstance(device, AbstractContextManager) else nullcontext()


def _halves(blocks: Sequence[AnyArray]) -> list[AnyArray]:
    """Views of the upper halves of all blocks, then of the lower ones."""
    middle = blocks[0].shape[0] // 2 if blocks else 0
    return [block[:middle] for block in blocks] + [block[middle:] for block in blocks]
