"""The recovery threshold of a code, measured: without its formula, by ranks alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dask_coded.codes import AbstractCode


def largest_undecodable(code: AbstractCode, tries: int) -> int:
    """Size of the largest set found that does not decode, by rank alone.

    Over floats the rank is NumPy's, and over a prime field that of its elimination.
    """
    responses: Any = code.responses()
    targets: Any = code.targets()
    stream = np.random.default_rng(0)

    def decodes(shares: Sequence[int]) -> bool:
        chosen = responses[list(shares)]
        both = np.concatenate([chosen, targets])
        if code.field.exact:
            return code.field.rank(chosen) == code.field.rank(both)
        scale = 1e-9 * np.linalg.norm(both, 2)
        return bool(
            np.linalg.matrix_rank(chosen, tol=scale) == np.linalg.matrix_rank(both, tol=scale)
        )

    largest = 0
    ring = np.array(code.ring)
    # A try asks for a rank per share, of matrices that grow with the shares.
    for attempt in range(max(4, tries * 21 // code.n_shares**2)):
        # Whatever is lost first is a run of the ring; the rest is lost greedily.
        order = np.roll(ring, attempt) if attempt < code.n_shares else stream.permutation(ring)
        kept: list[int] = []
        for share in order:
            if not decodes([*kept, share]):
                kept.append(int(share))
        largest = max(largest, len(kept))
    return largest
