"""Whole products with workers played by this process, against Python's integers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_coded.codes import (
    AbstractPrivateCode,
    PrivateBivariate,
    PrivateEntangled,
    PrivateLagrange,
)
from dask_coded.errors import ParameterError, UnsupportedOperationError
from dask_coded.fields import PrimeField
from dask_coded.private import _worker, matmul
from dask_coded.private._choice import choose_batch_code, choose_code
from dask_coded.private._product import Job, multiply
from dask_coded.private._session import Party, _verify, _WrongResult

M31, M61 = PrimeField(2**31 - 1), PrimeField(2**61 - 1)


def play(survivors: list[int], seen: list[Party] | None = None) -> Callable[..., Any]:
    """In the place of an event loop: these shares are computed, and nothing else."""

    def sync(collect: Any, code: Any, parties: list[Party], secret: Any, *args: Any) -> Any:
        if seen is not None:
            seen.extend(parties)
        results = {}
        for party in parties:
            for position, share in enumerate(party.shares):
                if share in survivors:
                    result = code.field.matmul(party.left, party.rights[position])
                    check = party.checks[position] if party.checks is not None else None
                    _verify(code.field, result, party, secret, check)
                    results[share] = result
        return results

    return sync


def job(code: AbstractPrivateCode, verify: bool = True) -> Job:
    addresses = tuple(f"tcp://{place}" for place in range(len(code.workers)))
    return Job(code, addresses, None, verify, None)


CODES: list[AbstractPrivateCode] = [
    PrivateEntangled(8, 1, 2, 1, colluding=1, field=M31),
    PrivateEntangled(12, 2, 1, 2, colluding=1),
    PrivateEntangled(16, 2, 2, 2, colluding=1, field=M31),
    PrivateBivariate(14, 2, 2, 2, colluding=1),
    PrivateBivariate(18, 2, 3, 3, colluding=1, field=M31),
]


@given(data=st.data(), code=st.sampled_from(CODES), verify=st.booleans())
def test_products_are_exact(data: st.DataObject, code: AbstractPrivateCode, verify: bool) -> None:
    """Whatever the shapes, and whichever shares arrive."""
    r, k, c = (data.draw(st.integers(1, 7)) for _ in range(3))
    stream = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    a, b = stream.integers(-9999, 10_000, (r, k)), stream.integers(-9999, 10_000, (k, c))
    order = data.draw(st.permutations(range(code.n_shares)))
    found = multiply(a, b, job(code, verify), play(order[: code.recovery_threshold]), {})
    assert found.dtype == np.int64
    assert (found == a.astype(object) @ b.astype(object)).all()


def test_batches_are_exact() -> None:
    code = PrivateLagrange(9, 3, 2, colluding=2)
    stream = np.random.default_rng(0)
    a, b = stream.integers(-99, 100, (3, 4, 5)), stream.integers(-99, 100, (3, 5, 2))
    np.testing.assert_array_equal(multiply(a, b, job(code), play(list(range(9))), {}), a @ b)


def test_empty_products_ask_nobody() -> None:
    a, b = np.ones((0, 3)), np.ones((3, 2))
    assert multiply(a, b, job(CODES[0]), play([]), {}).shape == (0, 2)
    found = multiply(np.ones((2, 0)), np.ones((0, 2)), job(CODES[0]), play([]), {})
    assert found.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("code", CODES, ids=repr)
def test_workers_are_sent_their_shares_and_nothing_else(code: AbstractPrivateCode) -> None:
    """Every worker one share of A, its own shares of B; fresh noise every time."""
    a = b = np.arange(36).reshape(6, 6)
    everyone = list(range(code.n_shares))
    first: list[Party] = []
    second: list[Party] = []
    for seen in (first, second):
        multiply(a, b, job(code), play(everyone, seen), {})
    assert [party.shares for party in first] == list(code.workers)
    assert len({party.address for party in first}) == len(first)
    for one, other in zip(first, second, strict=True):
        assert len(one.rights) == len(one.shares)
        for mine, theirs in zip([one.left, *one.rights], [other.left, *other.rights], strict=True):
            assert mine.shape == theirs.shape
            assert (mine != theirs).mean() > 0.9
            assert not np.isin(mine, a).all()


def test_a_wrong_result_is_noticed() -> None:
    field = M61
    stream = np.random.default_rng(0)
    left, right, secret = (stream.integers(0, field.p, shape) for shape in [(3, 4), (4, 5), (5, 1)])
    product = field.matmul(left, right)
    check = field.matmul(product, secret)
    party = Party("tcp://0", (0,), left, [right], [check])
    _verify(field, product, party, secret, check)
    wrong = product.copy()
    wrong[1, 2] = (wrong[1, 2] + 1) % field.p
    bad: Any
    for bad in (wrong, product[:2], product - field.p, product + field.p):
        with pytest.raises(_WrongResult):
            _verify(field, bad, party, secret, check)
    _verify(field, wrong, party, secret, None)


@given(
    st.integers(3, 30),
    st.integers(1, 4),
    st.integers(0, 3),
    st.tuples(*[st.integers(1, 2000)] * 3),
)
def test_chosen_codes_tolerate_what_was_asked(
    n_workers: int, colluding: int, parity: int, shape: tuple[int, int, int]
) -> None:
    if n_workers < 2 * colluding + 1 + parity:
        with pytest.raises(ParameterError, match=f"{2 * colluding + 1 + parity} untrusted"):
            choose_code(n_workers, colluding, parity, shape, M31)
        return
    code = choose_code(n_workers, colluding, parity, shape, M31)
    assert code.n_shares - code.recovery_threshold >= parity
    assert code.colluding == colluding


def test_cuts_follow_the_shape() -> None:
    """A tall operand is cut in rows, a long inner dimension where results stay small."""
    assert choose_code(8, 1, 1, (10_000, 50, 50), M31).splits == (3, 1, 1)
    assert choose_code(8, 1, 1, (50, 10_000, 50), M31).splits == (1, 3, 1)
    assert choose_batch_code(9, 1, 2, 3, M31) == PrivateLagrange(9, 3, 2, 1, M31)
    with pytest.raises(ParameterError, match="9 untrusted workers; there are 8"):
        choose_batch_code(8, 1, 2, 3, M31)


def test_products_are_given_up_between_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr(_worker, "_SLICE", 1.0)
    unwanted = threading.Event()
    left = right = np.arange(16).reshape(4, 4)
    found = _worker._product(M31, left, right, unwanted)
    np.testing.assert_array_equal(found, left @ right)
    unwanted.set()
    assert _worker._product(M31, left, right, unwanted) is None


def test_elements_travel_in_few_bytes() -> None:
    x = np.array([[2**31 - 2, 0]])
    assert _worker.packed(x, 2**31 - 1).dtype == np.uint32
    assert _worker.packed(x, 2**61 - 1).dtype == np.int64
    np.testing.assert_array_equal(_worker.unpacked(_worker.packed(x, 2**31 - 1)), x)


def test_without_a_cluster() -> None:
    with pytest.raises(UnsupportedOperationError, match=r"make a distributed\.Client first"):
        matmul(np.ones((2, 2)), np.ones((2, 2)), 1)
