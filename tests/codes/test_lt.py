"""Rateless sums: what exists stays, peeling agrees with elimination, overhead is as published."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_coded.codes import LT
from dask_coded.codes._lt import _peeling_order, _robust_soliton
from dask_coded.fields import REAL, PrimeField
from dask_coded.kernels import combine

F257 = PrimeField(257)
#: Blocks in the first sums of LT(12, k=5).
FIRST_SUMS = [[3], [0], [0], [0, 4], [0, 3, 4], [1, 2]]


@given(st.integers(0, 2**31 - 1), st.integers(1, 12), st.integers(0, 15))
def test_more_shares_leave_the_others_as_they_are(seed: int, k: int, more: int) -> None:
    code = LT(4 * k + 12, k=k, seed=seed)
    longer = code.extended(code.n_shares + more)
    assert longer.n_shares == code.n_shares + more
    np.testing.assert_array_equal(longer.generator()[: code.n_shares], code.generator())


def test_shares_are_the_same_on_every_machine() -> None:
    """Encoded data outlive the program that encoded them; these sums are from the first one."""
    rows: Any = LT(12, k=5).generator()
    assert [np.flatnonzero(row).tolist() for row in rows[:6]] == FIRST_SUMS


def test_sums_have_the_robust_soliton_distribution() -> None:
    """Luby's distribution, from its definition; and drawn shares follow it."""
    k, c, delta = 200, 0.03, 0.5
    spike = c * math.log(k / delta) * math.sqrt(k)
    expected = np.zeros(k)
    for size in range(1, k + 1):
        expected[size - 1] = 1 / k if size == 1 else 1 / (size * (size - 1))
        if size < round(k / spike):
            expected[size - 1] += spike / (size * k)
        elif size == round(k / spike):
            expected[size - 1] += spike * max(0.0, math.log(spike / delta)) / k
    expected /= expected.sum()
    np.testing.assert_allclose(_robust_soliton(k, c, delta), expected, rtol=1e-12)
    rows: Any = LT(2000, k=k).generator()
    sizes = np.bincount(rows.sum(axis=1).astype(int), minlength=k + 1)[1:] / 2000
    # Four standard deviations of a frequency.
    assert (np.abs(sizes - expected) <= 4 * np.sqrt(expected / 2000) + 1e-3).all()


@pytest.mark.parametrize("field", [REAL, F257], ids=repr)
def test_peeling_agrees_with_elimination(field: Any) -> None:
    code = LT(30, k=10, field=field)
    blocks = list(field.asarray(np.random.default_rng(0).integers(0, 200, (10, 6))))
    shares = combine(code.generator(), blocks, field=field)
    peeled = eliminated = 0
    for seed in range(90):
        stream = np.random.default_rng(seed)
        survivors = sorted(stream.choice(30, int(stream.integers(10, 18)), replace=False).tolist())
        if not code.is_decodable(survivors):
            continue
        responses = code.responses()[survivors]
        if _peeling_order(responses, set(range(10)), math.inf) is None:
            eliminated += 1
        else:
            peeled += 1
            weights: Any = code.decoder(survivors).weights
            signed = weights - 257 * (weights > 128) if field.exact else weights
            np.testing.assert_array_equal(signed, np.rint(signed))
        decoder = code.decoder(survivors)
        found = combine(decoder.weights, [shares[share] for share in decoder.shares], field=field)
        np.testing.assert_allclose(found, blocks, atol=0 if field.exact else 1e-10)
    assert peeled > 5
    assert eliminated > 5


def test_peeling_takes_the_derivation_that_grows_least() -> None:
    """A chain of differences reaches every block, but a direct share of the last is nearer."""
    rows = np.zeros((6, 5))
    rows[0, 0] = 1
    for link in range(1, 5):
        rows[link, [link - 1, link]] = 1
    chain = _peeling_order(rows[:5], {4}, math.inf)
    assert chain is not None
    assert len(chain) == 5
    rows[5, 4] = 1
    assert _peeling_order(rows, {4}, math.inf) == [(0, 0, []), (5, 4, [])]
    assert _peeling_order(rows[:5], {4}, most=4) is None


def test_long_codes_amplify_little() -> None:
    """Peeled in the order of arrival this code would amplify by 1e8."""
    code = LT(1300, k=1000)
    survivors = np.random.default_rng(0).permutation(1300)[:1290]
    assert code.decoder(survivors.tolist()).amplification < 1e4


def test_overhead_of_peeling() -> None:
    """About a third more than k = 200 results are needed, as far as peeling goes; elimination
    does with a few more than k.
    """
    peeled, eliminated = [], []
    for seed in range(12):
        code = LT(420, k=200, seed=seed)
        rows = code.generator()
        order = np.random.default_rng(seed).permutation(420).tolist()
        low, high = 200, 420
        while low < high:
            middle = (low + high) // 2
            if _peeling_order(rows[order[:middle]], set(range(200)), math.inf) is None:
                low = middle + 1
            else:
                high = middle
        peeled.append(low / 200)
        low, high = 200, low
        while low < high:
            middle = (low + high) // 2
            if code.is_decodable(order[:middle]):
                high = middle
            else:
                low = middle + 1
        eliminated.append(low / 200)
    assert 1.15 < np.mean(peeled) < 1.5
    assert max(peeled) < 2.1
    assert np.mean(eliminated) <= np.mean(peeled)
