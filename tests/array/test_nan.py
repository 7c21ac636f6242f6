"""NaN and infinity never reach what a plain product leaves finite: it is right, or an error."""

import dask.array as da
import numpy as np
import pytest
from distributed import Client, Scheduler, Worker
from distributed.utils_test import gen_cluster

from dask_coded import coded_matmul
from dask_coded.cluster import enable
from dask_coded.codes import (
    MDS,
    AbstractCode,
    Alloy,
    Entangled,
    GeneralizedPolyDot,
    MatDot,
    Polynomial,
)
from dask_coded.errors import UnsupportedOperationError

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(40, 20)), RNG.normal(size=(20, 16))
#: Their outputs are no shares, and there are several.
MIXED = [Entangled(12, 2, 1, 2), GeneralizedPolyDot(9, m=2, n=2), Alloy(14, 1)]


def operands(value: float) -> tuple[da.Array, da.Array]:
    a = A.copy()
    a[3, 3] = value
    return da.from_array(a, chunks=(20, 10)), da.from_array(B, chunks=(10, 8))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("code", MIXED, ids=repr)
def test_mixtures_with_nan_are_an_error(code: AbstractCode, value: float) -> None:
    a, b = operands(value)
    with pytest.raises(UnsupportedOperationError, match=r"NaN or infinity.*as MDS"):
        coded_matmul(a, b, code=code).compute(scheduler="sync")
    a, b = operands(1.0)
    found = coded_matmul(a, b, code=code).compute(scheduler="sync")
    np.testing.assert_allclose(found, a.compute(scheduler="sync") @ B, atol=1e-10)


@pytest.mark.parametrize("code", MIXED[:2], ids=repr)
def test_mixtures_that_overflow_are_an_error(code: AbstractCode) -> None:
    a, b = operands(1.0)
    with pytest.raises(UnsupportedOperationError, match="NaN or infinity"):
        coded_matmul(1.7e307 * da.sign(a), 10 * da.sign(b), code=code).compute(scheduler="sync")


@pytest.mark.parametrize("code", [MatDot(5, 2), Polynomial(10, 2, 2), MDS(6, 4)], ids=repr)
def test_nan_stays_in_its_row(code: AbstractCode) -> None:
    """A single output has nothing to spread to, and shares that are outputs are not mixed."""
    a, b = operands(np.nan)
    found = coded_matmul(a, b, code=code).compute(scheduler="sync")
    assert np.isnan(found[3]).all()
    np.testing.assert_allclose(np.delete(found, 3, 0), np.delete(A, 3, 0) @ B, atol=1e-10)


@pytest.mark.cluster
@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 3, timeout=120, active_rpc_timeout=60)
async def test_the_error_of_a_cluster_says_why(c: Client, s: Scheduler, *workers: Worker) -> None:
    await enable(c)
    a, b = operands(np.nan)
    with pytest.raises(UnsupportedOperationError, match=r"NaN or infinity.*as MDS"):
        await c.compute(coded_matmul(a, b, code=MIXED[0]))
