"""Results of uneven blocks, continued with zeros to one shape."""

from collections.abc import Sequence

import numpy as np

from dask_coded.typing import AnyArray

__all__ = ["padded"]


def padded(results: Sequence[AnyArray], even: bool = False) -> list[AnyArray]:
    """The results in one shape; `even` makes its first axis even, so that rows can be paired."""
    shapes = {result.shape for result in results}
    common = tuple(max(axis) for axis in zip(*shapes, strict=True))
    if even and common[0] % 2:
        common = (common[0] + 1, *common[1:])
    if shapes == {common}:
        return list(results)
    return [result if result.shape == common else _continued(result, common) for result in results]


def _continued(result: AnyArray, shape: tuple[int, ...]) -> AnyArray:
    return np.pad(
        result, [(0, want - have) for want, have in zip(shape, result.shape, strict=True)]
    )
