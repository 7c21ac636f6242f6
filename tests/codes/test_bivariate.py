"""Bivariate codes: the threshold as a formula, by rank over galois; storage; digits."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_coded.codes import Bivariate, Polynomial, PrivateBivariate
from dask_coded.errors import ParameterError
from dask_coded.fields import PAIRED, REAL, PrimeField

M31 = PrimeField(2**31 - 1)

#: ``(workers, m, n, a_shares, b_shares)``: one share of A, one of B, all of B, all of A.
HOLDINGS = [
    (4, 2, 2, 1, 2),
    (5, 2, 3, 1, 2),
    (3, 3, 3, 1, 3),
    (5, 3, 2, 2, 1),
    (3, 3, 2, 2, 2),
    (2, 2, 2, 4, 2),
    (3, 2, 4, 2, 3),
]


def made(holding: tuple[int, int, int, int, int], **options: Any) -> Bivariate:
    workers, m, n, a, b = holding
    return Bivariate(workers * a * b, m, n, a_shares=a, b_shares=b, **options)


@pytest.fixture(scope="module")
def field() -> Any:
    galois = pytest.importorskip("galois")
    # Interpreted: compiling for the few numbers here would take longer than the tests.
    return galois.GF(2**31 - 1, compile="python-calculate")


def profiles(workers: int, each: int, total: int) -> list[tuple[int, ...]]:
    """How many products each worker may have finished, in all."""
    counts = itertools.product(range(each + 1), repeat=workers)
    return [profile for profile in counts if sum(profile) == total]


@pytest.mark.parametrize("holding", HOLDINGS)
def test_threshold_is_a_rank(field: Any, holding: tuple[int, int, int, int, int]) -> None:
    """However `m n` products are spread over slow and fast workers, they are independent.

    All profiles of workers that go in order where few, and random sets of products.
    """
    code = made(holding, field=M31)
    needed = code.m * code.n
    assert code.recovery_threshold == needed
    responses = field(code.responses())
    assert responses.shape == (code.n_shares, needed)
    workers = code.workers
    stream = np.random.default_rng(0)
    each = code.a_shares * code.b_shares
    known = profiles(len(workers), each, needed)
    chosen = [known[i] for i in stream.permutation(len(known))[:60]]
    sets = [
        [share for worker, count in zip(workers, profile, strict=True) for share in worker[:count]]
        for profile in chosen
    ]
    sets += [stream.permutation(code.n_shares)[:needed].tolist() for _ in range(30)]
    for survivors in sets:
        assert np.linalg.matrix_rank(responses[survivors]) == needed, survivors
        assert code.is_decodable(survivors)
        assert not code.is_decodable(survivors[1:])


@pytest.mark.parametrize(
    ("holding", "profile"),
    [
        # Pairs of spans meet: three blocks each, two shares each, nine products of three workers.
        ((3, 3, 3, 2, 2), (4, 4, 1)),
        # The two A of one worker and the three B of the other have a common annihilator.
        ((2, 3, 4, 2, 3), (6, 6)),
    ],
)
def test_other_holdings_repeat_products(
    field: Any, holding: tuple[int, int, int, int, int], profile: tuple[int, ...]
) -> None:
    """What the code refuses has sets of `m n` products that are dependent, with any points."""
    workers, m, n, a, b = holding
    with pytest.raises(ParameterError, match="would repeat what others give"):
        made(holding)
    stream = np.random.default_rng(1)
    rows = []
    for count in profile:
        left = stream.integers(1, 2**31 - 1, (a, m))
        right = stream.integers(1, 2**31 - 1, (b, n))
        pairs = itertools.islice(itertools.product(left, right), count)
        rows += [np.kron(field(one), field(other)) for one, other in pairs]
    assert len(rows) == m * n
    assert np.linalg.matrix_rank(field(np.array(rows))) < m * n
    assert workers == len(profile)


@pytest.mark.parametrize("field", [REAL, M31], ids=repr)
@pytest.mark.parametrize("holding", HOLDINGS)
def test_a_worker_has_no_more_shares_than_it_says(
    field: Any, holding: tuple[int, int, int, int, int]
) -> None:
    """Its products are those of all pairs of `a_shares` and (a combination of) `b_shares`."""
    code = made(holding, field=field)
    limits = (code.a_shares, code.b_shares)
    for shares in code.workers:
        for operand, limit in enumerate(limits):
            seen: Any = code.generator(operand)[list(shares)]
            assert code.field.rank(seen) == min(limit, (code.m, code.n)[operand])
    assert sorted(itertools.chain(*code.workers)) == list(range(code.n_shares))
    assert code.workers == code.placement(len(code.workers))


def test_a_share_of_a_worker_is_computed_once() -> None:
    """Products of one worker with one share of A have equal rows, so that it is encoded once."""
    code = Bivariate(20, m=3, n=4, b_shares=4)
    for shares in code.workers:
        assert len(np.unique(code.generator(0)[list(shares)], axis=0)) == 1
        right: Any = code.generator(1)[list(shares)]
        np.testing.assert_allclose(right @ right.T, np.eye(4), atol=1e-14)


def test_lost_workers_take_their_products_along() -> None:
    """Of ten workers with four products each, three may be lost for 4 x 7 blocks."""
    code = Bivariate(40, m=4, n=7, b_shares=4)
    assert code.tolerated_workers(10) == 3
    for gone in itertools.combinations(range(10), 3):
        left = [s for w, shares in enumerate(code.workers) if w not in gone for s in shares]
        assert code.is_decodable(left)
        assert not code.is_decodable(left[1:])


def test_digits_of_partial_work() -> None:
    """Two products more than needed leave at least twelve digits, ten workers of any speeds.

    Monomials in two variables, as published, amplify hundreds of times as much.
    """
    code = Bivariate(40, m=4, n=7, b_shares=4)
    points = np.linspace(-1, 1, 10), np.random.default_rng(2).uniform(-1, 1, 40)
    left = np.vander(points[0], 4, increasing=True)[np.arange(40) % 10]
    right = np.vander(points[1], 7, increasing=True)
    monomials = (left[:, :, None] * right[:, None, :]).reshape(40, -1)
    stream = np.random.default_rng(0)
    ours, theirs = [], []
    for _ in range(100):
        speed = stream.choice([1, 0.5, 0.2], 10)
        done = (np.arange(40) // 10 + 1 + stream.uniform(0, 0.1, 40)) / speed[np.arange(40) % 10]
        survivors = np.argsort(done)[:30]
        ours.append(code.decoder(survivors.tolist()).amplification)
        theirs.append(float(np.abs(np.linalg.pinv(monomials[survivors])).sum(axis=1).max()))
    assert max(ours) < 1e3
    assert np.median(theirs) > 100 * np.median(ours)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_parameters_of_any_order(data: st.DataObject) -> None:
    """Any holding that is accepted decodes from any `m n` products, and from no fewer."""
    m, n = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    kind = data.draw(st.sampled_from(["one a", "one b", "all b", "all a"]))
    a = {"one a": 1, "all a": m}.get(kind) or data.draw(st.integers(1, m))
    b = {"one b": 1, "all b": n}.get(kind) or data.draw(st.integers(1, n))
    workers = math.ceil(m * n / (a * b)) + data.draw(st.integers(0, 2))
    code = made((workers, m, n, a, b), field=M31, seed=data.draw(st.integers(0, 9)))
    order = data.draw(st.permutations(range(code.n_shares)))
    assert code.is_decodable(order[: m * n])
    assert not code.is_decodable(order[: m * n - 1])


def test_parameters_that_cannot_be() -> None:
    with pytest.raises(ParameterError, match="no multiple"):
        Bivariate(9, 2, 2, b_shares=2)
    with pytest.raises(ParameterError, match="one per output block"):
        Bivariate(4, 2, 3, b_shares=2)
    with pytest.raises(ParameterError, match="often coincide"):
        Bivariate(8, 2, 2, b_shares=2, field=PrimeField(257))
    with pytest.raises(ParameterError):
        Bivariate(8, 2, 2, b_shares=2, field=PAIRED)
    with pytest.raises(ParameterError, match="b_shares must be at least 1"):
        Bivariate(8, 2, 2, b_shares=0)


def test_relatives() -> None:
    """With one product a worker it is a polynomial code, with privacy it needs more products."""
    assert Bivariate(8, 2, 3).recovery_threshold == Polynomial(8, 2, 3).recovery_threshold
    private = PrivateBivariate(12, m=1, n=3, per_worker=2, colluding=1)
    assert private.recovery_threshold > Bivariate(12, 1, 3, b_shares=2).recovery_threshold
