"""Exact codes against galois, which knows nothing of this package."""

import itertools
from typing import Any

import numpy as np
import pytest

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
)
from dask_coded.fields import PrimeField

P = 257
F = PrimeField(P)


@pytest.fixture(scope="module")
def gf() -> Any:
    galois = pytest.importorskip("galois")
    # Interpreted: compiling for the few numbers here would take longer than the tests.
    return galois.GF(P, compile="python-calculate")


CODES: list[AbstractCode] = [
    MDS(8, k=5, field=F),
    MDS(5, k=4, field=F),
    Product(MDS(3, k=2, field=F), MDS(3, k=2, field=F)),
    Polynomial(8, m=2, n=3, field=F),
    MatDot(8, p=3, field=F),
    Entangled(10, m=2, p=2, n=2, field=F),
    GeneralizedPolyDot(9, m=2, n=3, field=F),
    GeneralizedPolyDot(10, m=2, n=2, direction="backward", field=F),
    Lagrange(9, k=3, degree=3, field=F),
    LT(10, k=4, field=F),
]


@pytest.mark.parametrize("code", CODES, ids=repr)
def test_decodable_sets_and_weights(gf: Any, code: AbstractCode) -> None:
    """Rank over GF(257) decides, and the weights solve the system there."""
    responses = gf(code.responses())
    targets = gf(code.targets())
    stream = np.random.default_rng(0)
    for _ in range(25):
        size = int(stream.integers(1, code.n_shares + 1))
        survivors = sorted(stream.choice(code.n_shares, size, replace=False).tolist())
        rows = responses[survivors]
        together = gf(np.concatenate([rows, targets]))
        decodable = np.linalg.matrix_rank(rows) == np.linalg.matrix_rank(together)
        assert code.is_decodable(survivors) == decodable, survivors
        if decodable:
            decoder = code.decoder(survivors)
            found = gf(decoder.weights) @ responses[list(decoder.shares)]
            np.testing.assert_array_equal(found, targets)


@pytest.mark.parametrize("code", CODES, ids=repr)
def test_checker_is_the_left_null_space(gf: Any, code: AbstractCode) -> None:
    responses = gf(code.responses())
    check = gf(code.checker(range(code.n_shares)))
    assert not np.any(check @ responses)
    assert len(check) == code.n_shares - np.linalg.matrix_rank(responses)


def test_systematic_mds_is_a_reed_solomon_code(gf: Any) -> None:
    """Shares are the values at 1, 2, ... of the polynomial through the blocks: GRS, so MDS."""
    import galois

    code = MDS(8, k=4, field=F)
    blocks = np.array([3, 1, 200, 77])
    shares = F.matmul(code.generator(), blocks[:, None])[:, 0]
    # The systematic points are spread over 1 to 8; the ring tells which share sits where.
    points = gf([1 + code.ring.index(share) for share in range(8)])
    curve = galois.lagrange_poly(points[:4], gf(blocks))
    np.testing.assert_array_equal(curve(points), gf(shares))


def test_every_minor_of_an_exact_parity_is_regular(gf: Any) -> None:
    """The any-k property, seen from the parity: no square submatrix is singular."""
    parity = gf(MDS(9, k=5, field=F).generator())[5:]
    for size in range(1, 5):
        for rows in itertools.combinations(range(4), size):
            for columns in itertools.combinations(range(5), size):
                assert np.linalg.det(parity[np.ix_(rows, columns)]) != 0


def test_matdot_products_are_exact(gf: Any) -> None:
    code = MatDot(8, p=3, field=F)
    stream = np.random.default_rng(0)
    a, b = gf(stream.integers(0, P, (4, 6))), gf(stream.integers(0, P, (6, 3)))
    left = [gf(part) for part in np.split(a, 3, axis=1)]
    right = [gf(part) for part in np.split(b, 3, axis=0)]
    coded_left = np.tensordot(code.generator(0), np.array(left, dtype=int), 1) % P
    coded_right = np.tensordot(code.generator(1), np.array(right, dtype=int), 1) % P
    results = [gf(x) @ gf(y) for x, y in zip(coded_left, coded_right, strict=True)]
    decoder = code.decoder([1, 3, 4, 5, 7])
    found = gf.Zeros((4, 3))
    for weight, share in zip(gf(decoder.weights)[0], decoder.shares, strict=True):
        found += weight * results[share]
    np.testing.assert_array_equal(found, a @ b)
