"""A default code bears its losses within the tolerance: asked of every set of lost shares."""

import itertools
from typing import Any

import dask.array as da
import numpy as np
import pytest

import dask_coded.array._batch_plan as batch_planning
from dask_coded.array import encode, plan_matmul, plan_matmul_batch
from dask_coded.array._accuracy import Accuracy, worst_amplification
from dask_coded.array._cost import cheapest
from dask_coded.array._plan import choose_code
from dask_coded.codes import MDS, AbstractCode, FlexibleCSA, Lagrange, Polynomial, Replication
from dask_coded.fields import PAIRED


def amplified(code: AbstractCode, lost: int) -> float:
    """The worst of all sets, one by one."""
    everyone = set(range(code.n_shares))
    return max(
        code.decoder(everyone - set(gone)).amplification
        for gone in itertools.combinations(range(code.n_shares), lost)
    )


@pytest.mark.parametrize(
    ("code", "lost"),
    [
        (MDS(9, k=8), 1),
        (MDS(12, k=8, field=PAIRED), 4),
        (Polynomial(14, m=3, n=4), 2),
        (Lagrange(9, k=4, degree=2), 2),
    ],
    ids=repr,
)
def test_few_sets_are_all_tried(code: AbstractCode, lost: int) -> None:
    found = worst_amplification(code, lost)
    worst = amplified(code, lost)
    if lost == 4:
        # 495 sets are sampled, and the estimate is on the safe side.
        assert worst <= found <= 4 * worst
    else:
        assert found == worst


def test_lost_workers_take_all_their_shares() -> None:
    code = MDS(12, k=8)
    everyone = set(range(12))
    assert worst_amplification(code, 1, places=4) == max(
        code.decoder(everyone - set(held)).amplification for held in code.placement(4)
    )
    # What cannot be decoded has no digits at all.
    assert worst_amplification(MDS(9, k=8), 2) == float("inf")


def tall(blocks: int, dtype: str, columns: int = 1) -> tuple[da.Array, da.Array]:
    rows, each = 4 * blocks, 4 * columns
    return da.ones((rows, 8), chunks=(4, 8), dtype=dtype), da.ones(
        (8, each), chunks=(8, 4), dtype=dtype
    )


@pytest.mark.parametrize(
    ("dtype", "parity", "tolerance"),
    [
        ("f8", 2, 1e-12),
        ("f8", 2, 1e-14),
        ("f8", 3, 1e-15),
        ("f4", 4, 1e-5),
        ("f4", 4, None),
        ("c16", 2, 1e-14),
    ],
)
@pytest.mark.parametrize("columns", [1, 3])
def test_a_default_bears_its_losses(
    dtype: str, parity: int, tolerance: float | None, columns: int
) -> None:
    a, b = tall(8, dtype, columns)
    plan = plan_matmul(a, b, parity=parity, tolerance=tolerance)
    assert plan.code is not None
    assert amplified(plan.code, parity) * np.finfo(dtype).eps <= plan.tolerance


def test_smaller_groups_and_at_last_copies() -> None:
    a, b = tall(8, "f8")
    whole = plan_matmul(a, b, parity=2)
    assert isinstance(whole.code, MDS)
    assert whole.code.k == 8
    assert "left out" not in repr(whole)
    smaller = plan_matmul(a, b, parity=2, tolerance=1e-14)
    assert isinstance(smaller.code, MDS)
    assert 1 < smaller.code.k < 8
    assert "left out, as decoding may amplify rounding by more than 45: MDS of 10" in repr(smaller)
    copies = plan_matmul(a, b, parity=2, tolerance=3e-16)
    assert copies.code == Replication(3, 1)
    assert "left out" in repr(copies)


@pytest.mark.parametrize("options", [{"shares_per_worker": 3}, {"verify": 1}], ids=str)
def test_other_ways_to_ask_are_within_the_tolerance_too(options: dict[str, Any]) -> None:
    a, b = tall(24, "f8")
    loose, tight = (
        plan_matmul(a, b, parity=2, tolerance=tolerance, **options).code
        for tolerance in (1e-3, 2e-14)
    )
    assert isinstance(loose, MDS)
    assert tight is not None
    assert tight.n_shares < loose.n_shares
    places = 10 if "shares_per_worker" in options else None
    assert worst_amplification(tight, 2, places) <= 2e-14 / np.finfo("f8").eps
    assert worst_amplification(loose, 2, places) > 2e-14 / np.finfo("f8").eps


def test_vectors_are_within_the_tolerance_too() -> None:
    a, _ = tall(8, "f8")
    code = plan_matmul(a, np.ones(8), parity=2, tolerance=1e-14).code
    assert code is not None
    assert amplified(code, 2) * np.finfo("f8").eps <= 1e-14


def test_a_cheaper_cut_of_both_sides_is_left_out() -> None:
    a, b = (da.ones((4000, 4000), chunks=each) for each in ((1000, 4000), (4000, 1000)))

    def chosen(tolerance: float) -> tuple[Any, str]:
        accuracy = Accuracy(np.dtype("f8"), tolerance)
        options: Any = {"parity": 2, "n_workers": 18, "pairable": True, "accuracy": accuracy}
        one = choose_code(4, 4, np.dtype("f8"), **options)
        choice = cheapest(one, a, b, 18, accuracy)
        return choice.code, accuracy.note()

    code, note = chosen(1e-6)
    assert isinstance(code, Polynomial)
    assert note == ""
    code, note = chosen(1e-14)
    assert isinstance(code, MDS)
    assert "Polynomial of 18 shares" in note
    assert amplified(code, 2) * np.finfo("f8").eps <= 1e-14


CYCLE = [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (0, 2)]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("digits", [1e1, 1e2, 1e3, 1e5])
@pytest.mark.parametrize(
    "edges",
    [CYCLE, [(i, i) for i in range(5)], [(i, j) for i in range(4) for j in range(3)]],
    ids=["cycle", "matching", "grid"],
)
def test_codewords_of_a_batch_bear_their_losses(
    dtype: str, digits: float, edges: list[tuple[int, int]]
) -> None:
    lefts, rights = (
        [da.zeros((900, 900), chunks=900, dtype=dtype) + i for i in range(5)] for _ in "ab"
    )
    pairs = [(lefts[i], rights[j].T) for i, j in edges]
    tolerance = digits * float(np.finfo(dtype).eps)
    plan = plan_matmul_batch(pairs, parity=3, tolerance=tolerance)
    codes = [codeword.code for codeword, _, _ in plan.codewords]
    codes += [alone.code for alone in plan.alone.values() if alone.code is not None]
    assert codes
    for code in codes:
        assert amplified(code, 3) <= digits
    if digits == 10:
        assert "left out, as decoding may amplify rounding by more than 10" in repr(plan)


def test_unrelated_pairs_are_not_all_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks like something that was tried is not tried again."""
    tried: list[int] = []
    true = batch_planning.given_codeword

    def counted(code: AbstractCode, pairs: Any, sizes: Any) -> Any:
        tried.append(len(pairs))
        return true(code, pairs, sizes)

    monkeypatch.setattr(batch_planning, "given_codeword", counted)
    names = [(f"a{i}", f"b{i}") for i in range(300)]
    sizes = {name: (4000, 4000) for pair in names for name in pair}
    for parity in (1, 2):
        tried.clear()
        accuracy = Accuracy(np.dtype("f8"), None)
        found, _ = batch_planning.choose_codewords(
            names, sizes, np.dtype("f8"), parity, 40, accuracy
        )
        assert sum(len(codeword.sides.pairs) for codeword in found) == 300
        # Copies of each, the parts, and what was put together.
        assert len(tried) < 1000
        assert all(isinstance(word.code, Lagrange | Replication | FlexibleCSA) for word in found)


def test_a_product_alone_may_be_cut_on_both_sides() -> None:
    """Then it costs what that costs, which is less."""
    sizes = {"a": (4000, 4000), "b": (4000, 4000)}
    accuracy = Accuracy(np.dtype("f8"), None)
    options: Any = {"parity": 2, "n_workers": 18, "pairable": True, "accuracy": accuracy}
    one = choose_code(4, 4, np.dtype("f8"), **options)
    a, b = (da.ones((4000, 4000), chunks=each) for each in ((1000, 4000), (4000, 1000)))
    both = cheapest(one, a, b, 18, accuracy)
    assert (one.side, both.side) == ("rows", "both")
    costs = [batch_planning.cost_alone(each, 4, 4, [("a", "b")], sizes) for each in (one, both)]
    # 6 of 4 blocks are multiplied, or 18 of 16; what is moved is counted in operands.
    numbers = 4000**2
    assert costs[0] == pytest.approx(4000 * numbers * 1.5 + 32 * numbers * (3 + 1.5))
    assert costs[1] == pytest.approx(4000 * numbers * 18 / 16 + 32 * numbers * (2 + 4))


def test_an_encoded_matrix_bears_its_losses_and_says_why() -> None:
    x = np.random.default_rng(0).normal(size=(96, 5))
    whole, tight, copies = (
        encode(x, parity=2, tolerance=tolerance) for tolerance in (None, 1e-14, 3e-16)
    )
    assert whole.code.k == 8
    assert "8 blocks and 2 parity; complex random parity" in repr(whole)
    assert "left out" not in repr(whole)
    assert isinstance(tight.code, MDS)
    assert 1 < tight.code.k < 8
    assert amplified(tight.code, 2) * np.finfo("f8").eps <= 1e-14
    assert "left out, as decoding may amplify rounding by more than 45: MDS of 10" in repr(tight)
    assert copies.code == Replication(3, 1)
    for encoded in (tight, copies):
        # Tiles are no larger than those of one stripe of as many blocks as there are places.
        assert max(encoded.rows.row_chunks) <= 12
        np.testing.assert_allclose((encoded @ np.ones(5)).compute(scheduler="sync"), x.sum(axis=1))
    assert "asked for" in repr(encode(x, code=MDS(6, k=4)))
