"""Several shares to a worker: what is chosen, that it bears what it says, and what is encoded."""

import itertools
from collections import Counter
from typing import Any

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_coded import coded_matmul, plan_matmul
from dask_coded.array._plan import choose_code
from dask_coded.codes import MDS, Bivariate, Product
from dask_coded.errors import ParameterError

RNG = np.random.default_rng(5)


@settings(max_examples=60, deadline=None)
@given(
    chunks=st.integers(2, 30),
    workers=st.integers(3, 9),
    parity=st.integers(1, 3),
    each=st.integers(2, 4),
    dtype=st.sampled_from(["f8", "c8", "i4"]),
)
def test_parity_counts_workers(
    chunks: int, workers: int, parity: int, each: int, dtype: str
) -> None:
    """Whichever workers are lost with all their shares, as many as asked for, the rest decodes."""
    parity = min(parity, workers - 1)
    choice = choose_code(
        chunks,
        1,
        np.dtype(dtype),
        parity=parity,
        n_workers=workers,
        pairable=True,
        shares_per_worker=each,
    )
    code = choice.code
    assert code is not None
    holdings = code.placement(workers)
    assert f"up to {max(map(len, holdings))} share" in choice.reason
    for gone in itertools.combinations(range(workers), parity):
        left = [s for w, shares in enumerate(holdings) if w not in gone for s in shares]
        assert code.is_decodable(left)
    if dtype != "i4":
        assert code.tolerated_workers(workers) >= parity
        assert max(map(len, holdings)) <= each + 1


def test_fewer_chunks_give_fewer_shares() -> None:
    """Shares are cut along chunks: with eight of them no worker of ten gets four."""
    choice = choose_code(
        8, 1, np.dtype("f8"), parity=2, n_workers=10, pairable=True, shares_per_worker=4
    )
    assert choice.code is not None
    assert choice.code.n_shares == 10
    assert "up to 1 share to a worker" in choice.reason


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128", "int64"])
def test_products(dtype: str) -> None:
    a, b = (RNG.integers(-50, 50, shape).astype(dtype) for shape in [(52, 6), (6, 3)])
    left = da.from_array(a, chunks=(4, 6))
    found = coded_matmul(left, b, parity=1, shares_per_worker=2)
    np.testing.assert_allclose(found.compute(scheduler="sync"), a @ b, rtol=1e-5, atol=1e-5)
    assert found.dtype == (a @ b).dtype


def test_what_cannot_be() -> None:
    a = da.ones((8, 2), chunks=(1, 2))
    with pytest.raises(ParameterError, match="a code with more shares than there are workers"):
        coded_matmul(a, a.T, code=MDS(10, k=8), shares_per_worker=2)
    for each in (0, 1.5, True):
        with pytest.raises(ParameterError, match="shares_per_worker must be an int"):
            plan_matmul(a, a.T, parity=1, shares_per_worker=each)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="counts workers, and there are 3"):
        choose_code(8, 1, np.dtype("f8"), parity=3, n_workers=3, pairable=True, shares_per_worker=2)


@pytest.mark.parametrize(
    ("code", "of_a", "of_b"),
    [
        # Six workers with one share of A, which is a block on the first one, and two of B.
        (Bivariate(12, m=2, n=3, b_shares=2), 5, 12),
        (Bivariate(12, m=3, n=2, a_shares=3), 12, 3),
        # These are on different workers, which do not wait for each other.
        (Product(MDS(3, k=2), MDS(3, k=2)), 3, 3),
    ],
    ids=repr,
)
def test_a_worker_encodes_once_what_its_shares_have_alike(code: Any, of_a: int, of_b: int) -> None:
    m, n = code.output_grid
    a, b = RNG.normal(size=(m * 4, 6)), RNG.normal(size=(6, n * 5))
    product = coded_matmul(
        da.from_array(a, chunks=(4, 6)), da.from_array(b, chunks=(6, 5)), code=code
    )
    names = Counter(str(key[0])[:8] for key in product.__dask_graph__() if isinstance(key, tuple))
    assert (names["encode-a"], names["encode-b"]) == (of_a, of_b)
    np.testing.assert_allclose(product.compute(scheduler="sync"), a @ b, atol=1e-9)


@pytest.mark.parametrize("shape", [(9, 4, 11), (4, 3, 7), (17, 5, 3)])
def test_bivariate_with_ragged_chunks(shape: tuple[int, int, int]) -> None:
    m, p, n = shape
    a, b = RNG.normal(size=(m, p)), RNG.normal(size=(p, n))
    left, right = da.from_array(a, chunks=(2, 2)), da.from_array(b, chunks=(2, 3))
    for code in (Bivariate(12, m=2, n=3, b_shares=3), Bivariate(9, m=3, n=2, a_shares=3)):
        found = coded_matmul(left, right, code=code).compute(scheduler="sync")
        np.testing.assert_allclose(found, a @ b, atol=1e-9)
