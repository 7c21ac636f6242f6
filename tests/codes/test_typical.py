"""The typical recovery threshold against its definition, formulas, and the two ends it joins."""

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from dask_coded.codes import (
    LT,
    MDS,
    AbstractCode,
    Alloy,
    Entangled,
    MatDot,
    Polynomial,
    Product,
    Replication,
    TypicalThreshold,
    Uncoded,
    _typical,
    typical_recovery_threshold,
)
from dask_coded.codes._interval import clopper_pearson
from dask_coded.errors import ParameterError
from dask_coded.fields import PrimeField
from dask_coded.testing import CODES
from dask_coded.testing._oracles import determines

F5 = PrimeField(5)
anything: Any = None

SMALL: list[AbstractCode] = [
    Uncoded(3),
    Replication(5, k=2),
    MDS(5, k=3),
    MatDot(6, p=2),
    Product(MDS(3, k=2), Replication(2, k=1)),
    LT(6, k=3),
    Alloy(5, m=2, n=2, levels=0),
    Alloy(6, m=2, n=2, levels=0, local="random", field=F5),
]


def by_definition(code: AbstractCode, loss: Fraction) -> list[Fraction]:
    """Probability that 0, 1, ..., N results decode: every loss, every order of the lost."""
    everyone = range(code.n_shares)
    sufficient = {
        frozenset(chosen)
        for size in range(code.n_shares + 1)
        for chosen in itertools.combinations(everyone, size)
        if determines(code, chosen)
    }
    total = [Fraction(0)] * (code.n_shares + 1)
    for pattern in itertools.product([False, True], repeat=code.n_shares):
        lost = [share for share in everyone if pattern[share]]
        kept = [share for share in everyone if not pattern[share]]
        chance = loss ** len(lost) * (1 - loss) ** len(kept) / math.factorial(len(lost))
        for rest in itertools.permutations(lost):
            order = [*kept, *rest]
            for size in range(code.n_shares + 1):
                if frozenset(order[:size]) in sufficient:
                    total[size] += chance
    return total


@pytest.mark.parametrize("code", SMALL, ids=repr)
@pytest.mark.parametrize("loss", [Fraction(0), Fraction(1, 4), Fraction(1)], ids=str)
def test_it_is_the_definition(code: AbstractCode, loss: Fraction) -> None:
    expected = by_definition(code, loss)
    for confidence in (0.01, 0.5, 0.9, 0.99, 1.0):
        found = typical_recovery_threshold(code, float(loss), confidence)
        assert found.method == "exact"
        np.testing.assert_allclose(found.probabilities, [float(p) for p in expected], atol=1e-14)
        least = next(size for size, p in enumerate(expected) if float(p) >= confidence)
        assert found.results == found.low == found.high == least


@pytest.mark.parametrize(
    "code",
    # Exact arithmetic on large residues is slow, and asks the same questions.
    [code for code in CODES if code.n_shares <= (7 if code.field.exact else 10)],
    ids=repr,
)
def test_certainty_asks_for_the_recovery_threshold(code: AbstractCode) -> None:
    for loss in (1e-9, 1.0):
        found = typical_recovery_threshold(code, loss, confidence=1)
        assert found.low <= found.results <= found.high <= code.recovery_threshold
        if code.tight:
            assert found.results == code.recovery_threshold


def test_certainty_of_a_code_too_large_to_count() -> None:
    code = Alloy(29, n=2, mixing="global")
    found = typical_recovery_threshold(code, 0.3, confidence=1, samples=20)
    assert found.method == "sampled"
    assert found.results == found.low == found.high == 26


@pytest.mark.parametrize("mixing", ["grouped", "global"])
def test_without_losses_it_is_the_rank(mixing: Any) -> None:
    """7 for two by two blocks: the rank of the tensor, where 8 products are the obvious way."""
    assert typical_recovery_threshold(Alloy(21, mixing=mixing), 0, 1).results == 7
    assert typical_recovery_threshold(Alloy(130, levels=2, mixing=mixing), 0, 1).results == 49
    assert typical_recovery_threshold(Alloy(60, m=2, n=2, mixing=mixing), 0, 1).results == 28
    assert typical_recovery_threshold(Alloy(9, m=2, n=3, levels=0), 0, 1).results == 6


def test_random_order_of_groups_is_inclusion_and_exclusion() -> None:
    for copies in (1, 2, 5):
        code = Alloy(7 * copies)
        found = typical_recovery_threshold(code, 1.0)
        for size in range(code.n_shares + 1):
            hitting_all = sum(
                (-1) ** missed
                * math.comb(7, missed)
                * math.comb(7 * copies - missed * copies, size)
                for missed in range(8)
            )
            expected = Fraction(hitting_all, math.comb(7 * copies, size))
            assert found.probabilities[size] == float(expected)


@pytest.mark.parametrize(
    ("n_shares", "measured"),
    [
        (35, {34: 1.0, 33: 0.88, 31: 0.43}),
        (42, {40: 1.0, 38: 0.95, 34: 0.54}),
        (56, {48: 0.995, 44: 0.95, 36: 0.43}),
    ],
)
def test_groups_of_four_as_measured_by_rank_tests(
    n_shares: int, measured: dict[int, float]
) -> None:
    """Sampled rank tests modulo a prime, made before this code was, to two digits."""
    found = typical_recovery_threshold(Alloy(n_shares, m=2, n=2), 1.0)
    for size, probability in measured.items():
        assert abs(found.probabilities[size] - probability) < 0.02


@pytest.mark.parametrize(
    "code",
    [
        Uncoded(300),
        MDS(300, k=290),
        Polynomial(40, m=4, n=5),
        Replication(100, k=20),
        Alloy(210, m=2, n=2),
        Alloy(245, levels=2),
        LT(14, k=8),
        MatDot(13, p=4),
        Entangled(14, m=2, p=2, n=2),
        Product(MDS(4, k=3), MDS(4, k=3)),
    ],
    ids=repr,
)
def test_these_are_counted(code: AbstractCode) -> None:
    found = typical_recovery_threshold(code, 0.2)
    assert (found.method, found.samples, found.level) == ("exact", 0, 1.0)
    assert list(found.probabilities) == sorted(found.probabilities)
    assert found.probabilities[0] == 0
    assert found.probabilities[-1] == 1
    assert found.results <= code.recovery_threshold


def test_product_code_as_published() -> None:
    """(4, 3) x (4, 3): all losses of 3 decode, 98% of 4, 90% of 5, 70% of 6, to the percent."""
    found = typical_recovery_threshold(Product(MDS(4, k=3), MDS(4, k=3)), 1.0)
    for losses, percent in ((3, 100), (4, 98), (5, 90), (6, 70)):
        assert round(100 * found.probabilities[16 - losses]) == percent


@given(st.floats(0, 1), st.floats(0.01, 1), st.integers(7, 30), st.integers(0, 3))
@settings(max_examples=40)
def test_between_the_two_ends(loss: float, confidence: float, n_shares: int, seed: int) -> None:
    """Never below the rank nor above the worst case, and less confidence asks for no more."""
    code = Alloy(n_shares, seed=seed)
    found = typical_recovery_threshold(code, loss, confidence)
    assert 7 <= found.results <= code.recovery_threshold
    assert found.results <= typical_recovery_threshold(code, loss, 1).results
    assert all(0 <= p <= 1 for p in found.probabilities)
    assert 7 - 1e-9 <= found.mean <= code.recovery_threshold


@pytest.mark.parametrize("trials", [1, 7, 200])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_intervals_are_scipys(trials: int, level: float) -> None:
    for successes in range(0, trials + 1, max(1, trials // 9)):
        interval = binomtest(successes, trials).proportion_ci(level, method="exact")
        found = clopper_pearson(successes, trials, level)
        np.testing.assert_allclose(found, (interval.low, interval.high), atol=1e-9)


@pytest.fixture
def no_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_typical, "_exact", lambda code, loss: None)


def test_intervals_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 60 samplings with other seeds at most a few intervals miss what counting gives."""
    code, loss = Alloy(21), 0.4
    exact = typical_recovery_threshold(code, loss, 0.8)
    assert exact.method == "exact"
    monkeypatch.setattr(_typical, "_exact", lambda code, loss: None)
    missed = np.zeros(2, dtype=int)
    for seed in range(60):
        found = typical_recovery_threshold(code, loss, 0.8, samples=60, seed=seed, level=0.9)
        assert (found.method, found.samples, found.level) == ("sampled", 60, 0.9)
        assert found.low <= found.results <= found.high
        low, high = found.bounds[11]
        missed += (
            not found.low <= exact.results <= found.high,
            not low <= exact.probabilities[11] <= high,
        )
    # The chance of more than 15 misses at 10% each is below 0.001.
    assert (missed <= 15).all()


@pytest.mark.usefixtures("no_counting")
def test_more_samples_narrow_the_interval() -> None:
    code = Alloy(21)
    few = typical_recovery_threshold(code, 0.4, 0.9, samples=30)
    many = typical_recovery_threshold(code, 0.4, 0.9, samples=1000)
    assert many.high - many.low < few.high - few.low
    assert few == typical_recovery_threshold(code, 0.4, 0.9, samples=30)


def test_a_small_field_needs_an_answer_more() -> None:
    """A random square matrix over five elements is singular often: 4 results seldom suffice."""
    code = Alloy(11, m=2, n=2, levels=0, local="random", field=F5)
    found = typical_recovery_threshold(code, 1.0, 0.9)
    assert found.method == "exact"
    assert 4 < found.results < code.recovery_threshold == 11
    assert 0.4 < found.probabilities[4] < 0.95


def test_the_mean_is_that_of_the_distribution() -> None:
    found = typical_recovery_threshold(Alloy(14), 1.0)
    chances = np.diff(found.probabilities)
    assert found.mean == pytest.approx(float(chances @ np.arange(1, 15)))
    assert isinstance(found, TypicalThreshold)


def test_requests_that_cannot_be() -> None:
    code = MDS(4, k=3)
    for request, why in [
        (lambda: typical_recovery_threshold(anything, 0.1), "is no code"),
        (lambda: typical_recovery_threshold(code, -0.1), "loss_probability=-0.1 must lie"),
        (lambda: typical_recovery_threshold(code, float("nan")), "must lie within"),
        (lambda: typical_recovery_threshold(code, 0.1, 0), "confidence=0 must lie above 0"),
        (lambda: typical_recovery_threshold(code, 0.1, 1.1), "confidence=1.1"),
        (lambda: typical_recovery_threshold(code, 0.1, level=1), "level=1"),
        (lambda: typical_recovery_threshold(code, 0.1, samples=0), "samples must be at least 1"),
        (lambda: typical_recovery_threshold(code, 0.1, seed=-1), "seed must be an int"),
    ]:
        with pytest.raises(ParameterError, match=why):
            request()
