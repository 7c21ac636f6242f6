"""What coding costs, and which sides are cut: counted by hand, and right products."""

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import LocalCluster

from dask_coded.array import coded_matmul, plan_matmul
from dask_coded.array._accuracy import Accuracy
from dask_coded.array._cost import Costs, cheapest
from dask_coded.array._plan import Choice
from dask_coded.codes import MDS, Polynomial


def square(blocks: int, size: int = 4000) -> da.Array:
    return da.ones((size, size), chunks=(size // blocks, size))


def choice(rows: int, columns: int, *, blocks: int, parity: int, n_workers: int | None) -> Choice:
    a, b = square(rows), square(columns).T
    code = MDS(blocks + parity, blocks)
    return cheapest(Choice(code, "rows", "given"), a, b, n_workers, Accuracy(a.dtype, None))


def test_costs_are_what_parity_computes_and_reads() -> None:
    costs = Costs(100, 20, 50, row_chunks=4, column_chunks=2)
    # Two parities of four blocks: half of the product again; they read the left operand twice,
    # and each the right one.
    assert costs.rows_by(4, 2) == pytest.approx(1 + 0.5 + 32 * (2 * 100 + 2 * 50) / (100 * 50))
    assert costs.columns_by(2, 1) == pytest.approx(1 + 0.5 + 32 * (50 + 100) / (100 * 50))
    # One parity for all eight output blocks.
    assert costs.both_by(4, 2, 1) == pytest.approx(1 + 1 / 8 + 32 * 150 / (100 * 50))


def test_small_grids_on_many_workers_are_cut_along_both_sides() -> None:
    chosen = choice(4, 4, blocks=4, parity=2, n_workers=18)
    assert isinstance(chosen.code, Polynomial)
    assert (chosen.code.m, chosen.code.n, chosen.code.n_shares) == (4, 4, 18)
    assert chosen.side == "both"
    assert "rows 1.5" in chosen.reason
    assert "both 1.1" in chosen.reason


def test_few_workers_leave_nothing_to_gain() -> None:
    chosen = choice(8, 8, blocks=8, parity=2, n_workers=10)
    assert chosen.side == "rows"
    assert isinstance(chosen.code, MDS)


def test_a_small_gain_is_left_for_what_decodes_from_less() -> None:
    chosen = choice(24, 24, blocks=24, parity=2, n_workers=50)
    assert isinstance(chosen.code, MDS)
    assert "too little less, as decoding reads more" in chosen.reason


def test_the_side_with_more_chunks_shares_its_parity_among_more() -> None:
    chosen = choice(2, 8, blocks=2, parity=1, n_workers=9)
    assert chosen.side == "columns"
    assert isinstance(chosen.code, MDS)
    assert chosen.code.k == 8


def test_integers_keep_their_exact_code() -> None:
    a = da.ones((8, 8), chunks=2, dtype=int)
    given = Choice(MDS(5, 4, parity="ones"), "rows", "given")
    assert cheapest(given, a, a, 18, Accuracy(a.dtype, None)) is given


@pytest.mark.cluster
def test_the_default_is_right_and_says_what_it_costs() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(60, 40)), rng.normal(size=(40, 60))
    with (
        dask.config.set({"distributed.scheduler.worker-saturation": "inf"}),
        LocalCluster(
            n_workers=18, threads_per_worker=1, processes=False, dashboard_address=":0"
        ) as cluster,
        cluster.get_client(),
    ):
        a = da.from_array(left, chunks=(20, 40))
        b = da.from_array(right, chunks=(40, 20))
        plan = plan_matmul(a, b)
        assert isinstance(plan.code, Polynomial)
        assert "estimated cost" in repr(plan)
        np.testing.assert_allclose(coded_matmul(a, b).compute(), left @ right, rtol=1e-9)
