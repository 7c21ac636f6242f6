"""Laws of every family for parameters that nobody chose by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dask_coded.codes import (
    LT,
    MDS,
    AbstractCode,
    Entangled,
    GeneralizedPolyDot,
    Lagrange,
    MatDot,
    Polynomial,
    Product,
    Repair,
    Replication,
    Uncoded,
)
from dask_coded.errors import NotDecodableError, ParameterError
from dask_coded.fields import COMPLEX, PAIRED, REAL, PrimeField
from dask_coded.testing._oracles import determines, end_to_end

small = st.integers(1, 4)
spare = st.integers(0, 4)
seeds = st.integers(0, 2**31 - 1)
primes = st.sampled_from([257, 65537, 2**31 - 1, 2**61 - 1]).map(PrimeField)
any_field = st.sampled_from([REAL, COMPLEX, PAIRED]) | primes
unpaired = st.sampled_from([REAL, COMPLEX]) | primes


@st.composite
def one_operand(draw: st.DrawFn) -> Any:
    k, field = draw(small), draw(any_field)
    kind = draw(st.sampled_from(["uncoded", "replication", "mds", "lt"]))
    if kind == "uncoded":
        return Uncoded(k, field=field)
    if kind == "replication":
        return Replication(k + draw(spare), k, field=field)
    if kind == "mds":
        n_shares = k + draw(spare)
        parities = ["auto"] if field.exact else ["auto", "dft", "gaussian"]
        parity = draw(st.sampled_from(parities))
        return MDS(n_shares, k, parity=parity, seed=draw(seeds), field=field)
    try:
        return LT(2 * k + draw(spare), k, seed=draw(seeds), field=field)
    except ParameterError:
        assume(False)


@st.composite
def two_operands(draw: st.DrawFn) -> Any:
    m, p, n = draw(small), draw(small), draw(st.integers(1, 3))
    field, more = draw(unpaired), draw(spare)
    kind = draw(st.sampled_from(["product", "polynomial", "matdot", "entangled", "polydot"]))
    if kind == "product":
        rows = draw(one_operand())
        field = REAL if rows.field == PAIRED else rows.field
        return Product(rows, MDS(m + draw(st.integers(0, 2)), m, field=field))
    if kind == "polynomial":
        field = draw(any_field)
        choices = ["auto", "random"] if field == PAIRED else ["auto", "points"]
        basis = draw(st.sampled_from(choices))
        return Polynomial(m * n + more, m, n, basis=basis, seed=draw(seeds), field=field)
    if kind == "matdot":
        return MatDot(2 * p - 1 + more, p, field=field)
    if kind == "entangled":
        m, p = min(m, 3), min(p, 3)
        return Entangled(p * m * n + p - 1 + more, m, p, n, field=field)
    forward = GeneralizedPolyDot(2 * m * n + n + more, m, n, field=field)
    return draw(st.sampled_from([forward, forward.backward()]))


@st.composite
def lagrange(draw: st.DrawFn) -> Any:
    k, degree = draw(small), draw(st.integers(1, 3))
    return Lagrange(max(k, degree * (k - 1) + 1) + draw(spare), k, degree, field=draw(unpaired))


codes = one_operand() | two_operands() | lagrange() | one_operand().map(Repair)


@st.composite
def code_and_survivors(draw: st.DrawFn) -> tuple[AbstractCode, list[int]]:
    code = draw(codes)
    order = draw(st.permutations(range(code.n_shares)))
    return code, order[: draw(st.integers(0, code.n_shares))]


@given(code_and_survivors())
def test_decoders_exist_exactly_where_the_algebra_says(
    pair: tuple[AbstractCode, list[int]],
) -> None:
    code, survivors = pair
    assert code.is_decodable(survivors) == determines(code, survivors)
    if not code.is_decodable(survivors):
        with pytest.raises(NotDecodableError):
            code.decoder(survivors)
        return
    decoder = code.decoder(survivors)
    assert set(decoder.shares) <= set(survivors)
    assert list(decoder.shares) == sorted(decoder.shares)
    found: Any = code.field.matmul(decoder.weights, code.responses()[list(decoder.shares)])
    if code.field.exact:
        np.testing.assert_array_equal(found, code.targets())
    else:
        assert decoder.residual <= 1e-14 * max(decoder.amplification, 1)
        allowed = 1e-13 * max(decoder.amplification, 1)
        np.testing.assert_allclose(found, code.targets(), rtol=0, atol=allowed)


@given(code_and_survivors())
def test_a_threshold_of_shares_decodes(pair: tuple[AbstractCode, list[int]]) -> None:
    code, survivors = pair
    others = [share for share in range(code.n_shares) if share not in survivors]
    enough = (survivors + others)[: code.recovery_threshold]
    assert code.is_decodable(enough)
    assert determines(code, enough)


@given(code_and_survivors())
def test_more_survivors_never_hurt(pair: tuple[AbstractCode, list[int]]) -> None:
    """One at a time, which is the other way through the algebra."""
    code, survivors = pair
    answers = [code.is_decodable(survivors[:count]) for count in range(len(survivors) + 1)]
    assert answers == sorted(answers)
    assert answers[-1] == determines(code, survivors)


@given(code_and_survivors())
def test_outputs_are_those_of_plain_numpy(pair: tuple[AbstractCode, list[int]]) -> None:
    code, survivors = pair
    assume(code.is_decodable(survivors))
    found, expected, tolerance = end_to_end(code, survivors)
    if code.field.exact:
        np.testing.assert_array_equal(found, expected)
    else:
        assert np.abs(found - expected).max() <= tolerance


@given(code_and_survivors(), st.randoms(use_true_random=False))
def test_the_cheapest_set_suffices_and_spares_nothing(
    pair: tuple[AbstractCode, list[int]], random: Any
) -> None:
    code, candidates = pair
    cost = {share: float(random.randrange(5)) for share in candidates}
    if not code.is_decodable(candidates):
        with pytest.raises(NotDecodableError):
            code.cheapest(cost)
        return
    chosen = code.cheapest(cost)
    assert code.is_decodable(chosen)
    for share in chosen:
        assert not code.is_decodable([other for other in chosen if other != share])
    dearest = max(cost[share] for share in chosen)
    assert not code.is_decodable([share for share in candidates if cost[share] < dearest])


@given(code_and_survivors())
def test_the_checker_finds_what_is_wrong(pair: tuple[AbstractCode, list[int]]) -> None:
    """Zero on consistent results; one wrong result shows unless no other result depends on it."""
    code, survivors = pair
    check: Any = code.checker(survivors)
    responses: Any = code.responses()[sorted(survivors)]
    assert check.shape == (len(survivors) - code.field.rank(responses), len(survivors))
    found: Any = code.field.matmul(check, responses)
    if code.field.exact:
        assert not found.any()
    else:
        assert np.abs(found).max(initial=0.0) <= 1e-12
    for column in range(len(survivors)):
        others = np.delete(responses, column, axis=0)
        confirmed = code.field.rank(others) == code.field.rank(responses)
        assert (np.abs(check[:, column]).max(initial=0) > 1e-9) == confirmed


@given(codes)
def test_round_trip(code: AbstractCode) -> None:
    assert AbstractCode.from_dict(code.to_dict()) == code


@given(codes, st.integers(1, 9))
def test_placement_spreads_shares(code: AbstractCode, n_workers: int) -> None:
    holdings = code.placement(n_workers)
    assert sorted(sum(holdings, ())) == list(range(code.n_shares))
    sizes = [len(shares) for shares in holdings]
    assert max(sizes) - min(sizes) <= 1
    lost = code.tolerated_workers(n_workers)
    # Whichever they are: the ones with most shares are the worst to lose.
    largest = sorted(range(n_workers), key=lambda worker: -sizes[worker])[:lost]
    assert code.is_decodable(
        [
            share
            for worker in range(n_workers)
            if worker not in largest
            for share in holdings[worker]
        ]
    )
