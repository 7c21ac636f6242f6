"""coded_matmul_batch modulo a prime against NumPy: integers, cut operands, and what is refused."""

import itertools
from collections.abc import Sequence
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from losses import computed_without, low_level
from test_batch import CYCLE, Together, mixtures, operand, pairs_of

import dask_coded.array._plan as planning
from dask_coded.array import coded_matmul_batch, plan_matmul_batch
from dask_coded.codes import (
    AbstractCode,
    CrossSubspaceAlignment,
    FlexibleCSA,
    GeneralizedCSA,
    Lagrange,
    Polynomial,
)
from dask_coded.errors import FieldRangeError, UnsupportedDtypeError, UnsupportedOperationError
from dask_coded.fields import PrimeField

pytestmark = pytest.mark.filterwarnings("ignore::dask.array.PerformanceWarning")

M31, M61 = PrimeField(2**31 - 1), PrimeField(2**61 - 1)
MATCHING = [(0, 0), (1, 1), (2, 2)]

CODES: list[tuple[list[tuple[int, int]], AbstractCode]] = [
    (MATCHING, CrossSubspaceAlignment(7, size=3, field=M31)),
    (CYCLE, CrossSubspaceAlignment(10, size=2, groups=3, field=M61)),
    (CYCLE, FlexibleCSA.for_pairs(CYCLE, 2, field=M31)),
    (CYCLE, FlexibleCSA.for_pairs(CYCLE, 2, apart=True, field=M61)),
    (CYCLE, Lagrange(13, k=6, degree=2, field=M31)),
    ([(0, 0), (1, 0)], GeneralizedCSA(27, size=2, m=2, p=2, n=2)),
    ([(0, 0), (0, 1), (1, 1), (2, 0)], GeneralizedCSA(24, size=2, groups=2, m=2, p=1, n=2)),
    (MATCHING, GeneralizedCSA(18, size=3, p=3, field=M61)),
    ([(0, 0)], GeneralizedCSA(5, size=1, p=2)),
]


def losses(code: AbstractCode, count: int = 3) -> list[set[int]]:
    stream = np.random.default_rng(0)
    spare = code.n_shares - code.recovery_threshold
    return [set(stream.choice(code.n_shares, spare, replace=False).tolist()) for _ in range(count)]


def signed(edges: Sequence[tuple[int, int]], dtype: str = "int64") -> list[Any]:
    """Operands with negative entries, cut into chunks that no code divides."""
    stream = np.random.default_rng(len(edges))
    lefts, rights = (
        [
            da.from_array(stream.integers(-99, 99, shape).astype(dtype), chunks=chunks)
            for _ in range(1 + max(ends))
        ]
        for ends, shape, chunks in zip(
            zip(*edges, strict=True), ((7, 10), (10, 8)), ((3, 3), (3, 3)), strict=True
        )
    )
    return [(lefts[i], rights[j]) for i, j in edges]


@pytest.mark.parametrize(("edges", "code"), CODES, ids=repr)
@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_every_code_is_exact_with_losses(
    edges: list[tuple[int, int]], code: AbstractCode, dtype: str
) -> None:
    pairs = signed(edges, dtype)
    outputs = coded_matmul_batch(pairs, code=code)
    expected = dask.compute(*(a @ b for a, b in pairs), scheduler="sync")
    for output, (a, b) in zip(outputs, pairs, strict=True):
        assert (output.dtype, output.chunks) == ((a @ b).dtype, (a @ b).chunks)
        assert type(output._meta) is np.ndarray
    for lost in (set(), *losses(code)):
        values = computed_without(Together(outputs), lambda spec, lost=lost: lost)
        for value, product in zip(values, expected, strict=True):
            assert value.dtype == product.dtype
            np.testing.assert_array_equal(value, product)
    for value, product in zip(dask.compute(*outputs, scheduler="sync"), expected, strict=True):
        np.testing.assert_array_equal(value, product)


@settings(max_examples=25)
@given(
    st.integers(1, 2),
    st.integers(1, 2),
    st.tuples(*[st.integers(1, 2)] * 3),
    st.tuples(*[st.integers(1, 5)] * 3),
    st.tuples(*[st.integers(1, 3)] * 3),
    st.integers(0, 2),
    st.data(),
)
def test_any_cut_of_any_chunks(
    size: int,
    groups: int,
    splits: tuple[int, int, int],
    shape: tuple[int, int, int],
    chunk: tuple[int, int, int],
    parity: int,
    data: st.DataObject,
) -> None:
    """Blocks, groups and chunks of any number, operands that repeat, any shares lost."""
    m, p, n = splits
    threshold = m * p * n * ((groups + 1) * size - 1) + p - 1
    code = GeneralizedCSA(threshold + parity, size, groups, m, p, n)
    rows, inner, columns = shape
    stream = np.random.default_rng(0)
    lefts, rights = (
        [da.from_array(stream.integers(-99, 99, each), chunks=cut) for _ in range(4)]
        for each, cut in (((rows, inner), chunk[:2]), ((inner, columns), chunk[1:]))
    )
    every = list(itertools.product(range(4), range(4)))
    edges = data.draw(st.permutations(every))[: size * groups]
    pairs = [(lefts[i], rights[j]) for i, j in edges]
    lost = data.draw(st.sets(st.integers(0, code.n_shares - 1), max_size=parity))
    outputs = coded_matmul_batch(pairs, code=code)
    values = computed_without(Together(outputs), lambda spec: lost)
    for value, (a, b) in zip(values, pairs, strict=True):
        np.testing.assert_array_equal(value, a.compute() @ b.compute())


def test_operands_of_cut_codes_are_encoded_once() -> None:
    """A tile of a share for each place, however many pairs an operand is in."""
    code = GeneralizedCSA(13, size=2, p=2, n=2)
    pairs = pairs_of([(0, 0), (0, 1)], "int64")
    graph = low_level(Together(coded_matmul_batch(pairs, code=code)))
    # 2 x 2 chunks on either side: two row stripes of one inner tile, one column stripe.
    assert len(mixtures(graph)) == 13 * (2 + 1)


def test_long_inner_dimensions_are_multiplied_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_BYTES_PER_TASK", 1)
    for edges, code in CODES[1:6]:
        pairs = signed(edges)
        outputs = coded_matmul_batch(pairs, code=code)
        assert [key for key in low_level(Together(outputs)) if str(key[0]).endswith("-part")]
        values = computed_without(Together(outputs), lambda spec, code=code: losses(code)[0])
        for value, (a, b) in zip(values, pairs, strict=True):
            np.testing.assert_array_equal(value, (a @ b).compute(scheduler="sync"))


def test_entries_to_the_edge_of_the_field() -> None:
    a = da.from_array(np.array([[2**30 - 1]]))
    one = da.ones((1, 1), dtype="int64")
    code = GeneralizedCSA(3, size=2)
    products = coded_matmul_batch([(a, one), (-a, one)], code=code)
    values = dask.compute(*products, scheduler="sync")
    assert [int(value[0, 0]) for value in values] == [2**30 - 1, 1 - 2**30]
    with pytest.raises(FieldRangeError, match=r"2\*\*61 - 1"):
        dask.compute(*coded_matmul_batch([(a + 1, one), (one, one)], code=code), scheduler="sync")
    wide = GeneralizedCSA(3, size=2, field=M61)
    (value, _) = dask.compute(
        *coded_matmul_batch([(a * a, one), (one, one)], code=wide), scheduler="sync"
    )
    assert int(value[0, 0]) == (2**30 - 1) ** 2


def test_too_large_for_parity_is_right_while_nothing_is_lost() -> None:
    """Outputs that are shares do not need parity, and wrap as NumPy's do."""
    large = da.from_array(np.array([[2**62 + 1]]))
    one = da.ones((1, 1), dtype="int64")
    pairs = [(large, large), (one, one)]
    outputs = coded_matmul_batch(pairs, code=CrossSubspaceAlignment(4, size=2, field=M61))
    values = dask.compute(*outputs, scheduler="sync")
    assert int(values[0][0, 0]) == int((np.array([[2**62 + 1]]) ** 2)[0, 0])
    with pytest.raises(Exception, match="digits"):
        computed_without(Together(outputs), lambda spec: {0})


def test_small_integers_of_one_inner_chunk() -> None:
    """Where products of int8 are int8, cut codes wrap as NumPy does."""
    stream = np.random.default_rng(0)
    a, b = (stream.integers(-128, 128, (4, 4)).astype("int8") for _ in range(2))
    pairs = [(da.from_array(a), da.from_array(b)), (da.from_array(b), da.from_array(a))]
    outputs = coded_matmul_batch(pairs, code=GeneralizedCSA(4, size=2))
    for value, expected in zip(
        dask.compute(*outputs, scheduler="sync"), (a @ b, b @ a), strict=True
    ):
        assert value.dtype == "int8"
        np.testing.assert_array_equal(value, expected)


def test_the_plan_says_which_code() -> None:
    plan = plan_matmul_batch(signed([(0, 0), (1, 0)]), code=GeneralizedCSA(27, size=2, m=2, n=2))
    assert "any 12 of 27 shares decode" in repr(plan)
    assert plan.codewords[0][0].cost > 0


@pytest.mark.parametrize(
    ("pairs", "code", "error", "match"),
    [
        (
            [(operand((4, 4), 2), operand((4, 4), 2))],
            GeneralizedCSA(5, size=1, p=2),
            UnsupportedDtypeError,
            "float64: it takes integers",
        ),
        (signed(MATCHING), GeneralizedCSA(5, size=1, p=2), UnsupportedOperationError, "1 pairs"),
        (
            signed([(0, 0)]),
            Polynomial(3, m=1, n=1, field=M31),
            UnsupportedOperationError,
            "codes no batch",
        ),
    ],
)
def test_what_is_refused(
    pairs: Any, code: AbstractCode, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        coded_matmul_batch(pairs, code=code)
