"""What every decoder and every question leans on: indices, caches, threads, sizes."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from dask_coded.codes import (
    LT,
    MDS,
    AbstractCode,
    AbstractLinearCode,
    MatDot,
    Polynomial,
    Product,
)
from dask_coded.codes._algebra import algebra
from dask_coded.codes._recent import Recent
from dask_coded.errors import NotDecodableError, ParameterError, UnknownShareError
from dask_coded.fields import PAIRED, REAL, Field, PrimeField
from dask_coded.testing import CODES

MANY = Product(MDS(12, k=9), MDS(12, k=9))


def test_any_kind_of_integer_is_an_index() -> None:
    """NumPy's integers overflow in shifts, which once lost shares from 63 on."""
    found = [share for share in range(MANY.n_shares) if share % 12 != 3]
    plain = MANY.decoder(found)
    for kind in (np.int64, np.uint8, np.int16):
        shares = np.array(found, dtype=kind)
        assert MANY.is_decodable(shares[:-9]) == MANY.is_decodable(found[:-9])
        assert MANY.decoder(shares) is plain
        assert all(type(share) is int for share in MANY.decoder(shares).shares)
    assert MANY.cheapest({np.int64(share): 1.0 for share in found}) == MANY.cheapest(
        dict.fromkeys(found, 1.0)
    )


@pytest.mark.parametrize("unknown", [3, -1, 1.0, "1", None, [1], np.float64(1), np.True_], ids=repr)
def test_anything_else_is_named(unknown: Any) -> None:
    code = MDS(3, k=2)
    for ask in (code.is_decodable, code.decoder, code.checker):
        with pytest.raises(UnknownShareError, match="shares 0 to 2; got ") as caught:
            ask([0, unknown])
        assert repr(unknown) in str(caught.value)


def test_survivors_of_any_collection_and_order() -> None:
    code = MatDot(9, p=3)
    first = code.decoder([8, 1, 4, 0, 6])
    for shares in ((0, 1, 4, 6, 8), {8, 6, 4, 1, 0}, {0: 1, 1: 1, 4: 1, 6: 1, 8: 1}.keys()):
        assert code.decoder(shares) is first
    assert code.decoder([0, 0, 1, 4, 6, 8]) is first


def test_decoders_cannot_be_changed() -> None:
    """All who ask are given the same arrays."""
    code = MDS(7, k=4)
    for shared in (code.decoder([1, 2, 4, 6]).weights, code.checker(range(7))):
        with pytest.raises(ValueError, match="read-only"):
            shared[0, 0] = 5


@dataclass(frozen=True)
class NegativeZeros(AbstractLinearCode):
    """A systematic code whose author wrote some zeros as -0.0."""

    field: Field = REAL
    n_shares = 4
    k = 3
    recovery_threshold = 3

    def generator(self, operand: int = 0) -> Any:
        return np.array([[1, -0.0, 0], [0, 1, 0], [-0.0, 0, 1], [1, 1, 1]])


def test_negative_zero_is_zero() -> None:
    """Share 0 *is* output 0, however its zeros are signed."""
    assert NegativeZeros().direct() == (0, 1, 2)
    decoder = NegativeZeros().decoder(range(4))
    assert decoder.shares == (0, 1, 2)
    np.testing.assert_array_equal(decoder.weights, np.eye(3))


@dataclass(frozen=True)
class Impossible(AbstractLinearCode):
    """Three unknowns, two of them seen, the third wanted."""

    field: Field = REAL
    n_shares = 3
    k = 1
    recovery_threshold = 2

    def generator(self, operand: int = 0) -> Any:
        return np.ones((3, 1))

    def responses(self) -> Any:
        return np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0]])

    def targets(self) -> Any:
        return np.array([[0.0, 0, 1]])


def test_matrices_that_do_not_fit_together() -> None:
    with pytest.raises(ParameterError, match="not even all shares together"):
        Impossible().decoder(range(3))


def test_arrivals_from_many_threads() -> None:
    """Decodability and decoders are asked from the scheduler, workers and clients at once."""
    reference = {}
    orders = [np.random.default_rng(seed).permutation(144).tolist() for seed in range(8)]
    for number, order in enumerate(orders):
        reference[number] = [MANY.is_decodable(order[:count]) for count in range(145)]
    algebra.cache_clear()
    barrier = threading.Barrier(8)

    def ask(number: int) -> list[bool]:
        barrier.wait()
        order = orders[number]
        answers = []
        for count in range(145):
            answers.append(MANY.is_decodable(order[:count]))
            if answers[-1] and count % 7 == 0:
                MANY.decoder(order[:count])
        return answers

    with ThreadPoolExecutor(8) as pool:
        assert dict(enumerate(pool.map(ask, range(8)))) == reference


def test_recent_keeps_to_its_budget() -> None:
    recent: Recent[int, str] = Recent(budget=10)
    for key in range(5):
        assert recent.put(key, str(key), size=4) == str(key)
    assert [recent.get(key) for key in range(5)] == [None, None, None, "3", "4"]
    assert recent.get(3) == "3"
    recent.put(5, "5", size=4)
    assert recent.get(4) is None
    assert recent.first([4, 3, 5]) == (3, "3")
    assert recent.put(3, "another", size=4) == "3"
    recent.put(6, "huge", size=1000)
    assert recent.get(6) == "huge"
    assert recent.first(range(6)) is None


def test_recent_under_threads() -> None:
    recent: Recent[int, int] = Recent(budget=50)

    def work(seed: int) -> int:
        keys = np.random.default_rng(seed).integers(0, 100, 2000).tolist()
        return sum(
            recent.put(key, key, 1) == key and recent.get(key) in (key, None) for key in keys
        )

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [2000] * 4


@pytest.mark.parametrize("code", CODES, ids=repr)
def test_a_code_is_sent_as_its_parameters_only(code: AbstractCode) -> None:
    code.decoder(range(code.n_shares))
    assert len(pickle.dumps(code)) < 600
    decoder = code.decoder(range(code.n_shares))
    again = pickle.loads(pickle.dumps(decoder))
    assert again.shares == decoder.shares
    np.testing.assert_array_equal(again.weights, decoder.weights)


@pytest.mark.parametrize(
    "code",
    [
        MDS(1200, k=1150),
        MDS(1200, k=1150, field=PAIRED),
        Polynomial(1000, m=30, n=30),
        Product(MDS(32, k=28), MDS(32, k=28)),
        LT(1500, k=1000),
    ],
    ids=repr,
)
def test_a_thousand_shares(code: AbstractCode) -> None:
    """Not timed, but anything that grows with their cube would be noticed here."""
    assert not code.is_decodable(range(3))
    lost = np.random.default_rng(0).choice(code.n_shares, 20, replace=False).tolist()
    survivors = sorted(set(range(code.n_shares)) - set(lost))
    assert code.is_decodable(survivors)
    assert code.decoder(survivors).residual < 1e-11


def test_surplus_shares_lower_the_amplification() -> None:
    code = MDS(58, k=50)
    stream = np.random.default_rng(0)
    for _ in range(20):
        order = stream.permutation(58).tolist()
        sizes = [np.linalg.norm(code.decoder(order[:count]).weights) for count in (50, 52, 54)]
        # Least norm over more survivors can only be less.
        assert sizes[0] * (1 + 1e-9) >= sizes[1]
        assert sizes[1] * (1 + 1e-9) >= sizes[2]


@pytest.mark.parametrize("code", [MDS(14, k=10), MatDot(12, p=4), Polynomial(9, 2, 3)], ids=repr)
def test_weights_are_of_least_norm(code: AbstractCode) -> None:
    """Outputs that no survivor holds have the weights of NumPy's pseudoinverse."""
    responses: Any = code.responses()
    targets: Any = code.targets()
    for seed in range(10):
        stream = np.random.default_rng(seed)
        survivors = sorted(stream.choice(code.n_shares, code.n_shares - 1, replace=False).tolist())
        decoder = code.decoder(survivors)
        expected = targets @ np.linalg.pinv(responses[survivors], rcond=1e-10)
        found = np.zeros_like(expected)
        found[:, [survivors.index(share) for share in decoder.shares]] = decoder.weights
        direct = [output for output, share in enumerate(code.direct()) if share in survivors]
        wanted = [output for output in range(len(targets)) if output not in direct]
        np.testing.assert_allclose(found[wanted], expected[wanted], atol=1e-10)


def test_a_refusal_says_what_would_do() -> None:
    with pytest.raises(
        NotDecodableError, match=r"any 5 of its 8 shares do. Wait for more"
    ) as error:
        MatDot(8, p=3).decoder([0, 1, 7])
    assert "3 survivors [0, 1, 7]" in str(error.value)


def test_exact_weights_stay_exact() -> None:
    field = PrimeField(2**61 - 1)
    code = MDS(12, k=8, field=field)
    decoder = code.decoder(range(4, 12))
    product = field.matmul(decoder.weights, code.responses()[list(decoder.shares)])
    np.testing.assert_array_equal(product, np.eye(8))
    assert (decoder.amplification, decoder.residual) == (1.0, 0.0)
