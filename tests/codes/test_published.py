"""What the papers state of each family, by theorem or example, checked on every loss pattern."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from dask_coded.codes import (
    MDS,
    AbstractCode,
    Entangled,
    GeneralizedPolyDot,
    Lagrange,
    MatDot,
    Polynomial,
    Product,
    Replication,
    Uncoded,
)
from dask_coded.fields import PrimeField
from dask_coded.kernels import combine

F = PrimeField(2**31 - 1)

#: (code, recovery threshold as published).
THRESHOLDS: list[tuple[AbstractCode, int]] = [
    # arXiv:1512.02673: any k of n.
    (MDS(6, k=4), 4),
    (MDS(6, k=4, field=F), 4),
    # arXiv:1705.10464, theorem 1: mn; its example of 5 workers for 2 x 2 blocks.
    (Polynomial(5, m=2, n=2), 4),
    (Polynomial(8, m=2, n=3, field=F), 6),
    (Polynomial(8, m=2, n=3, basis="points"), 6),
    # arXiv:1801.10292, theorem III.1: 2m - 1; its example of 2 blocks from any 3.
    (MatDot(5, p=2), 3),
    (MatDot(9, p=4, field=F), 7),
    # arXiv:1801.07487, theorem 1: pmn + p - 1; polynomial and MatDot codes are special cases.
    (Entangled(11, m=2, p=2, n=2), 9),
    (Entangled(8, m=2, p=1, n=3), 6),
    (Entangled(9, m=1, p=4, n=1), 7),
    (Entangled(10, m=2, p=2, n=2, field=F), 9),
    # arXiv:1811.10751: mn + n - 1 forward; backward all (2m - 1) n powers are distinct.
    (GeneralizedPolyDot(8, m=2, n=2), 5),
    (GeneralizedPolyDot(8, m=2, n=2, direction="backward"), 6),
    (GeneralizedPolyDot(11, m=3, n=2, field=F), 7),
    (GeneralizedPolyDot(11, m=3, n=2, direction="backward", field=F), 10),
    # arXiv:1806.00939, theorem 1: (k - 1) deg f + 1.
    (Lagrange(8, k=3, degree=2), 5),
    (Lagrange(9, k=3, degree=3, field=F), 7),
    # A side of distance d: all erasures of fewer than d_rows d_columns shares decode.
    (Product(MDS(4, k=3), MDS(4, k=3)), 13),
    (Product(MDS(4, k=2), MDS(3, k=2)), 7),
    # All copies of one block may be the ones lost.
    (Replication(6, k=3), 5),
    (Replication(7, k=3), 6),
    (Uncoded(4), 4),
]


@pytest.mark.parametrize(("code", "threshold"), THRESHOLDS, ids=lambda value: repr(value))
def test_threshold(code: AbstractCode, threshold: int) -> None:
    """Every set of that size decodes, and some set of one fewer does not."""
    assert code.recovery_threshold == threshold
    shares = range(code.n_shares)
    assert all(map(code.is_decodable, itertools.combinations(shares, threshold)))
    assert not all(map(code.is_decodable, itertools.combinations(shares, threshold - 1)))


@pytest.mark.parametrize(
    ("code", "first"),
    [
        (MDS(9, k=5), 5),
        (Polynomial(9, m=2, n=3), 6),
        (MatDot(9, p=4), 4),
        (Lagrange(9, k=4, degree=2), 4),
        (Product(MDS(3, k=2), MDS(4, k=3)), None),
        (Replication(8, k=4), 4),
    ],
    ids=repr,
)
def test_systematic_shares_are_the_blocks(code: AbstractCode, first: int | None) -> None:
    """Nothing is multiplied by anything where the first shares arrive."""
    shares = [0, 1, 2, 4, 5, 6] if first is None else list(range(first))
    decoder = code.decoder(shares)
    assert decoder.shares == tuple(shares)
    assert set(np.unique(decoder.weights).tolist()) <= {0.0, 1.0}
    assert decoder.residual == 0


def forest(edges: tuple[int, ...], columns: int) -> bool:
    """Whether lost shares, as edges between their row and their column, close no ring."""
    parent = list(range(64))

    def root(node: int) -> int:
        while parent[node] != node:
            node = parent[node]
        return node

    for edge in edges:
        row, column = root(edge // columns), root(32 + edge % columns)
        if row == column:
            return False
        parent[row] = column
    return True


@pytest.mark.parametrize("lost", [3, 4, 5, 6])
def test_product_of_single_parities(lost: int) -> None:
    """With one parity a side, losses decode exactly when they hold no ring of rows and columns.

    Of the 16 shares any 3 may be lost, and 98%, 90% and 70% of all sets of 4, 5 and 6.
    """
    code = Product(MDS(4, k=3), MDS(4, k=3))
    everyone = frozenset(range(16))
    decodable = 0
    for gone in itertools.combinations(range(16), lost):
        found = code.is_decodable(everyone - set(gone))
        assert found == forest(gone, 4), gone
        decodable += found
    rate = decodable / math.comb(16, lost)
    assert round(rate, 2) == {3: 1.0, 4: 0.98, 5: 0.9, 6: 0.7}[lost]


def test_early_sets_of_matdot() -> None:
    """The first p shares decode though 2 p - 1 are needed in general; no fewer ever do."""
    code = MatDot(9, p=4)
    early = [chosen for chosen in itertools.combinations(range(9), 4) if code.is_decodable(chosen)]
    assert (0, 1, 2, 3) in early
    assert not any(map(code.is_decodable, itertools.combinations(range(9), 3)))


def integers(stream: np.random.Generator, count: int, rows: int, columns: int) -> list[Any]:
    return list(stream.integers(-9, 10, (count, rows, columns)).astype(float))


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 3), (3, 2)])
def test_one_encoding_of_w_serves_both_directions(m: int, n: int) -> None:
    """Training a layer: ``W @ x`` forward and ``d.T @ W`` backward from the same stored shares."""
    forward = GeneralizedPolyDot(2 * m * n + n + 1, m=m, n=n)
    backward = forward.backward()
    assert backward.forward() == forward
    stream = np.random.default_rng(0)
    w = integers(stream, m * n, 3, 4)
    x = integers(stream, n, 4, 2)
    d = integers(stream, m, 5, 3)
    stored = combine(forward.generator(0), w)
    np.testing.assert_array_equal(forward.generator(0), backward.generator(1))
    coded_x = combine(forward.generator(1), x)
    coded_d = combine(backward.generator(0), d)

    order = stream.permutation(forward.n_shares).tolist()
    decoder = forward.decoder(order[: forward.recovery_threshold])
    found = combine(decoder.weights, [stored[share] @ coded_x[share] for share in decoder.shares])
    whole = np.block([[w[i * n + j] for j in range(n)] for i in range(m)])
    np.testing.assert_allclose(np.concatenate(found), whole @ np.concatenate(x), atol=1e-9)

    decoder = backward.decoder(order[: backward.recovery_threshold])
    found = combine(decoder.weights, [coded_d[share] @ stored[share] for share in decoder.shares])
    np.testing.assert_allclose(np.hstack(found), np.hstack(d) @ whole, atol=1e-9)


def test_lagrange_of_a_product_of_two_blocks() -> None:
    """``f(A, B) = A @ B`` is of degree two: one code for a batch of products."""
    code = Lagrange(9, k=4, degree=2)
    stream = np.random.default_rng(0)
    a, b = integers(stream, 4, 3, 2), integers(stream, 4, 2, 3)
    coded = zip(combine(code.generator(), a), combine(code.generator(), b), strict=True)
    results = [left @ right for left, right in coded]
    decoder = code.decoder([8, 1, 3, 4, 5, 6, 7])
    found = combine(decoder.weights, [results[share] for share in decoder.shares])
    np.testing.assert_allclose(
        found, [left @ right for left, right in zip(a, b, strict=True)], atol=1e-10
    )


def test_replicas_share_the_work_evenly() -> None:
    code = Replication(8, k=3)
    copies = np.asarray(code.generator()).sum(axis=0)
    assert sorted(copies.tolist()) == [2, 3, 3]
    assert code.decoder([0, 1, 2, 3, 4]).shares == (0, 1, 2)
    assert code.decoder([5, 6, 7]).shares == (5, 6, 7)
