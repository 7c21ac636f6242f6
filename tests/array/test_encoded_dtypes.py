"""Encoded matrices whose products have another dtype than they: nothing wraps, digits are known."""

from typing import Any

import dask
import numpy as np
import pytest
from dask.local import get_sync
from losses import computed_without, low_level, specs

from dask_coded.array import EncodedArray, encode
from dask_coded.array._products import adjoint_product
from dask_coded.codes import MDS, Replication
from dask_coded.errors import UnsupportedDtypeError
from dask_coded.graph import combination

RNG = np.random.default_rng(11)

SMALL = ["uint8", "int8", "uint16", "int16", "uint32", "int32"]
LARGE = ["int64", "uint64"]


def extreme(dtype: str, rows: int = 23) -> np.ndarray:
    """Entries of one sign and nearly as large as there are: sums of two wrap."""
    limits = np.iinfo(dtype)
    top = min(int(limits.max), 2**62) if dtype == "int64" else int(limits.max)
    x = RNG.integers(top // 4 * 3, top, (rows, 5), dtype=dtype, endpoint=True)
    if limits.min < 0:
        x[rows // 2 :] = -x[rows // 2 :]
    return x


def in_stripes(x: np.ndarray, **options: Any) -> EncodedArray:
    with dask.config.set({"array.chunk-size": f"{2 * 5 * x.itemsize}B"}):
        encoded = encode(x, **options)
    assert len(encoded.stripes) > 1
    return encoded


def without(product: Any, share: int) -> np.ndarray:
    """A value, where in every group of a product one share is lost."""

    def lost(spec: Any) -> set[int]:
        return {share} if not spec.at_rest and share < spec.code.n_shares else set()

    return computed_without(product, lost)


@pytest.mark.parametrize("operand", ["float64", "float32", "complex128", "int64", "uint64", "same"])
@pytest.mark.parametrize("dtype", SMALL)
def test_small_integers_times_anything_wider(dtype: str, operand: str) -> None:
    x = extreme(dtype)
    a = in_stripes(x, code=MDS(5, 4, parity="ones"))
    other = np.dtype(dtype if operand == "same" else operand)
    v, y = (RNG.integers(1, 9, (size, 2)).astype(other) for size in (5, 23))
    rtol = 0 if np.result_type(x, v).kind in "iu" else 1e-4 if other == "float32" else 1e-13
    for share in range(5):
        for product, exact in ((a @ v, x @ v), (adjoint_product(a.rows, y, coded=True), x.T @ y)):
            value = without(product, share)
            assert value.dtype == exact.dtype == product.dtype
            np.testing.assert_allclose(value, exact, rtol=rtol, atol=0)
        decoded = without(a.decode(), share)
        np.testing.assert_array_equal(decoded, x, strict=True)


@pytest.mark.parametrize("dtype", [*SMALL, *LARGE])
def test_lost_shares_of_integers_are_rebuilt_as_they_were(dtype: str) -> None:
    a = in_stripes(extreme(dtype), code=MDS(5, 4, parity="ones"))
    graph = low_level(a)
    for spec in specs(graph).values():
        tiles = dict(zip(spec.share_keys, get_sync(graph, list(spec.share_keys)), strict=True))
        for lost, key in enumerate(spec.share_keys):
            others = [share for share in range(len(tiles)) if share != lost]
            at_hand = {other: tile for other, tile in tiles.items() if other != key}
            rebuilt = combination(spec, key, others)(at_hand)
            np.testing.assert_array_equal(rebuilt, tiles[key], strict=True)


def test_parity_is_as_wide_as_its_sums_and_no_wider() -> None:
    def parity(dtype: str, k: int) -> np.ndarray:
        a = encode(np.ones((k, 1), dtype), code=MDS(k + 1, k, parity="ones"))
        graph = low_level(a)
        assert a.nbytes == sum(get_sync(graph, key).nbytes for key in a.rows.keys)
        return get_sync(graph, (a.name, 0, k))

    assert parity("uint8", 8).dtype == "int16"
    assert parity("uint8", 200).dtype == "int32"
    assert parity("int8", 8).dtype == "int16"
    assert parity("int16", 8).dtype == "int32"
    assert parity("uint32", 8).dtype == "int64"
    assert parity("int32", 8).dtype == "int64"
    assert parity("int64", 8).dtype == "int64"
    assert parity("uint64", 8).dtype == "uint64"
    assert parity("float32", 8).dtype == "float32"
    copies = encode(np.ones((8, 1), "uint8"), code=Replication(16, 8))
    assert copies.nbytes == 16


@pytest.mark.parametrize("dtype", LARGE)
def test_sums_of_64_bits_serve_integers_and_refuse_floats(dtype: str) -> None:
    x = extreme(dtype)
    a = in_stripes(x, code=MDS(5, 4, parity="ones"))
    v, y = RNG.integers(1, 9, 5).astype(dtype), RNG.integers(1, 9, (23, 2)).astype(dtype)
    for share in range(5):
        np.testing.assert_array_equal(without(a @ v, share), x @ v, strict=True)
        terms = without(adjoint_product(a.rows, y, coded=True), share)
        np.testing.assert_array_equal(terms, x.T @ y, strict=True)
        np.testing.assert_array_equal(without(a.decode(), share), x, strict=True)
    for product in (lambda: a @ np.ones(5), lambda: a.T @ np.ones(23), lambda: np.ones(23) @ a):
        with pytest.raises(UnsupportedDtypeError, match=r"astype\('float64'\).*Replication"):
            product()


@pytest.mark.parametrize("dtype", LARGE)
def test_copies_of_64_bits_serve_floats(dtype: str) -> None:
    x = extreme(dtype)
    a = in_stripes(x, code=Replication(8, 4))
    v, y = RNG.standard_normal(5), RNG.standard_normal((23, 2))
    for share in range(8):
        np.testing.assert_allclose(without(a @ v, share), x @ v, rtol=1e-12)
        terms = without(adjoint_product(a.rows, y, coded=True), share)
        np.testing.assert_allclose(terms, x.T @ y, rtol=1e-12, atol=1e6)
    np.testing.assert_allclose((encode(x, parity=0) @ v).compute(scheduler="sync"), x @ v)


@pytest.mark.parametrize("dtype", SMALL)
def test_clean_products_of_integers_with_floats_agree(dtype: str) -> None:
    x = extreme(dtype)
    a = in_stripes(x, code=MDS(5, 4, parity="ones"), verify="detect")
    for v in (RNG.standard_normal((5, 2)), RNG.integers(1, 9, 5), RNG.integers(1, 9, 5, "uint8")):
        value = (a @ v).compute(scheduler="sync")
        np.testing.assert_allclose(value, x @ v, rtol=1e-12)


@pytest.mark.parametrize(
    ("matrix", "operand", "eps"),
    [
        ("float32", "float64", np.finfo("float32").eps),
        ("float32", "complex128", np.finfo("float32").eps),
        ("complex64", "float64", np.finfo("float32").eps),
        ("float64", "float32", np.finfo("float64").eps),
        ("float32", "float32", np.finfo("float32").eps),
        ("int16", "float64", np.finfo("float64").eps),
        ("int16", "float32", np.finfo("float32").eps),
    ],
)
def test_products_are_held_to_the_precision_of_the_shares(
    matrix: str, operand: str, eps: float
) -> None:
    a = encode(np.ones((16, 2)).astype(matrix), parity=1)
    x, y = np.ones(2, operand), np.ones(16, operand)
    for product in (a @ x, adjoint_product(a.rows, y, coded=True), a.verified("detect") @ x):
        groups = [spec for spec in specs(low_level(product)).values() if not spec.at_rest]
        assert groups
        for spec in groups:
            assert spec.dtype == str(product.dtype)
            assert spec.rounding == eps


def test_a_wide_matrix_that_is_verified_is_cut_along_its_rows() -> None:
    x, v = RNG.standard_normal((12, 40)), RNG.standard_normal(40)
    a = encode(x, parity=2, adjoint=True, verify="detect")
    assert not a.flipped
    np.testing.assert_allclose((a @ v).compute(scheduler="sync"), x @ v)
    w = RNG.standard_normal(12)
    for matrix in (a, a.verified(None)):
        value = (matrix.T @ w).compute(scheduler="sync")
        np.testing.assert_allclose(value, x.T @ w)
