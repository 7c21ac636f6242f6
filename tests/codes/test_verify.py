"""Locating wrong results, against trying every set of them by least squares."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_coded.codes import (
    MDS,
    AbstractCode,
    Entangled,
    GeneralizedPolyDot,
    MatDot,
    Polynomial,
    Product,
    Replication,
    Uncoded,
    is_sharp,
    locate,
    protects,
)
from dask_coded.errors import BlockShapeError, UnknownShareError
from dask_coded.fields import PAIRED, PrimeField

NOISE = 1e-11
TIGHT: list[AbstractCode] = [
    MDS(8, 4),
    MDS(12, 7, parity="gaussian"),
    MDS(10, 6, field=PAIRED),
    Polynomial(10, 2, 3),
    MatDot(10, 3),
    GeneralizedPolyDot(9, m=2, n=2),
    GeneralizedPolyDot(10, m=2, n=2).backward(),
    Entangled(13, 2, 2, 2),
]
EXACT: list[AbstractCode] = [
    MDS(9, 5, field=PrimeField(257)),
    MatDot(9, 3, field=PrimeField(2**31 - 1)),
    Polynomial(9, 2, 2, field=PrimeField(65537)),
]


def results(code: AbstractCode, places: int, rng: np.random.Generator) -> Any:
    """What right results of random data look like, ``(n_shares, places)``."""
    responses: Any = code.responses()
    shape = responses.shape[1], places
    if code.field.exact:
        modulus = int(code.field.name.partition(":")[2])
        return code.field.matmul(responses, rng.integers(0, modulus, shape))
    data: Any = rng.normal(size=shape)
    if responses.dtype.kind == "c":
        data = data + 1j * rng.normal(size=shape)
    return responses @ data


def add(code: AbstractCode, values: Any, share: int, error: Any) -> None:
    if code.field.exact:
        modulus = int(code.field.name.partition(":")[2])
        values[share] = (values[share] + error) % modulus
    else:
        values[share] += error


def error_of(code: AbstractCode, places: int, rng: np.random.Generator) -> Any:
    if code.field.exact:
        return rng.integers(1, int(code.field.name.partition(":")[2]), places)
    return rng.normal(size=places) * 10.0 ** rng.uniform(-4, 4)


def located(code: AbstractCode, values: Any) -> tuple[int, ...] | None:
    noise = None if code.field.exact else np.full(values.shape[1], NOISE)
    check = code.checker(range(code.n_shares))
    return locate(code.field, check, values, noise, sharp=is_sharp(code))


def smallest_explanations(code: AbstractCode, values: Any) -> list[tuple[int, ...]]:
    """All sets of least size without which some data explains the values, by least squares."""
    responses: Any = code.responses()
    for size in range(code.n_shares):
        found = []
        for left_out in itertools.combinations(range(code.n_shares), size):
            rest = [share for share in range(code.n_shares) if share not in left_out]
            data = np.linalg.lstsq(responses[rest], values[rest], rcond=None)[0]
            # A set that leaves no surplus explains anything.
            if np.linalg.matrix_rank(responses[rest], tol=1e-9) == len(rest):
                continue
            if np.abs(responses[rest] @ data - values[rest]).max() < 1e3 * NOISE:
                found.append(left_out)
        if found:
            return found
    return []


@pytest.mark.parametrize("code", [*TIGHT, *EXACT], ids=repr)
def test_independent_errors_up_to_the_surplus_less_one(code: AbstractCode) -> None:
    rng = np.random.default_rng(1)
    surplus = len(code.checker(range(code.n_shares)))
    for count in range(surplus):
        for _ in range(8):
            values = results(code, 15, rng)
            wrong = sorted(rng.choice(code.n_shares, count, replace=False).tolist())
            for share in wrong:
                add(code, values, share, error_of(code, 15, rng))
            assert located(code, values) == tuple(wrong)


@pytest.mark.parametrize("code", [*TIGHT, *EXACT], ids=repr)
def test_alike_errors_up_to_half_of_the_surplus(code: AbstractCode) -> None:
    """All workers make the same error: P - Q - 1 is out of reach, floor((P - Q) / 2) is not."""
    rng = np.random.default_rng(2)
    surplus = len(code.checker(range(code.n_shares)))
    for count in range(1, surplus + 1):
        for _ in range(4):
            values, error = results(code, 15, rng), error_of(code, 15, rng)
            wrong = sorted(rng.choice(code.n_shares, count, replace=False).tolist())
            for share in wrong:
                add(code, values, share, error)
            found = located(code, values)
            assert found == (tuple(wrong) if 2 * count <= surplus else None)


@pytest.mark.parametrize(
    "code",
    [
        MDS(16, 8),
        MDS(20, 12, parity="gaussian"),
        MDS(16, 10, field=PAIRED),
        Polynomial(18, 3, 4),
        MatDot(20, 6),
        MDS(24, 12),
    ],
    ids=repr,
)
def test_alike_errors_of_large_codes(code: AbstractCode) -> None:
    """Sets of results are far too many to be tried: found all the same, and never guessed."""
    rng = np.random.default_rng(8)
    assert is_sharp(code)
    surplus = len(code.checker(range(code.n_shares)))
    for count in (2, surplus // 2, surplus // 2 + 1):
        values, error = results(code, 15, rng), rng.normal(size=15)
        wrong = sorted(rng.choice(code.n_shares, count, replace=False).tolist())
        for share in wrong:
            add(code, values, share, error * rng.uniform(0.5, 2))
        assert located(code, values) == (tuple(wrong) if 2 * count <= surplus else None)


def test_errors_of_two_kinds_in_a_large_code() -> None:
    """Of eight surplus results, errors of rank three leave five to be located, rank five six."""
    code = MDS(16, 8)
    rng = np.random.default_rng(9)
    for rank, count in ((1, 4), (2, 4), (3, 5), (4, 5), (5, 6)):
        values, kinds = results(code, 15, rng), rng.normal(size=(rank, 15))
        wrong = sorted(rng.choice(16, count, replace=False).tolist())
        for share, error in zip(wrong, rng.normal(size=(count, rank)) @ kinds, strict=True):
            add(code, values, share, error)
        assert located(code, values) == tuple(wrong)


@pytest.mark.parametrize("code", [MDS(8, 4), MatDot(8, 2), MDS(7, 4, field=PAIRED)], ids=repr)
def test_equals_trying_every_set(code: AbstractCode) -> None:
    rng = np.random.default_rng(3)
    for trial in range(12):
        values = results(code, 6, rng)
        for share in rng.choice(code.n_shares, 1 + trial % 3, replace=False):
            values[share, rng.integers(6)] += 10.0 ** rng.uniform(-4, 4)
        explanations = smallest_explanations(code, values)
        found = located(code, values)
        assert found is None or explanations == [found]


@pytest.mark.parametrize("code", [*TIGHT, *EXACT], ids=repr)
def test_too_many_are_never_taken_for_fewer(code: AbstractCode) -> None:
    rng = np.random.default_rng(4)
    surplus = len(code.checker(range(code.n_shares)))
    for count in range(surplus, code.n_shares + 1):
        values = results(code, 15, rng)
        for share in rng.choice(code.n_shares, count, replace=False).tolist():
            add(code, values, share, error_of(code, 15, rng))
        assert located(code, values) is None


@given(
    code=st.sampled_from([*TIGHT, *EXACT, Replication(9, 3), Product(MDS(4, 2), MDS(3, 2))]),
    count=st.integers(0, 4),
    places=st.integers(5, 12),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60)
def test_whoever_was_wrong_is_among_those_found(
    code: AbstractCode, count: int, places: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = results(code, places, rng)
    wrong = set(rng.choice(code.n_shares, count, replace=False).tolist())
    for share in wrong:
        add(code, values, share, error_of(code, places, rng))
    found = located(code, values)
    if protects(code, range(code.n_shares), count):
        assert found is not None
    if found is not None:
        assert wrong <= set(found)


def test_one_wrong_entry_beside_garbage_near_overflow() -> None:
    code = MDS(12, 7, parity="gaussian")
    rng = np.random.default_rng(5)
    values = results(code, 20, rng)
    values[2] = 1e307 * rng.normal(size=20)
    values[9, 4] += 1e-6
    values[11, 0] = -1e300
    assert located(code, values) == (2, 9, 11)


def test_copies_that_could_have_done_the_same_are_all_named() -> None:
    two, three = Replication(6, 3), Replication(9, 3)
    rng = np.random.default_rng(6)
    for code, named in ((two, (1, 4)), (three, (4,))):
        values = results(code, 5, rng)
        values[4, 2] += 1.0
        assert located(code, values) == named


@given(
    code=st.sampled_from(
        [MDS(6, 3), Replication(7, 3), Replication(6, 2), Product(MDS(3, 2), MDS(4, 2)), Uncoded(3)]
    ),
    data=st.data(),
)
@settings(max_examples=40)
def test_protects_is_what_it_says(code: AbstractCode, data: st.DataObject) -> None:
    shares = sorted(data.draw(st.sets(st.integers(0, code.n_shares - 1))))
    rng = np.random.default_rng(0)
    if not code.is_decodable(shares):
        assert not protects(code, shares)
        return
    check: Any = code.checker(shares)
    values = results(code, 6, rng)[shares]
    noticed, found = [], []
    for position, share in enumerate(shares):
        one = values.copy()
        one[position] += rng.normal(size=6)
        if share in code.decoder(shares).shares:
            noticed.append(len(check) > 0 and bool(np.abs(check @ one).max() > NOISE))
        named = locate(code.field, check, one, np.full(6, NOISE)) if len(check) else None
        left = [other for i, other in enumerate(shares) if i not in (named or ())]
        found.append(bool(named) and code.is_decodable(left))
    assert protects(code, shares, 0) == all(noticed)
    if protects(code, shares, 1):
        assert all(found)


def test_protection_that_was_not_looked_at_is_not_claimed() -> None:
    """Two wrong results of a product of codes: which ones matters, and pairs are too many."""
    large = Product(MDS(8, 6), MDS(8, 6))
    assert math.comb(large.n_shares, 2) > 1000
    assert not is_sharp(large)
    assert protects(large, range(large.n_shares), 1)
    # Two in a row and a column of two parities each; of many survivors that many can be spared.
    spared = large.n_shares - large.recovery_threshold - 1
    assert protects(large, range(large.n_shares), spared)
    assert not protects(large, range(large.n_shares), spared + 1)
    # Three copies bear one wrong result of each block, not two of the same.
    copies = Replication(120, 40)
    assert protects(copies, range(120), 1)
    assert not protects(copies, range(120), 2)


def test_bad_arguments() -> None:
    code = MDS(4, 3)
    with pytest.raises(BlockShapeError, match="takes values"):
        locate(code.field, code.checker(range(4)), np.zeros((3, 2)))
    with pytest.raises(UnknownShareError):
        protects(code, [7])
