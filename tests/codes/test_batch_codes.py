"""Codes of a batch: thresholds as published, tight by an independent rank, and digits kept."""

import itertools
from collections.abc import Iterator, Sequence

import galois
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_coded.codes import (
    AbstractBatchCode,
    CrossSubspaceAlignment,
    FlexibleCSA,
    GeneralizedCSA,
    Lagrange,
    fewest_bicliques,
    smallest_bicliques,
)
from dask_coded.codes._bicliques import layout, single
from dask_coded.errors import ParameterError
from dask_coded.fields import COMPLEX, PAIRED, REAL, Field, PrimeField
from dask_coded.testing import loss_patterns

Edges = tuple[tuple[int, int], ...]
F257 = PrimeField(257)
CYCLE: Edges = ((0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (0, 2))
MATCHING: Edges = tuple((i, i) for i in range(4))
SQUARE: Edges = tuple(itertools.product(range(3), range(3)))
TWO_SQUARES: Edges = tuple((i, j) for i in range(4) for j in range(4) if i // 2 == j // 2)


def star(size: int, side: int) -> Edges:
    return tuple((0, q) if side else (q, 0) for q in range(size))


@st.composite
def graphs(draw: st.DrawFn, most: int = 12) -> Edges:
    """Bipartite graphs without isolated vertices."""
    cells = st.tuples(st.integers(0, 4), st.integers(0, 4))
    edges = draw(st.lists(cells, min_size=1, max_size=most, unique=True))
    names = [{v: n for n, v in enumerate(dict.fromkeys(e))} for e in zip(*edges, strict=True)]
    return tuple((names[0][i], names[1][j]) for i, j in edges)


@pytest.mark.parametrize("field", [REAL, F257], ids=repr)
@pytest.mark.parametrize(
    ("edges", "threshold"),
    [
        (MATCHING, 7),
        (SQUARE, 9),
        (star(5, 0), 5),
        (star(7, 1), 7),
        (CYCLE, 8),
        (TWO_SQUARES, 12),
    ],
    ids=["matching", "3x3", "star-left", "star-right", "cycle", "two 2x2"],
)
def test_thresholds(edges: Edges, threshold: int, field: Field) -> None:
    """Any set of that size decodes, and some set of one fewer does not."""
    code = FlexibleCSA.for_pairs(edges, parity=2, field=field)
    assert code.recovery_threshold == threshold
    assert set(code.pairs) == set(edges)
    shares = range(code.n_shares)
    assert all(map(code.is_decodable, itertools.combinations(shares, threshold)))
    assert not all(map(code.is_decodable, itertools.combinations(shares, threshold - 1)))
    decoders = (code.decoder(chosen) for chosen in itertools.combinations(shares, threshold))
    assert max(decoder.residual for decoder in decoders) < 1e-9


@pytest.mark.parametrize(("size", "groups"), [(4, 1), (2, 2), (3, 2), (2, 3), (1, 4)])
@pytest.mark.parametrize("field", [REAL, F257], ids=repr)
def test_cross_subspace_alignment(size: int, groups: int, field: Field) -> None:
    """arXiv:1909.13873: (l + 1) K - 1 for l groups of K pairs."""
    code = CrossSubspaceAlignment((groups + 1) * size + 1, size, groups, field)
    assert code.recovery_threshold == (groups + 1) * size - 1
    shares, few = range(code.n_shares), code.recovery_threshold - 1
    assert not all(map(code.is_decodable, itertools.combinations(shares, few)))
    # A share that is a pair computes one product, not one for each group.
    for term in range(groups):
        for operand in (2 * term, 2 * term + 1):
            data = np.asarray(code.generator(operand))[: size * groups]
            assert np.count_nonzero(data) == size
            assert set(np.unique(data)) <= {0, 1}


@pytest.mark.parametrize(
    ("size", "groups", "splits", "threshold"),
    [
        (1, 1, (2, 2, 2), 9),
        (3, 1, (1, 1, 1), 5),
        (2, 2, (1, 1, 1), 5),
        (2, 1, (1, 2, 2), 13),
        (1, 2, (1, 2, 1), 5),
    ],
)
def test_generalized_cross_subspace_alignment(
    size: int, groups: int, splits: tuple[int, int, int], threshold: int
) -> None:
    """arXiv:1909.13873; one pair is an entangled code, uncut ones are the above."""
    code = GeneralizedCSA(threshold + 1, size, groups, *splits, field=F257)
    assert code.recovery_threshold == threshold
    shares = range(code.n_shares)
    assert all(map(code.is_decodable, itertools.combinations(shares, threshold)))
    rank = np.linalg.matrix_rank(galois.GF(257)(np.asarray(code.responses())))
    assert rank == threshold
    real = GeneralizedCSA(threshold + 1, size, groups, *splits, field=REAL)
    for operand in range(2 * groups):
        values = [real.generator(2 * g + operand % 2) for g in range(groups)]
        np.testing.assert_allclose(np.linalg.norm(np.concatenate(values, axis=1), axis=1), 1)
    for survivors in itertools.combinations(shares, threshold):
        decoder = real.decoder(survivors)
        assert decoder.amplification < 10_000
        decoded = np.asarray(decoder.weights) @ real.responses()[list(decoder.shares)]
        np.testing.assert_allclose(decoded, real.targets(), atol=1e-9)


def test_one_group_is_a_lagrange_code() -> None:
    code, other = CrossSubspaceAlignment(9, size=4), Lagrange(9, k=4, degree=2)
    assert code.recovery_threshold == other.recovery_threshold
    for operand in (0, 1):
        np.testing.assert_allclose(code.generator(operand), other.generator(), atol=1e-14)


@settings(max_examples=60)
@given(graphs())
def test_never_above_lagrange(edges: Edges) -> None:
    """Nor above pairs that are parts of their own, nor below one share for each product."""
    found = layout(smallest_bicliques(edges)).threshold
    assert len(edges) <= found <= layout(single(edges)).threshold <= 2 * len(edges) - 1


@settings(max_examples=25)
@given(graphs(), st.booleans())
def test_the_rank_is_no_more_than_the_threshold(edges: Edges, apart: bool) -> None:
    """By galois: all results together span no more dimensions than the formula says shares."""
    field = PrimeField(65537)
    code = FlexibleCSA.for_pairs(edges, parity=2, apart=apart, field=field)
    rank = np.linalg.matrix_rank(galois.GF(65537)(np.asarray(code.responses())))
    assert len(edges) <= rank <= code.recovery_threshold


@settings(max_examples=25)
@given(graphs(9), st.data())
def test_random_losses_decode_exactly(edges: Edges, data: st.DataObject) -> None:
    code = FlexibleCSA.for_pairs(edges, parity=2, field=F257)
    lost = data.draw(st.sets(st.integers(0, code.n_shares - 1), max_size=2))
    decoder = code.decoder(set(range(code.n_shares)) - lost)
    field = galois.GF(257)
    responses = field(np.asarray(code.responses())[list(decoder.shares)])
    found = field(np.asarray(decoder.weights)) @ responses
    np.testing.assert_array_equal(found, np.asarray(code.targets()))


def partitions(edges: frozenset[tuple[int, int]]) -> Iterator[list[frozenset[tuple[int, int]]]]:
    """Every partition into bicliques, by the part that holds the first edge."""
    if not edges:
        yield []
        return
    first = min(edges)
    lefts, rights = ({edge[side] for edge in edges} - {first[side]} for side in (0, 1))
    for n in range(len(lefts) + 1):
        for m in range(len(rights) + 1):
            for a in itertools.combinations(sorted(lefts), n):
                for b in itertools.combinations(sorted(rights), m):
                    part = frozenset(itertools.product((first[0], *a), (first[1], *b)))
                    if part <= edges:
                        yield from ([part, *rest] for rest in partitions(edges - part))


def threshold_of(parts: Sequence[frozenset[tuple[int, int]]]) -> int:
    """The formula as the class documents it, the better of both roles."""
    edges = [edge for part in parts for edge in part]
    found = []
    for left, right in ((0, 1), (1, 0)):
        weight = {
            edge[left]: sum(len(p) for p in parts if edge[left] in {e[left] for e in p})
            for edge in edges
        }
        least = min(
            w - k
            for part in parts
            for k, w in enumerate(sorted(weight[i] for i in {e[left] for e in part}))
        )
        rights = [edge[right] for edge in edges]
        found.append(2 * len(edges) + 1 - min(map(rights.count, rights)) - least)
    return min(found)


@settings(max_examples=40)
@given(graphs(8))
def test_the_search_finds_the_least_of_all_partitions(edges: Edges) -> None:
    every = [threshold_of(parts) for parts in partitions(frozenset(edges))]
    assert layout(smallest_bicliques(edges)).threshold == min(every)
    assert len(fewest_bicliques(edges)) == min(map(len, partitions(frozenset(edges))))


@settings(max_examples=25)
@given(graphs(20))
def test_parts_hold_every_pair_once(edges: Edges) -> None:
    for parts in (smallest_bicliques(edges), fewest_bicliques(edges), single(edges)):
        covered = [pair for lefts, rights in parts for pair in itertools.product(lefts, rights)]
        assert sorted(covered) == sorted(edges)


def worst(code: AbstractBatchCode) -> float:
    lost = code.n_shares - code.recovery_threshold
    everyone = set(range(code.n_shares))
    return max(
        code.decoder(everyone - set(gone)).amplification for gone in loss_patterns(code, lost, 150)
    )


@pytest.mark.parametrize(
    ("code", "bound"),
    [
        (FlexibleCSA.for_pairs([(i, i) for i in range(16)], 2), 1e3),
        (FlexibleCSA.for_pairs([(i, i) for i in range(16)], 4), 1e5),
        (FlexibleCSA.for_pairs(CYCLE, 2, apart=True), 1e2),
        (FlexibleCSA.for_pairs(TWO_SQUARES, 3, apart=True), 1e3),
        (FlexibleCSA.for_pairs(TWO_SQUARES, 2), 1e5),
        (FlexibleCSA.for_pairs(CYCLE, 2), 1e4),
        (CrossSubspaceAlignment(33, size=16), 1e3),
        (CrossSubspaceAlignment(17, size=4, groups=3), 1e3),
    ],
    ids=repr,
)
def test_digits_that_are_kept(code: AbstractBatchCode, bound: float) -> None:
    """The worst of runs and random losses, of as many shares as the code tolerates."""
    assert worst(code) < bound


def test_healthy_shares_are_passed_on() -> None:
    for edges in (CYCLE, TWO_SQUARES, SQUARE, MATCHING):
        code = FlexibleCSA.for_pairs(edges, parity=1)
        assert code.direct() == tuple(range(len(edges)))
        assert code.decoder(range(len(edges))).amplification == 1.0


@pytest.mark.parametrize(
    ("parts", "match"),
    [
        ((), "must be a tuple"),
        ([((0,), (0,))], "must be a tuple"),
        ((((0,), ()),), "must be a tuple"),
        ((((0,), (0.0,)),), "must be a tuple"),
        ((((0,), (0,)), ((0,), (0,))), "occurs twice"),
        ((((0, 2), (0,)),), "left operand 1"),
        ((((0,), (1,)),), "right operand 0"),
    ],
)
def test_parts_that_cannot_be(parts: object, match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        FlexibleCSA(9, parts)  # type: ignore[arg-type]


def test_parameters_that_cannot_be() -> None:
    with pytest.raises(ParameterError, match="at least one pair"):
        FlexibleCSA.for_pairs([], 1)
    with pytest.raises(ParameterError, match="at least 8 shares"):
        FlexibleCSA.for_pairs(CYCLE, -1)
    with pytest.raises(ParameterError, match="paired"):
        FlexibleCSA.for_pairs(CYCLE, 1, field=PAIRED)
    with pytest.raises(ParameterError, match="too few"):
        FlexibleCSA.for_pairs(CYCLE, 1, field=PrimeField(7))
    with pytest.raises(ParameterError, match=r"\(groups \+ 1\) size - 1"):
        CrossSubspaceAlignment(6, size=2, groups=3)


def test_complex_coefficients_are_those_of_the_reals() -> None:
    code = FlexibleCSA.for_pairs(CYCLE, 2, field=COMPLEX)
    assert code.generator(0).dtype == np.complex128
    np.testing.assert_array_equal(code.generator(1), FlexibleCSA.for_pairs(CYCLE, 2).generator(1))
