"""Which sets of survivors to try a code on: all of them, or the worst and a sample."""

import itertools
import math
from collections.abc import Iterator

import numpy as np

from dask_coded.codes import AbstractCode

__all__ = ["loss_patterns", "subsets"]

_MOST_SUBSETS = 1500
_SAMPLES = 120


def subsets(code: AbstractCode, size: int, seed: int = 0) -> Iterator[tuple[int, ...]]:
    """All survivor sets of a size where these are few, else contiguous and sampled losses.

    Examples
    --------
    >>> from dask_coded.codes import MDS
    >>> list(subsets(MDS(3, k=2), 2))
    [(0, 1), (0, 2), (1, 2)]
    """
    shares = range(code.n_shares)
    if math.comb(code.n_shares, size) <= _MOST_SUBSETS:
        yield from itertools.combinations(shares, size)
        return
    for lost in loss_patterns(code, code.n_shares - size, _SAMPLES, seed):
        yield tuple(sorted(set(shares) - set(lost)))


def loss_patterns(
    code: AbstractCode, n_lost: int, n_random: int, seed: int = 0
) -> Iterator[tuple[int, ...]]:
    """Every run of neighbours, by index and around the ring, then random losses.

    Examples
    --------
    >>> from dask_coded.codes import MDS
    >>> list(loss_patterns(MDS(4, k=3), 2, n_random=0))
    [(0, 1), (1, 2), (2, 3), (3, 0)]
    """
    n_shares = code.n_shares
    for order in dict.fromkeys((tuple(range(n_shares)), code.ring)):
        for start in range(n_shares):
            yield tuple(order[(start + step) % n_shares] for step in range(n_lost))
    stream = np.random.default_rng(seed)
    for _ in range(n_random):
        yield tuple(int(share) for share in stream.choice(n_shares, n_lost, replace=False))
