"""Alloy codes: the algorithm inside, early sets, thresholds, whole weights and accuracy."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_coded.codes import Alloy, Polynomial
from dask_coded.codes._strassen import strassen
from dask_coded.errors import NotDecodableError, ParameterError
from dask_coded.fields import PAIRED, PrimeField
from dask_coded.testing import subsets
from dask_coded.testing._oracles import determines, end_to_end

F5 = PrimeField(5)
anything: Any = None


@pytest.mark.parametrize("levels", [0, 1, 2, 3])
def test_the_algorithm_multiplies(levels: int) -> None:
    """Whole matrices through the recursion, against NumPy; 7 products where there were 8."""
    algorithm = strassen(levels)
    size = algorithm.size
    a, b = np.random.default_rng(levels).integers(-9, 10, (2, size, size))
    products = (algorithm.left @ a.ravel()) * (algorithm.right @ b.ravel())
    assert len(products) == 7**levels
    np.testing.assert_array_equal(algorithm.outputs @ products, (a @ b).ravel())


def test_the_algorithm_multiplies_matrices_that_do_not_commute() -> None:
    algorithm = strassen(1)
    a, b = np.random.default_rng(0).integers(-9, 10, (2, 4, 3, 3))
    left = np.tensordot(algorithm.left, a, 1)
    right = np.tensordot(algorithm.right, b, 1)
    found = np.tensordot(algorithm.outputs, left @ right, 1)
    whole_a, whole_b = (x.reshape(2, 2, 3, 3).swapaxes(1, 2).reshape(6, 6) for x in (a, b))
    expected = (whole_a @ whole_b).reshape(2, 3, 2, 3).swapaxes(1, 2).reshape(4, 3, 3)
    np.testing.assert_array_equal(found, expected)


def test_seven_products_make_a_product_of_two_by_two_blocks() -> None:
    """One result less than any code of the 8 products of blocks needs; and never fewer."""
    code = Alloy(14)
    assert code.rank == 7
    assert code.is_decodable(range(7))
    for survivors in itertools.combinations(range(14), 6):
        assert not code.is_decodable(survivors)


def test_a_group_decodes_on_its_own() -> None:
    """Decodable exactly when every product has m n results: counted here, not solved."""
    code = Alloy(32, m=2, n=2, seed=1)
    stream = np.random.default_rng(0)
    seen = set()
    for size in stream.integers(26, 33, 150):
        survivors = stream.choice(32, size, replace=False).tolist()
        held = np.bincount(np.array(survivors) % 7, minlength=7)
        assert code.is_decodable(survivors) == bool((held >= 4).all())
        seen.add(bool((held >= 4).all()))
    assert seen == {True, False}


def test_thresholds_are_the_formulas() -> None:
    assert Alloy(9, m=2, n=3, levels=0).recovery_threshold == 6
    assert Alloy(42, m=2, n=2).recovery_threshold == 42 - 6 + 4
    assert Alloy(35, m=2, n=2).recovery_threshold == 35 - 5 + 4
    assert Alloy(60, m=2, n=2, mixing="global").recovery_threshold == 13 * 4
    assert Alloy(100, levels=2, mixing="global").recovery_threshold == 97


@pytest.mark.parametrize("local", ["systematic", "random", "points"])
def test_a_curve_through_the_products(local: Any) -> None:
    """Any 2 R - 1 results decode, and the first R are an early set where they are the products."""
    code = Alloy(15, mixing="global", local=local)
    for survivors in itertools.combinations(range(15), 13):
        assert code.is_decodable(survivors)
    assert not all(code.is_decodable(s) for s in itertools.combinations(range(15), 12))
    assert code.is_decodable(range(7))


def test_data_shares_of_the_outer_product_are_outputs() -> None:
    """Without a level and systematic, the family is the random Khatri-Rao one."""
    alloy, product = Alloy(9, m=2, n=3, levels=0), Polynomial(9, m=2, n=3)
    assert alloy.direct() == product.direct() == (0, 1, 2, 3, 4, 5)
    assert alloy.operand_grids == product.operand_grids
    for survivors in itertools.combinations(range(9), 6):
        assert alloy.is_decodable(survivors)


def test_random_shares_are_all_random() -> None:
    code = Alloy(12, m=2, n=3, levels=0, local="random")
    assert (code.generator(0) != 0).all()
    assert (code.generator(1) != 0).all()
    assert code.direct() == (None,) * 6


def test_a_small_field_has_no_sharp_threshold() -> None:
    """Random combinations in five elements: most sets of m n decode, by no means all."""
    code = Alloy(10, m=2, n=2, levels=0, local="random", field=F5)
    decodes = [code.is_decodable(s) for s in itertools.combinations(range(10), 4)]
    assert 0 < sum(decodes) < len(decodes)
    assert decodes == [determines(code, s) for s in itertools.combinations(range(10), 4)]
    assert code.recovery_threshold == 10
    assert not code.tight
    assert Alloy(4, m=2, n=2, levels=0, field=F5).recovery_threshold == 4


def test_early_sets_decode_to_the_product() -> None:
    """Sets far below the threshold, through encoding, products and decoding, against NumPy."""
    for code in (Alloy(21), Alloy(35, m=2, n=2), Alloy(15, mixing="global")):
        survivors = range(code.rank * code.m * code.n)
        assert len(survivors) < code.recovery_threshold
        found, expected, tolerance = end_to_end(code, survivors)
        assert np.abs(found - expected).max() <= tolerance


@given(st.sets(st.integers(0, 20), min_size=7))
def test_copies_of_the_products_have_whole_weights(survivors: set[int]) -> None:
    """So that integers decode exactly, and no result is read twice."""
    code = Alloy(21)
    if not code.is_decodable(survivors):
        with pytest.raises(NotDecodableError):
            code.decoder(survivors)
        return
    decoder = code.decoder(survivors)
    assert decoder.residual == 0
    assert len(decoder.shares) == 7
    assert decoder.amplification == 4
    np.testing.assert_array_equal(decoder.weights, np.rint(decoder.weights))


def test_amplification_grows_fourfold_with_each_level() -> None:
    for levels, expected in ((0, 1), (1, 4), (2, 16)):
        assert Alloy(7**levels, levels=levels).decoder(range(7**levels)).amplification == expected


@pytest.mark.parametrize(
    "code",
    [Alloy(32, m=2, n=2), Alloy(15, mixing="global"), Alloy(30, n=2, mixing="global")],
    ids=repr,
)
def test_weights_keep_most_digits(code: Alloy) -> None:
    amplifications = [
        code.decoder(survivors).amplification
        for survivors in itertools.islice(subsets(code, code.recovery_threshold, seed=1), 150)
    ]
    assert np.median(amplifications) < 1e5


def test_parameters_that_cannot_be() -> None:
    for make, why in [
        (lambda: Alloy(6), "at least 7 shares"),
        (lambda: Alloy(27, m=2, n=2), "at least 28 shares"),
        (lambda: Alloy(12, mixing="global"), "at least 13 shares"),
        (lambda: Alloy(14, levels=-1), "levels must be an int from 0 to 3"),
        (lambda: Alloy(14, levels=anything), "levels must be an int"),
        (lambda: Alloy(14, mixing=anything), "choose 'grouped' or 'global'"),
        (lambda: Alloy(14, local=anything), "choose 'auto'"),
        (lambda: Alloy(14, seed=-1), "seed must be an int from 0"),
        (lambda: Alloy(14, field=PAIRED), "cannot work on paired rows"),
        (lambda: Alloy(7, m=2, n=3, levels=0, field=F5), "choose a prime above 7"),
        (lambda: Alloy(13, mixing="global", field=F5), "choose a prime above 13"),
        (
            lambda: Alloy(4, m=2, n=2, levels=0, local="random", seed=4, field=PrimeField(2)),
            "another seed or local='points'",
        ),
    ]:
        with pytest.raises(ParameterError, match=why):
            make()
