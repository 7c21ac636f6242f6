"""Results of uneven blocks, continued with zeros to one shape."""

from collections.abc import Sequence

import numpy as np

from dask_coded.typing import AnyArray

__all__ = ["padded"]


def padded(results: Sequence[AnyArray], even: bool = False) -> list[AnyArray]:
    """The results in one shape; `even` makes its first axis even, so that rows can be paired."""
    results = _together(results)
    shapes = {result.shape for result in results}
    common = tuple(max(axis) for axis in zip(*shapes, strict=True))
    if even and common[0] % 2:
        common = (common[0] + 1, *common[1:])
    if shapes == {common}:
        return list(results)
    return [result if result.shape == common else _continued(result, common) for result in results]


def _together(results: Sequence[AnyArray]) -> Sequence[AnyArray]:
    """The results, with a single zero of the host brought to the device where the others are.

    Shares of void tiles give that; they do not know what kind of arrays the others multiply.
    """
    hosts = [type(result) is np.ndarray for result in results]
    if all(hosts) or not any(hosts):
        return results
    like = results[hosts.index(False)]
    return [
        np.zeros_like(like, shape=result.shape, dtype=result.dtype)
        if host and result.size == 1 and not result.any()
        else result
        for host, result in zip(hosts, results, strict=True)
    ]


def _continued(result: AnyArray, shape: tuple[int, ...]) -> AnyArray:
    return np.pad(
        result, [(0, want - have) for want, have in zip(shape, result.shape, strict=True)]
    )
