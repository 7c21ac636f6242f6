"""Products in slices: right, whole outside a worker, and given up when nobody wants them."""

import time

import dask
import numpy as np
import pytest
from distributed import Client, Event, Scheduler, Worker
from distributed.utils_test import gen_cluster
from watching import on_workers, until

from dask_coded.cluster import ShareCancelled, sliced_matmul
from dask_coded.cluster import _slices as slices

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("dtype", ["f4", "f8", "c16", "i8"])
@pytest.mark.parametrize("columns", [None, 1, 7])
@pytest.mark.parametrize("rows", [0, 1, 10, 1001])
def test_is_the_product(
    monkeypatch: pytest.MonkeyPatch, dtype: str, columns: int | None, rows: int
) -> None:
    rng = np.random.default_rng(0)
    a = (10 * rng.normal(size=(rows, 13))).astype(dtype)
    b = (10 * rng.normal(size=(13,) if columns is None else (13, columns))).astype(dtype)
    whole = sliced_matmul(a, b)
    # As inside a worker, in slices of a few rows.
    monkeypatch.setattr(slices, "cancelled_check", lambda: lambda: False)
    monkeypatch.setattr(slices, "_FIRST_FLOP", 100.0)
    sliced = sliced_matmul(a, b)
    for product in (whole, sliced):
        assert product.dtype == (a @ b).dtype
        np.testing.assert_allclose(product, a @ b, rtol=1e-4 if dtype == "f4" else 1e-10)


def test_other_shapes_are_one_call() -> None:
    a = np.ones((2, 3, 4))
    np.testing.assert_array_equal(sliced_matmul(a, np.ones((2, 4, 5))), np.full((2, 3, 5), 4.0))


def test_works_in_threads() -> None:
    graph = {"c": (sliced_matmul, np.eye(3), np.arange(3.0))}
    np.testing.assert_array_equal(dask.threaded.get(graph, "c"), np.arange(3.0))


def test_stops_between_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([False, False, True])
    told = []
    monkeypatch.setattr(slices, "cancelled_check", lambda: lambda: next(looks))
    monkeypatch.setattr(slices, "_FIRST_FLOP", 1.0)
    monkeypatch.setattr(slices, "_tell", told.append)
    slices.thread_state.key = "share"
    try:
        with pytest.raises(ShareCancelled):
            sliced_matmul(np.ones((100, 2)), np.ones(2))
    finally:
        del slices.thread_state.key
    assert len(told) == 1


class Endless:
    """A matrix whose product takes one slice after the other, until somebody says stop."""

    ndim = 2
    shape = (10**6, 10**6)

    def __getitem__(self, rows: slice) -> "Endless":
        return self

    def __matmul__(self, other: np.ndarray) -> np.ndarray:
        Event("slicing").set()
        time.sleep(0.01)  # so that the slices stay small
        return np.ones(1)


@gen_cluster(**on_workers(1))
async def test_cancelled_product_frees_its_slot(c: Client, s: Scheduler, a: Worker) -> None:
    endless = c.submit(slow_product, key="endless")
    await Event("slicing").wait()
    await c.cancel(endless)
    assert await c.submit(sum, [1, 2]) == 3  # the only thread is free again
    await until(lambda: bool(s.get_events("dask-coded")))


def slow_product() -> np.ndarray:
    return slices.sliced_matmul(Endless(), np.ones(1))
