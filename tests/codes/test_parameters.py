"""Parameters that cannot be: a named error each, that says what was asked and what to do."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dask_coded.codes import (
    LT,
    MDS,
    AbstractCode,
    Alloy,
    Bivariate,
    CrossSubspaceAlignment,
    Entangled,
    FlexibleCSA,
    GeneralizedCSA,
    GeneralizedPolyDot,
    Lagrange,
    MatDot,
    Polynomial,
    PrivateBivariate,
    PrivateEntangled,
    PrivateLagrange,
    Product,
    Repair,
    Replication,
    Uncoded,
)
from dask_coded.errors import NotDecodableError, ParameterError, UnknownShareError
from dask_coded.fields import COMPLEX, PAIRED, REAL, PrimeField
from dask_coded.testing import CODES

F7 = PrimeField(7)
anything: Any = None

IMPOSSIBLE: dict[str, tuple[Callable[[], AbstractCode], str]] = {
    # Counts.
    "no blocks": (lambda: Uncoded(0), "k must be at least 1"),
    "negative": (lambda: Replication(-1, k=1), "n_shares must be at least 1"),
    "float count": (lambda: MDS(5.0, k=3), "pass a plain integer"),  # type: ignore[arg-type]
    "numpy count": (lambda: MDS(np.int64(5), k=3), "pass a plain integer"),  # type: ignore[arg-type]
    "boolean count": (lambda: MDS(5, k=True), "pass a plain integer"),
    # Fewer shares than needed.
    "replication": (lambda: Replication(2, k=3), "at least 3 shares"),
    "mds": (lambda: MDS(4, k=5), "use more shares or fewer blocks"),
    "polynomial": (lambda: Polynomial(5, m=2, n=3), "at least 6 shares"),
    "matdot": (lambda: MatDot(6, p=4), "at least 7 shares"),
    "entangled": (lambda: Entangled(8, m=2, p=2, n=2), "at least 9 shares"),
    "forward": (lambda: GeneralizedPolyDot(4, m=2, n=2), "at least 5 shares"),
    "backward": (lambda: GeneralizedPolyDot(5, m=2, n=2).backward(), "at least 6 shares"),
    "lagrange": (lambda: Lagrange(6, k=4, degree=2), "at least 7 shares"),
    "lagrange of constants": (lambda: Lagrange(2, k=4, degree=0), "degree must be at least 1"),
    "batch": (lambda: CrossSubspaceAlignment(6, size=2, groups=3), "at least 7 shares"),
    "flexible batch": (lambda: FlexibleCSA(8, (((0, 1), (0, 1, 2, 3, 4)),)), "at least 10 shares"),
    "cut batch": (lambda: GeneralizedCSA(12, size=2, p=2, n=2), "at least 13 shares"),
    "cut batch of pairs": (lambda: GeneralizedCSA(13, 2, field=PAIRED), "use field="),
    "lt": (lambda: LT(4, k=5), "at least 5 shares"),
    "private": (lambda: PrivateEntangled(4, 1, 2, 1, colluding=1), "at least 5 shares"),
    "private lagrange": (lambda: PrivateLagrange(6, 3, 2, colluding=1), "at least 7 shares"),
    "private bivariate": (lambda: PrivateBivariate(8, 2, 2, 2, colluding=1), "at least 10 shares"),
    "uneven sub-tasks": (lambda: PrivateBivariate(15, 2, 2, 2, 1), "Take a multiple"),
    "more sub-tasks than blocks": (lambda: PrivateBivariate(18, 2, 2, 3, 1), "no more than n"),
    "nobody to hide from": (lambda: PrivateEntangled(9, 1, 2, 1, 0), "colluding must be at least"),
    "private in floats": (lambda: PrivateLagrange(9, 2, 2, 1, field=REAL), "Use PrimeField"),
    "lt that does not decode": (lambda: LT(5, k=5), "use more shares or another seed"),
    "lt that shrinks": (lambda: LT(12, k=5).extended(11), "at least 12 shares"),
    "bivariate": (lambda: Bivariate(9, 2, 5), "at least 10 shares"),
    "products that repeat": (lambda: Bivariate(24, 3, 3, 2, 2), "would repeat"),
    "alloy": (lambda: Alloy(27, m=2, n=2), "at least 28 shares"),
    # Options.
    "parity": (lambda: MDS(5, k=3, parity="xor"), "choose 'auto'"),  # type: ignore[arg-type]
    "two parities of ones": (lambda: MDS(5, k=3, parity="ones"), "use parity='auto'"),
    "inexact parity": (lambda: MDS(5, k=3, parity="dft", field=F7), "use parity='auto'"),
    "basis": (lambda: Polynomial(9, 2, 3, basis="dft"), "choose 'auto'"),  # type: ignore[arg-type]
    "random in a prime field": (
        lambda: Polynomial(6, 2, 2, basis="random", field=F7),
        "use basis='points'",
    ),
    "direction": (lambda: GeneralizedPolyDot(9, 2, 2, direction=anything), "choose 'forward'"),
    "soliton": (lambda: LT(12, k=5, c=0.0), "need c > 0"),
    "soliton not a number": (lambda: LT(12, k=5, c=float("nan")), "need c > 0"),
    "soliton of words": (lambda: LT(12, k=5, delta=anything), "need c > 0"),
    "negative seed": (lambda: MDS(9, k=3, seed=-1), "seed must be an int from 0"),
    "large seed": (lambda: Polynomial(9, 2, 3, seed=2**31), "seed must be an int from 0"),
    "no seed": (lambda: LT(12, k=5, seed=anything), "seed must be an int from 0"),
    "sides": (lambda: Product(MDS(3, k=2), MatDot(3, p=2)), "two codes of one operand"),  # type: ignore[arg-type]
    "repair": (lambda: Repair(MatDot(3, p=2)), "a code of one operand"),  # type: ignore[arg-type]
    # Fields.
    "no field": (lambda: MDS(5, k=3, field=anything), "pass REAL"),
    "name of a field": (lambda: Uncoded(5, field="real"), "pass REAL"),  # type: ignore[arg-type]
    "two fields": (
        lambda: Product(MDS(3, k=2), MDS(3, k=2, field=COMPLEX)),
        "must live in real",
    ),
    "paired columns": (
        lambda: Product(MDS(3, k=2, field=PAIRED), MDS(3, k=2, field=PAIRED)),
        "must live in real",
    ),
    "paired matdot": (lambda: MatDot(9, p=3, field=PAIRED), "use field=REAL"),
    "paired entangled": (lambda: Entangled(9, 2, 2, 2, field=PAIRED), "use field=REAL"),
    "paired polydot": (lambda: GeneralizedPolyDot(9, 2, 2, field=PAIRED), "use field=REAL"),
    "paired lagrange": (lambda: Lagrange(9, 3, 2, field=PAIRED), "use field=REAL"),
    "paired points": (lambda: Polynomial(9, 2, 2, basis="points", field=PAIRED), "use field=REAL"),
    # Primes with too few elements for the points, found out at once and not when encoding.
    "mds in a small field": (lambda: MDS(7, k=5, field=F7), "choose a prime above 7"),
    "matdot in a small field": (lambda: MatDot(7, p=3, field=F7), "choose a prime above 7"),
    "polynomial in a small field": (lambda: Polynomial(8, 2, 3, field=F7), "a prime above 8"),
    "entangled in a small field": (lambda: Entangled(9, 2, 2, 2, field=F7), "a prime above 9"),
    "polydot in a small field": (lambda: GeneralizedPolyDot(7, 2, 2, field=F7), "a prime above 7"),
    "lagrange in a small field": (lambda: Lagrange(9, 4, 2, field=F7), "a prime above 9"),
    "private in a small field": (lambda: PrivateEntangled(7, 1, 2, 1, 1, F7), "a prime above 7"),
    "private nodes in a small field": (lambda: PrivateLagrange(5, 2, 2, 1, F7), "a prime above 8"),
    "random points in a small field": (
        lambda: PrivateBivariate(12, 2, 2, 2, 1, field=PrimeField(65537)),
        "would often coincide",
    ),
}


@pytest.mark.parametrize(("make", "remedy"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_impossible_parameters(make: Callable[[], AbstractCode], remedy: str) -> None:
    with pytest.raises(ParameterError, match=remedy.replace("(", r"\(")):
        make()


def test_every_family_is_refused_something() -> None:
    """The table above leaves no family out."""
    source = " ".join(repr(make.__code__.co_names) for make, _ in IMPOSSIBLE.values())
    assert [type(code).__name__ for code in CODES if f"'{type(code).__name__}'" not in source] == []


def test_six_points_fit_into_seven_elements() -> None:
    assert MDS(6, k=4, field=F7).is_decodable([0, 2, 4, 5])
    # One parity is a plain sum and needs no points.
    assert MDS(20, k=19, field=F7).decoder(range(1, 20)).shares == tuple(range(1, 20))


@pytest.mark.parametrize("code", CODES, ids=repr)
def test_an_operand_that_does_not_exist(code: AbstractCode) -> None:
    for operand in (-1, len(code.operand_grids), None):
        with pytest.raises(ParameterError, match="counted from 0"):
            code.generator(operand)  # type: ignore[arg-type]


@pytest.mark.parametrize("n_workers", [0, -1, 2.5, "2"])
def test_placement_on_no_number_of_workers(n_workers: Any) -> None:
    with pytest.raises(ParameterError, match="n_workers must be"):
        MDS(5, k=3).placement(n_workers)


def test_cost_that_is_not_a_number() -> None:
    with pytest.raises(ParameterError, match="infinity for a share that is not to be had"):
        MDS(3, k=2).cheapest({0: 1.0, 1: float("nan"), 2: 1.0})
    assert MDS(3, k=2).cheapest({0: 1.0, 1: float("inf"), 2: 5.0}) == (0, 2)


def test_cost_of_unknown_shares() -> None:
    with pytest.raises(UnknownShareError, match="shares 0 to 2"):
        MDS(3, k=2).cheapest({0: 1.0, 3: 1.0})


def test_too_few_candidates() -> None:
    with pytest.raises(NotDecodableError, match="Offer more shares"):
        MatDot(7, p=3).cheapest({0: 1.0, 5: 2.0, 1: 0.5})


def test_a_mask_is_not_a_set_of_shares() -> None:
    code = MDS(3, k=2)
    for mask in ([True, True, False], np.array([True, True, False])):
        with pytest.raises(UnknownShareError, match="or a mask"):
            code.is_decodable(mask)


def test_a_changed_field_is_checked_like_a_new_one() -> None:
    with pytest.raises(ParameterError, match="too few non-zero elements"):
        dataclasses.replace(MDS(9, k=4, field=REAL), field=F7)
