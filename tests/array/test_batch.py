"""coded_matmul_batch against NumPy, without a cluster: whole, with losses, and what it refuses."""

import itertools
from collections.abc import Sequence
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.highlevelgraph import HighLevelGraph
from hypothesis import given, settings
from hypothesis import strategies as st
from losses import computed_without, loss_sets, low_level, specs

import dask_coded.array._batch as batching
import dask_coded.array._plan as planning
from dask_coded.array import coded_matmul_batch, plan_matmul_batch
from dask_coded.array._accuracy import Accuracy
from dask_coded.array._batch_plan import choose_codewords
from dask_coded.codes import (
    MDS,
    AbstractCode,
    CrossSubspaceAlignment,
    Entangled,
    FlexibleCSA,
    GeneralizedCSA,
    Lagrange,
    Polynomial,
    Product,
    Replication,
    Uncoded,
)
from dask_coded.errors import (
    BlockShapeError,
    ParameterError,
    UnsupportedDtypeError,
    UnsupportedOperationError,
)
from dask_coded.fields import PAIRED, REAL, PrimeField

pytestmark = pytest.mark.filterwarnings("ignore::dask.array.PerformanceWarning")

CYCLE = [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (0, 2)]


class Together:
    """Several arrays as one collection, so that their groups are seen whole."""

    def __init__(self, arrays: Sequence[da.Array]) -> None:
        self.arrays = arrays

    def __dask_graph__(self) -> HighLevelGraph:
        return HighLevelGraph.merge(*(array.__dask_graph__() for array in self.arrays))

    def __dask_keys__(self) -> list[Any]:
        return [array.__dask_keys__() for array in self.arrays]

    def __dask_postcompute__(self) -> Any:
        def finish(blocks: Any) -> list[np.ndarray]:
            return [np.block([list(row) for row in each]) for each in blocks]

        return finish, ()


def operand(shape: tuple[int, int], chunks: Any, seed: int = 0, dtype: str = "float64") -> da.Array:
    values = np.random.default_rng(seed).integers(0, 9, (2, *shape))
    exact = values[0] + 1j * values[1] if np.dtype(dtype).kind == "c" else values[0]
    return da.from_array(exact.astype(dtype), chunks=chunks)


def matrices(count: int, left: bool, dtype: str = "float64") -> list[da.Array]:
    shape, chunks = ((4, 6), (2, 3)) if left else ((6, 5), (3, (2, 3)))
    return [operand(shape, chunks, 2 * seed + left, dtype) for seed in range(count)]


def pairs_of(edges: Sequence[tuple[int, int]], dtype: str = "float64") -> list[Any]:
    lefts, rights = (
        matrices(1 + max(ends), side, dtype)
        for ends, side in zip(zip(*edges, strict=True), (True, False), strict=True)
    )
    return [(lefts[i], rights[j]) for i, j in edges]


def check(outputs: Sequence[da.Array], pairs: Sequence[tuple[Any, Any]]) -> None:
    """Everything that can be seen of the lazy products, and their values."""
    assert len(outputs) == len(pairs)
    values = dask.compute(*outputs, scheduler="sync")
    for output, value, (a, b) in zip(outputs, values, pairs, strict=True):
        reference = da.matmul(a, b)
        assert output.shape == reference.shape
        assert output.chunks == reference.chunks
        assert output.dtype == reference.dtype == value.dtype
        assert type(output._meta) is type(reference._meta)
        expected = np.matmul(*dask.compute(a, b, scheduler="sync"))
        eps = 0 if value.dtype.kind in "iu" else np.finfo(value.dtype).eps
        np.testing.assert_allclose(value, expected, rtol=0, atol=eps * 1e6)


@st.composite
def batches(draw: st.DrawFn) -> list[tuple[da.Array, da.Array]]:
    """Pairs of matrices of one to three kinds of shapes, chunks and dtypes, operands repeated."""
    pairs: list[tuple[da.Array, da.Array]] = []
    for _ in range(draw(st.integers(1, 2))):
        inner = draw(st.integers(1, 6))
        dtypes = st.sampled_from(["float32", "float64", "complex64", "int64", "int16", "uint8"])
        cut = st.integers(1, 4)
        lefts = [
            operand((draw(st.integers(1, 6)), inner), (draw(cut), draw(cut)), seed, draw(dtypes))
            for seed in range(draw(st.integers(1, 3)))
        ]
        rights = [
            operand((inner, draw(st.integers(1, 6))), (draw(cut), draw(cut)), seed, draw(dtypes))
            for seed in range(draw(st.integers(1, 3)))
        ]
        every = list(itertools.product(lefts, rights))
        chosen = st.lists(st.sampled_from(range(len(every))), min_size=1, max_size=7)
        pairs += [every[index] for index in draw(chosen)]
    return pairs


@settings(max_examples=40)
@given(batches(), st.integers(0, 3))
def test_batch_is_numpys(pairs: list[tuple[da.Array, da.Array]], parity: int) -> None:
    check(coded_matmul_batch(pairs, parity=parity), pairs)


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=7, unique=True),
    st.integers(1, 3),
    st.data(),
)
def test_any_losses_of_flexible_codes(
    edges: list[tuple[int, int]], parity: int, data: st.DataObject
) -> None:
    renamed = [
        {old: new for new, old in enumerate(dict.fromkeys(ends))}
        for ends in zip(*edges, strict=True)
    ]
    edges = [(renamed[0][i], renamed[1][j]) for i, j in edges]
    code = FlexibleCSA.for_pairs(edges, parity, apart=data.draw(st.booleans()))
    pairs = pairs_of(edges)
    outputs = coded_matmul_batch(pairs, code=code)
    lost = data.draw(st.sets(st.integers(0, code.n_shares - 1), max_size=parity))
    values = computed_without(Together(outputs), lambda spec: lost)
    for value, (a, b) in zip(values, pairs, strict=True):
        np.testing.assert_allclose(value, a.compute() @ b.compute(), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("edges", "code"),
    [
        ([(i, i) for i in range(4)], Lagrange(9, k=4, degree=2)),
        ([(i, i) for i in range(4)], CrossSubspaceAlignment(9, size=2, groups=2)),
        (CYCLE, CrossSubspaceAlignment(9, size=2, groups=3)),
        (CYCLE, Lagrange(13, k=6, degree=2)),
        (CYCLE, Replication(12, k=6)),
        ([(0, 0), (0, 1)], GeneralizedCSA(9, size=2, p=2, field=REAL)),
        ([(0, 0), (1, 0)], GeneralizedCSA(15, size=2, m=2, p=2, field=REAL)),
        (CYCLE, FlexibleCSA.for_pairs(CYCLE, 2)),
        (CYCLE, FlexibleCSA.for_pairs(CYCLE, 2, apart=True)),
        ([(0, j) for j in range(4)], MDS(6, k=4)),
        ([(i, 0) for i in range(4)], MDS(6, k=4, field=PAIRED)),
        ([(i, j) for i in range(2) for j in range(3)], Polynomial(8, m=2, n=3)),
        ([(i, j) for i in range(2) for j in range(3)], Product(MDS(3, k=2), MDS(4, k=3))),
    ],
    ids=repr,
)
def test_every_kind_of_code_with_losses(edges: list[tuple[int, int]], code: AbstractCode) -> None:
    pairs = pairs_of(edges)
    outputs = coded_matmul_batch(pairs, code=code)
    check(outputs, pairs)
    for lost in (set(), *loss_sets(code)):
        values = computed_without(Together(outputs), lambda spec, lost=lost: lost)
        for value, (a, b) in zip(values, pairs, strict=True):
            np.testing.assert_allclose(value, a.compute() @ b.compute(), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "complex64", "complex128"])
def test_losses_in_every_dtype(dtype: str) -> None:
    pairs = pairs_of(CYCLE, dtype)
    outputs = coded_matmul_batch(pairs, code=FlexibleCSA.for_pairs(CYCLE, 2))
    values = computed_without(Together(outputs), lambda spec: {0, 3})
    for value, (a, b) in zip(values, pairs, strict=True):
        assert value.dtype == dtype
        np.testing.assert_allclose(value, a.compute() @ b.compute(), rtol=1e-3)


@pytest.mark.parametrize("edges", [CYCLE, [(0, 0)], [(i, j) for i in range(3) for j in range(2)]])
@pytest.mark.parametrize("dtype", ["int64", "uint8"])
def test_integers_are_exact_with_a_loss(edges: list[tuple[int, int]], dtype: str) -> None:
    pairs = pairs_of(edges, dtype)
    outputs = coded_matmul_batch(pairs, parity=1)
    for lost in range(2):
        values = computed_without(Together(outputs), lambda spec, lost=lost: {lost})
        for value, output, (a, b) in zip(values, outputs, pairs, strict=True):
            assert value.dtype == output.dtype == (a @ b).dtype
            np.testing.assert_array_equal(value, (a @ b).compute())


def test_sizes_that_differ_are_continued_with_zeros() -> None:
    lefts = [operand((rows, 4), (3, 2), rows) for rows in (4, 5, 6)]
    rights = [operand((4, columns), (2, 5), columns) for columns in (2, 3, 5)]
    edges = [(0, 0), (1, 1), (2, 2), (0, 2)]
    pairs = [(lefts[i], rights[j]) for i, j in edges]
    outputs = coded_matmul_batch(pairs, code=FlexibleCSA.for_pairs(edges, 2))
    check(outputs, pairs)
    values = computed_without(Together(outputs), lambda spec: {0, 2})
    for value, (a, b) in zip(values, pairs, strict=True):
        np.testing.assert_allclose(value, a.compute() @ b.compute(), rtol=1e-9)


def test_an_operand_of_many_pairs_is_encoded_once() -> None:
    """As many mixtures as shares hold, of the tiles of one operand, however many pairs use it."""
    edges = [(i, j) for i in range(3) for j in range(4) if (i, j) != (2, 3)]
    code = FlexibleCSA.for_pairs(edges, parity=2)
    outputs = coded_matmul_batch(pairs_of(edges), code=code)
    graph = low_level(Together(outputs))
    spare = code.n_shares - len(edges)
    # 2 x 2 tiles of every operand on the left, 2 x 2 on the right.
    keys = mixtures(graph)
    assert len(keys) == 2 * 4 * spare
    assert all(len(graph[key].dependencies) <= 4 for key in keys)
    # One operand on one side is sent as it is.
    star = coded_matmul_batch(pairs_of([(0, j) for j in range(4)]), code=MDS(6, k=4))
    assert len(mixtures(low_level(Together(star)))) == 4 * 2


def mixtures(graph: Any) -> list[Any]:
    return [key for key in graph if str(key[0]).startswith("coded-batch-encode")]


def test_codewords_have_their_mixtures_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    """All pairs of 4 x 4 in four codewords, two of which mix each operand alike."""
    monkeypatch.setattr(batching, "worker_count", lambda client: 6)
    ones = {
        side: [da.ones((900, 900), chunks=900) + 9 * side + i for i in range(4)] for side in (0, 1)
    }
    pairs = list(itertools.product(ones[0], ones[1]))
    plan = plan_matmul_batch(pairs, parity=2)
    codes = [codeword.code for codeword, _, _ in plan.codewords]
    assert codes == [Polynomial(6, m=2, n=2, field=PAIRED)] * 4
    graph = low_level(Together(plan.build()))
    keys = mixtures(graph)
    # Two parity shares, of two halves on each side: not four for each codeword.
    assert len(keys) == 2 * 2 * 2
    alike = {(graph[key].args[0].tobytes(), *map(str, graph[key].dependencies)) for key in keys}
    assert len(alike) == len(keys)
    # Another call mixes what this one did.
    again = coded_matmul_batch(pairs[:2] + pairs[4:6], code=codes[0])
    assert set(mixtures(low_level(Together(again)))) < set(keys)


def test_a_pair_that_occurs_twice_is_computed_once() -> None:
    pairs = pairs_of([(0, 0), (0, 1), (0, 0)])
    outputs = coded_matmul_batch(pairs, parity=1)
    assert outputs[0] is outputs[2]
    check(outputs, pairs)


def test_numpy_operands_are_one_operand_if_equal() -> None:
    x = np.arange(6.0).reshape(2, 3)
    plan = plan_matmul_batch([(x, x.T), (x.copy(), np.ones((3, 2)))], parity=1)
    assert len({left for left, _ in plan.pairs}) == 1
    check(plan.build(), [(x, x.T), (x, np.ones((3, 2)))])


def test_one_output_alone_and_what_is_built_on_it() -> None:
    pairs = pairs_of(CYCLE)
    outputs = coded_matmul_batch(pairs, code=FlexibleCSA.for_pairs(CYCLE, 2))
    expected = pairs[3][0].compute() @ pairs[3][1].compute()
    np.testing.assert_allclose((outputs[3].T + 1).compute(scheduler="sync"), expected.T + 1)
    total = sum(outputs).sum()
    np.testing.assert_allclose(
        total.compute(scheduler="sync"), sum((a @ b).sum().compute() for a, b in pairs)
    )


def test_long_inner_dimensions_are_multiplied_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_BYTES_PER_TASK", 1)
    pairs = pairs_of(CYCLE)
    outputs = coded_matmul_batch(pairs, code=CrossSubspaceAlignment(9, size=2, groups=3))
    assert [key for key in low_level(Together(outputs)) if str(key[0]).endswith("-part")]
    check(outputs, pairs)


def test_nan_stays_in_its_product() -> None:
    pairs = pairs_of([(0, 0), (1, 1), (2, 2)])
    bad = pairs[1][0].compute()
    bad[0, 0] = np.nan
    pairs[1] = da.from_array(bad, chunks=(2, 3)), pairs[1][1]
    outputs = coded_matmul_batch(pairs, code=Lagrange(7, k=3, degree=2))
    for value, (a, b) in zip(dask.compute(*outputs, scheduler="sync"), pairs, strict=True):
        np.testing.assert_array_equal(value, a.compute() @ b.compute())


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    def refuse(block: np.ndarray) -> np.ndarray:
        raise AssertionError("computed")

    a = da.ones((4, 4), chunks=2).map_blocks(refuse, meta=np.empty((0, 0)))
    outputs = coded_matmul_batch([(a, a), (a, a.T)], parity=1)
    with pytest.raises(AssertionError, match="computed"):
        outputs[0].compute(scheduler="sync")


def test_keys_are_deterministic() -> None:
    keys = [
        set(low_level(Together(coded_matmul_batch(pairs_of(CYCLE), parity=parity))))
        for parity in (1, 1, 2)
    ]
    assert keys[0] == keys[1]
    assert keys[0] != keys[2]


def test_no_pairs() -> None:
    assert coded_matmul_batch([]) == []


def test_empty_unknown_and_odd_operands_are_left_to_dask() -> None:
    a = operand((4, 4), 2)
    empty = da.ones((4, 0), chunks=2)
    boolean = a > 3
    unknown = a[a[:, 0] >= 0]
    pairs = [(a, a), (a, empty), (boolean, boolean), (unknown, a)]
    plan = plan_matmul_batch(pairs, parity=1)
    assert len(plan.plain) == 3
    for word in ("empty", "cannot encode", "unknown"):
        assert word in repr(plan)
    for value, (x, y) in zip(dask.compute(*plan.build(), scheduler="sync"), pairs, strict=True):
        np.testing.assert_array_equal(value, (x @ y).compute(scheduler="sync"))
    with pytest.raises(UnsupportedOperationError, match=r"compute_chunk_sizes\(\)"):
        coded_matmul_batch([(unknown, a)], code=Replication(2, k=1))


M = operand((4, 4), 2)


@pytest.mark.parametrize(
    ("pairs", "options", "error", "match"),
    [
        ([(M, M)], {"code": MDS(2, 1), "parity": 1}, ParameterError, "both code="),
        ([(M, M)], {"parity": -1}, ParameterError, "at least 0"),
        ([M[0]], {}, ParameterError, "entry 0 of the batch is no pair"),
        ([(M, M), (M, M[0])], {}, BlockShapeError, "pair 1 of the batch"),
        ([(M[None], M)], {}, BlockShapeError, "two dimensions"),
        ([(M, M[:3])], {}, BlockShapeError, "inner dimensions 4 against 3"),
        ([(M, M), (M, M.T)], {"code": MDS(4, k=3)}, UnsupportedOperationError, "made for 3"),
        (
            [(M, M), (M.T, M.T)],
            {"code": MDS(4, k=2)},
            UnsupportedOperationError,
            "share the other one",
        ),
        ([(M, M)], {"code": FlexibleCSA.for_pairs(CYCLE, 1)}, UnsupportedOperationError, "for_p"),
        ([(M, M)], {"code": Lagrange(9, 3, 3)}, UnsupportedOperationError, "FlexibleCSA"),
        ([(M, M)], {"code": Lagrange(9, 3, 2)}, UnsupportedOperationError, "made for 3 pairs"),
        ([(M, M)], {"code": Entangled(11, 2, 2, 2)}, UnsupportedOperationError, "uncut"),
        (
            [(M, M), (M, M.T)],
            {"code": GeneralizedCSA(8, size=2, p=2, field=REAL), "tolerance": 1e-15},
            UnsupportedOperationError,
            r"from 7 shares may amplify rounding \d.*e\+01 times, and tolerance=1.0e-15",
        ),
        (
            [(M, M), (M, M.T)],
            {"code": GeneralizedCSA(25, size=2, m=2, p=2, n=2, field=REAL)},
            UnsupportedOperationError,
            "Cut less",
        ),
        (
            [(M.astype(int), M.astype(int))],
            {"code": GeneralizedCSA(4, size=1, p=2, field=REAL)},
            UnsupportedDtypeError,
            "fractional",
        ),
        (
            [(M, M), (M[:2], M)],
            {"code": Uncoded(2)},
            UnsupportedOperationError,
            "2 kinds",
        ),
        (
            [(M, M)],
            {"code": CrossSubspaceAlignment(3, size=1, field=PrimeField(257))},
            UnsupportedDtypeError,
            "prime",
        ),
        (
            [(M.astype(int), M.astype(int)), (M.astype(int), M.T.astype(int))],
            {"code": FlexibleCSA.for_pairs([(0, 0), (0, 1)], 2)},
            UnsupportedDtypeError,
            "exact",
        ),
        (
            [(M, M), (M, M.T)],
            {"code": MDS(4, k=2, field=PAIRED)},
            UnsupportedOperationError,
            "REAL",
        ),
    ],
)
def test_errors(pairs: Any, options: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        coded_matmul_batch(pairs, **options)


def test_codes_of_a_batch_are_refused_for_one_product() -> None:
    with pytest.raises(UnsupportedOperationError, match="coded_matmul_batch"):
        dask_coded_matmul(M, M, code=CrossSubspaceAlignment(3, size=2))


def dask_coded_matmul(*args: Any, **options: Any) -> Any:
    from dask_coded.array import coded_matmul

    return coded_matmul(*args, **options)


def chosen(edges: Sequence[tuple[int, int]], parity: int, **options: Any) -> list[AbstractCode]:
    """Codes chosen for large matrices, where moving numbers costs little."""
    settings = {"dtype": np.dtype("f8"), "n_workers": None} | options
    names = [(f"a{i}", f"b{j}") for i, j in edges]
    sizes = {name: (4000, 4000) for pair in names for name in pair}
    accuracy = Accuracy(settings["dtype"], settings.pop("tolerance", None))
    codewords, _ = choose_codewords(names, sizes, parity=parity, accuracy=accuracy, **settings)
    return [codeword.code for codeword in codewords]


def test_default_codes() -> None:
    matching = [(i, i) for i in range(4)]
    assert chosen(matching, 1) == [Replication(2, 1)] * 4
    assert chosen(matching, 2) == [Lagrange(9, k=4, degree=2)]
    assert chosen([(0, j) for j in range(4)], 2) == [MDS(6, k=4)]
    assert chosen([(i, 0) for i in range(4)], 2) == [MDS(6, k=4, field=PAIRED)]
    square = list(itertools.product(range(3), range(3)))
    assert chosen(square, 2) == [Polynomial(11, m=3, n=3, field=PAIRED)]
    (cycle,) = chosen(CYCLE, 2)
    assert isinstance(cycle, FlexibleCSA)
    assert (cycle.n_shares, cycle.recovery_threshold) == (10, 8)
    # Random curves through larger parts, as far as single precision has digits for them.
    assert chosen(CYCLE, 2, dtype=np.dtype("f4")) == [cycle]
    (single,) = chosen(CYCLE, 2, dtype=np.dtype("f4"), tolerance=1e-5)
    assert single == FlexibleCSA(11, single.bicliques)
    assert all(len(n) == len(m) == 1 for n, m in single.bicliques)
    integers = np.dtype("i8")
    assert chosen([(0, j) for j in range(4)], 1, dtype=integers) == [MDS(5, k=4, parity="ones")]
    assert chosen(matching, 2, dtype=integers) == [Replication(3, 1)] * 4


@pytest.mark.parametrize("n_workers", [3, 5, 8, 20])
@pytest.mark.parametrize("parity", [1, 2])
def test_no_codeword_has_more_shares_than_workers(n_workers: int, parity: int) -> None:
    edges = list(itertools.product(range(4), range(5))) + [(4 + i, 5 + i) for i in range(5)]
    for code in chosen(edges, parity, n_workers=n_workers):
        assert code.n_shares - code.recovery_threshold >= parity
        assert code.tolerated_workers(n_workers) >= parity


def test_too_few_workers_for_the_parity() -> None:
    with pytest.raises(ParameterError, match="needs 4 workers"):
        chosen(CYCLE, 3, n_workers=3)


def test_cost_is_never_above_copies() -> None:
    for edges in (CYCLE, [(0, 0)], [(0, 0), (1, 1)], [(0, j) for j in range(3)]):
        for parity in (1, 2, 3):
            assert sum(code.n_shares for code in chosen(edges, parity)) <= (parity + 1) * len(edges)


def test_plan_says_which_codes_and_why() -> None:
    pairs = pairs_of([(0, 0), (0, 1)])
    assert "no cluster" in repr(plan_matmul_batch(pairs))
    assert "no parity" in repr(plan_matmul_batch(pairs, parity=0))
    text = repr(plan_matmul_batch(pairs, code=MDS(4, k=2)))
    assert "0, 1 by MDS(n_shares=4, k=2" in text
    assert "any 2 of 4 shares decode" in text
    assert "asked for" in text


def test_products_of_many_chunks_are_cheaper_alone() -> None:
    def plan(chunks: int) -> Any:
        a, b, c = (da.ones((1200, 1200), chunks=chunks) + i for i in range(3))
        return plan_matmul_batch([(a, b), (b, c), (c, a)], parity=2)

    many, few = plan(150), plan(1200)
    assert len(many.alone) == 3
    assert not many.codewords
    assert "by itself" in repr(many)
    assert not few.alone
    assert sum(len(word.sides.pairs) for word, _, _ in few.codewords) == 3


def test_groups_hold_only_their_codeword() -> None:
    outputs = coded_matmul_batch(pairs_of(CYCLE), code=FlexibleCSA.for_pairs(CYCLE, 2))
    found = specs(low_level(Together(outputs)))
    assert len(found) == 4  # 2 x 2 places of output chunks
    for spec in found.values():
        assert len({key[1:] for key in spec.output_keys}) == 1
        assert len(spec.parity_keys) == 4
