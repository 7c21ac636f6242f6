"""Products by alloy codes for chunks that do not fit the code: their shares mix only a few blocks.

A share that mixes all blocks is as long as the longest of them. These are not: lengths differ
between the two operands of a share along the inner axis, and between the products that it sums.
"""

import itertools
from typing import Any

import dask.array as da
import numpy as np
import pytest
from losses import computed_without

from dask_coded.array import coded_matmul
from dask_coded.codes import Alloy

pytestmark = pytest.mark.filterwarnings("ignore::dask.array.PerformanceWarning")

ROWS = [(1, 3), (3, 1), (2,), (1, 2, 1)]
INNER = [(2, 2, 2), (1, 2, 3), (3, 1), (4,), (1, 1, 1, 1, 1)]
COLUMNS = [(1, 3), (3, 1), (2,), (1, 1, 2)]


@pytest.mark.parametrize(
    "code",
    [
        Alloy(14),
        Alloy(14, mixing="global"),
        Alloy(30, m=2, n=2),
        Alloy(51, levels=2),
        Alloy(6, m=2, n=2, levels=0),
    ],
    ids=repr,
)
def test_any_chunks(code: Alloy) -> None:
    stream = np.random.default_rng(0)
    for rows, inner, columns in itertools.product(ROWS, INNER, COLUMNS):
        x = stream.integers(-9, 10, (sum(rows), sum(inner))).astype(float)
        y = stream.integers(-9, 10, (sum(inner), sum(columns))).astype(float)
        a, b = da.from_array(x, chunks=(rows, inner)), da.from_array(y, chunks=(inner, columns))
        found = coded_matmul(a, b, code=code).compute(scheduler="sync")
        np.testing.assert_allclose(found, x @ y, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", ["int64", "uint8"])
def test_integers_are_exact_on_early_sets(dtype: Any) -> None:
    """Seven of 21 results, and whole weights: every bit is right, wrapped as NumPy wraps."""
    stream = np.random.default_rng(1)
    x, y = stream.integers(0, 200, (2, 6, 6)).astype(dtype)
    a, b = da.from_array(x, chunks=(3, 6)), da.from_array(y, chunks=(6, 3))
    product = coded_matmul(a, b, code=Alloy(21))
    for lost in (range(14), range(7, 21), [*range(0, 21, 2), *range(3, 14, 4)][:12]):
        gone = set(lost)
        if Alloy(21).is_decodable(set(range(21)) - gone):
            found = computed_without(product, lambda spec, gone=gone: gone)
            np.testing.assert_array_equal(found, x @ y)
