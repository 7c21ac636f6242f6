"""Integers modulo a prime, as shares of exact products are, and how large the integers were.

Residues say nothing of the size of what they stand for, and beyond half the prime a product would
be another one. So a mixture carries the largest entry that was mixed, and a result a bound of all
products that it was made of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from dask.sizeof import sizeof
from distributed.protocol import deserialize, register_serialization, serialize

from dask_coded.fields import PrimeField
from dask_coded.graph._padding import padded
from dask_coded.kernels import combine
from dask_coded.typing import AnyArray, Array

__all__ = ["Residues", "mixed_residues", "packed", "signed_sum", "unpacked"]


@dataclass(frozen=True, eq=False)
class Residues:
    """A mixture of blocks of integers modulo a prime, or a product of two such mixtures."""

    array: AnyArray
    extent: int
    """No integer that it stands for is larger in size."""


def packed(elements: Array, field: PrimeField) -> AnyArray:
    """Elements as they are kept and travel: in half the bytes where they fit."""
    return elements.astype(np.uint32) if field.p <= 2**32 else elements


def unpacked(elements: AnyArray) -> AnyArray:
    """Elements as they are computed with."""
    return elements.astype(np.int64, copy=False)


def extent(block: AnyArray) -> int:
    """The largest entry in size."""
    return max(abs(int(block.min())), abs(int(block.max()))) if block.size else 0


def mixed_residues(weights: Array, *blocks: AnyArray, field: PrimeField) -> Residues:
    """A weighted sum of blocks of integers modulo p.

    Parameters
    ----------
    weights
        ``(len(blocks),)``, elements of the field.
    *blocks
        Integers of any shapes; shorter blocks are continued with zeros.
    field
        Whose elements are wanted.
    """
    elements = [field.asarray(np.asarray(block)) for block in blocks]
    (mixture,) = combine(np.asarray(weights)[None, :], padded(elements), field=field)
    return Residues(packed(mixture, field), max(map(extent, blocks)))


def signed_sum(
    weights: Array,
    results: Sequence[AnyArray],
    field: PrimeField,
    shape: tuple[int, ...] | None,
    dtype: str,
) -> AnyArray:
    """One output from results, which are residues or outputs themselves."""
    elements = [field.asarray(np.asarray(result)) for result in results]
    (output,) = combine(np.asarray(weights)[None, :], padded(elements), field=field)
    if shape is not None and output.shape != shape:
        output = output[tuple(slice(length) for length in shape)]
    return field.decode_signed(output).astype(dtype, copy=False)


def _to_frames(mixture: Residues) -> tuple[dict[str, Any], list[Any]]:
    header, frames = serialize(mixture.array, serializers=("dask", "pickle"), on_error="raise")
    return {"array": header, "extent": str(mixture.extent)}, frames


def _from_frames(header: dict[str, Any], frames: list[Any]) -> Residues:
    # As text: bounds of sums may have more than 64 bits.
    return Residues(deserialize(header["array"], frames), int(header["extent"]))


register_serialization(Residues, _to_frames, _from_frames)


@sizeof.register(Residues)
def _size(mixture: Residues) -> int:
    return int(sizeof(mixture.array))
