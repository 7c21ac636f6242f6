"""Alloy codes on real worker processes: early sets resolve, whatever becomes of the rest.

What is held up is not let go before the result is there.
"""

from collections.abc import Container
from typing import Any

import dask.array as da
import numpy as np
import pytest
from distributed import Event
from watching import DEADLINE, TRUSTING

from dask_coded import coded_matmul
from dask_coded.cluster import report
from dask_coded.codes import AbstractCode, Alloy
from dask_coded.testing import ConstantDelay, EmulatedCluster, TaskFaults, assert_clean

pytestmark = pytest.mark.cluster


def hold_shares(dask_worker: Any, lost: Container[int]) -> None:
    """Let the products of these shares begin on this worker, and not go on until they may.

    Those of the others wait too, until it is time for the rest.
    """
    from distributed import Event, get_worker

    from dask_coded.graph import _arithmetic

    result_of_share = _arithmetic.result_of_share

    def held(*args: Any) -> Any:
        key: Any = get_worker().get_current_task()
        if key[-1] in lost:
            Event(f"held-{key[-1]}").set()
            Event("go on").wait()
        else:
            Event("rest").wait()
        return result_of_share(*args)

    _arithmetic.result_of_share = held


def operands(dtype: str = "float64") -> tuple[da.Array, da.Array, np.ndarray]:
    """Operands of 2 x 2 blocks for the code, and their product by NumPy."""
    stream = np.random.default_rng(1)
    x = stream.integers(-99, 100, (48, 40)).astype(dtype)
    y = stream.integers(-99, 100, (40, 56)).astype(dtype)
    return da.from_array(x, chunks=(24, 20)), da.from_array(y, chunks=(20, 28)), x @ y


def check(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype
    if expected.dtype.kind == "i":
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("code", "lost", "dtype"),
    [
        (Alloy(14), (0, 8, 2, 10, 4, 12, 6), "float64"),
        (Alloy(14), (7, 1, 9, 3, 11, 5, 13), "int64"),
        (Alloy(14, mixing="global"), (7, 8, 9, 10, 11, 12, 13), "float64"),
    ],
    ids=["grouped", "grouped integers", "global"],
)
def test_seven_results_are_enough(code: AbstractCode, lost: tuple[int, ...], dtype: str) -> None:
    """One result of each product of Strassen's, where the worst case asks for 13 of 14."""
    survivors = set(range(14)) - set(lost)
    assert code.recovery_threshold == 13
    assert code.is_decodable(survivors)
    a, b, expected = operands(dtype)
    # Threads enough for what is held, so that nothing but the held shares is late.
    cluster = EmulatedCluster(3, threads=14, config=TRUSTING)
    with cluster, cluster.client() as client:
        client.run(hold_shares, lost=lost)
        future = client.compute(coded_matmul(a, b, code=code))
        # What had not begun would not be cancelled.
        for share in lost:
            assert Event(f"held-{share}").wait(timeout=DEADLINE)
        Event("rest").set()
        try:
            check(future.result(timeout=90), expected)
        finally:
            Event("go on").set()
        (group,) = report(client).groups
        assert survivors >= set(group["arrived"])
        assert code.is_decodable(group["arrived"])
        assert set(group["cancelled"]) == set(lost)
        del future
        assert_clean(client)


@pytest.mark.parametrize("deed", ["freeze", "kill"])
@pytest.mark.parametrize("mixing", ["grouped", "global"])
def test_two_workers_lost_in_the_middle(deed: str, mixing: Any) -> None:
    """Each holds some of the 21 shares, and is lost while it works on one."""
    code = Alloy(21, mixing=mixing)
    a, b, expected = operands()
    victims = ("w2", "w5")
    faults = TaskFaults(seed=0, delay=ConstantDelay(0.2), match="-parity", announce="share")
    # Threads enough for all that waits, wherever it is.
    with EmulatedCluster(8, threads=21) as cluster, cluster.client() as client:
        for victim in victims:
            cluster.inject(victim, faults)
        # The others wait: seven early results would be enough before the two have begun.
        others = [x.address for name, x in cluster.workers.items() if name not in victims]
        client.run(hold_shares, lost=range(21), workers=others)
        future = client.compute(coded_matmul(a, b, code=code))
        # Both first: what one of them begins with may come from the other.
        for victim in victims:
            assert cluster.points.wait(f"share-started@{victim}", timeout=90) is not None
        for victim in victims:
            getattr(cluster, deed)(victim)
        Event("go on").set()
        check(future.result(timeout=90), expected)
        if deed == "freeze":
            for victim in victims:
                cluster.thaw(victim)
        del future
        assert_clean(client)
