"""Encoded matrices without a cluster: products, both ways, whole and with losses."""

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.local import get_sync
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from losses import computed_without, low_level, specs

from dask_coded.array import EncodedArray, coded_matmul, encode
from dask_coded.array._products import adjoint_product
from dask_coded.codes import LT, MDS, MatDot, Replication
from dask_coded.errors import (
    BlockShapeError,
    ParameterError,
    UnsupportedDtypeError,
    UnsupportedOperationError,
)
from dask_coded.fields import COMPLEX, PAIRED, REAL, PrimeField
from dask_coded.graph import combination, spec_of

RNG = np.random.default_rng(7)


def computed(array: Any) -> Any:
    return array.compute(scheduler="sync")


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 6)),
    chunks=st.tuples(st.integers(1, 13), st.integers(1, 4)),
    parity=st.integers(0, 3),
    dtype=st.sampled_from(["float64", "float32", "complex128", "int64"]),
    stripe_rows=st.integers(1, 9),
    seed=st.integers(0, 9),
)
@settings(max_examples=40)
def test_products_are_numpys(
    shape: tuple[int, int],
    chunks: tuple[int, int],
    parity: int,
    dtype: str,
    stripe_rows: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-9, 9, shape).astype(dtype)
    if dtype == "complex128":
        x = x + 1j * rng.integers(-9, 9, shape)
    size = stripe_rows * shape[1] * x.dtype.itemsize
    with dask.config.set({"array.chunk-size": f"{size}B"}):
        a = encode(da.from_array(x, chunks=chunks), parity=parity, adjoint=True)
    assert a.shape == shape
    assert sum(a.row_chunks) == shape[0]
    assert a.dtype == x.dtype
    v, block = rng.integers(-9, 9, shape[1]), rng.integers(-9, 9, (shape[1], 3))
    w = rng.integers(-9, 9, (shape[0], 2))
    for operand, product, exact in (
        (v, a @ v, x @ v),
        (block, a @ block, x @ block),
        (block, a @ da.from_array(block, chunks=(2, 2)), x @ block),
        (w, a.H @ w, x.conj().T @ w),
    ):
        assert product.shape == (*exact.shape[:1], *operand.shape[1:])
        assert product.dtype == exact.dtype
        value = computed(product)
        assert value.dtype == exact.dtype
        np.testing.assert_allclose(value, exact, rtol=0, atol=0 if dtype == "int64" else 1e-3)
    np.testing.assert_array_equal(computed(a), x)
    np.testing.assert_array_equal(computed(a.decode()), x)


@pytest.mark.parametrize("rows", [17, 24])
@pytest.mark.parametrize(
    "code",
    [MDS(5, 4), MDS(6, 4), MDS(6, 4, field=PAIRED), MDS(8, 4, field=PAIRED), Replication(8, 4)],
    ids=repr,
)
def test_lost_shares_are_decoded(code: Any, rows: int) -> None:
    x, v = RNG.standard_normal((rows, 5)), RNG.standard_normal((5, 2))
    with dask.config.set({"array.chunk-size": "120B"}):
        a = encode(x, code=code)
    assert len(a.stripes) > 1
    spare = code.n_shares - code.recovery_threshold
    for first in range(code.n_shares):

        def lost(spec: Any, first: int = first) -> set[int]:
            n = spec.code.n_shares
            if spec.group.startswith("group-"):
                return set()  # encoding itself: what is lost there is the next test's
            return {(first + step) % n for step in range(min(spare, n - spec.code.k))}

        np.testing.assert_allclose(computed_without(a @ v, lost), x @ v, atol=1e-9)
        np.testing.assert_allclose(computed_without(a.decode(), lost), x, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128", "int64"])
@pytest.mark.parametrize("rows", [17, 24])
@pytest.mark.parametrize(
    "code",
    [
        None,
        MDS(5, 4, parity="ones"),
        MDS(6, 4),
        MDS(6, 4, field=PAIRED),
        MDS(8, 4, field=PAIRED),
        MDS(6, 4, field=COMPLEX),
        Replication(8, 4),
        Replication(8, 4, field=PAIRED),
    ],
    ids=repr,
)
def test_late_terms_of_the_transpose_are_recovered_from_the_others(
    code: Any, rows: int, dtype: str
) -> None:
    complex_data = dtype == "complex128"
    if code is not None and (
        (complex_data and code.field == PAIRED)
        or (not complex_data and code.field == COMPLEX)
        or (dtype == "int64" and not (isinstance(code, Replication) or code == MDS(5, 4, "ones")))
    ):
        pytest.skip("no code for this dtype")
    x = RNG.integers(-9, 9, (rows, 5)).astype(dtype)
    y = RNG.integers(-9, 9, (rows, 3)).astype(dtype)
    if complex_data:
        x, y = x + 1j * x[::-1], y - 2j * y[::-1]
    with dask.config.set({"array.chunk-size": f"{2 * 5 * x.itemsize}B"}):
        a = encode(x, code=code, tolerance=1e-3)
    assert len(a.stripes) > 1
    exact = x.conj().T @ y
    atol = 0 if dtype == "int64" else 1e-2 if dtype == "float32" else 1e-9
    for operand, answer in (
        (y, exact),
        (y[:, 0], exact[:, 0]),
        (da.from_array(y, chunks=(7, 2)), exact),
    ):
        product = adjoint_product(a.rows, operand, coded=True)
        groups = specs(low_level(product))
        terms = [name for name, spec in groups.items() if spec.cohort is not None]
        assert len(terms) == len(a.rows.row_chunks) * (
            1 if operand.ndim == 1 else product.npartitions
        )
        for gone in (0, 1):

            def lost(spec: Any, gone: int = gone) -> set[int]:
                if spec.cohort is None:
                    return set()
                n, own = (
                    spec.code.n_shares,
                    spec.share_keys.index(
                        next(key for key in spec.output_keys if key in spec.share_keys)
                    ),
                )
                spare = n - spec.code.recovery_threshold
                return {(own + step) % n for step in range(min(spare, 1 + gone))}

            value = computed_without(product, lost)
            assert value.dtype == exact.dtype
            np.testing.assert_allclose(value, answer, rtol=0, atol=atol)


def test_without_a_cluster_nothing_is_made_for_terms_that_are_late() -> None:
    a = encode(np.ones((16, 2)), parity=2)
    product = a.T @ da.ones(16, chunks=16)
    assert not any(spec.cohort for spec in specs(low_level(product)).values())
    tiles = [key for key in product.dask if isinstance(key, tuple) and "term" in str(key[0])]
    assert len(tiles) == 8


def test_a_wide_matrix_is_cut_along_its_columns_when_both_sides_matter() -> None:
    x = RNG.standard_normal((3, 40))
    a = encode(x, parity=2, adjoint=True)
    assert a.flipped
    assert (a.shape, a.row_chunks) == ((3, 40), (3,))
    assert a.nbytes == 8 * 3 * (40 + 2 * 6)  # tiles of five columns, parities of six
    v, w = RNG.standard_normal(40), RNG.standard_normal(3)
    np.testing.assert_allclose(computed(a @ v), x @ v)
    np.testing.assert_allclose(computed(a.T @ w), x.T @ w)
    np.testing.assert_allclose(computed(a.T @ (a @ v)), x.T @ (x @ v))
    np.testing.assert_array_equal(computed(a), x)
    (tiles,) = dask.compute(a, scheduler="sync")
    np.testing.assert_array_equal(tiles, x)
    np.testing.assert_array_equal(computed(a.persist(scheduler="sync").T), x.T)


def test_operands_in_several_chunks_are_read_as_they_are() -> None:
    x, v = RNG.standard_normal((30, 12)), RNG.standard_normal((12, 2))
    a = encode(x, parity=2)
    operand = da.from_array(v, chunks=(4, 1))
    product = a @ operand
    np.testing.assert_allclose(computed(product), x @ v)
    assert set(product.dask.layers) == {product.name, *a.rows.graph.layers, *operand.dask.layers}
    many = da.from_array(v, chunks=(1, 2))
    np.testing.assert_allclose(computed(encode(x, code=MDS(6, 4)) @ many), x @ v)


@pytest.mark.parametrize("lost", [{1, 8}, {0, 7}, {8, 9}, {4}])
def test_lost_tiles_are_rebuilt_from_the_others(lost: set[int]) -> None:
    a = encode(RNG.standard_normal((17, 3)), parity=2)
    graph = low_level(a)
    (spec,) = specs(graph).values()
    tiles = dict(zip(spec.share_keys, get_sync(graph, list(spec.share_keys)), strict=True))
    survivors = [share for share in range(10) if share not in lost]
    at_hand = {key: tile for key, tile in tiles.items() if spec.share_keys.index(key) not in lost}
    for share in lost:
        key = spec.share_keys[share]
        rebuilt = combination(spec, key, survivors)(at_hand)
        np.testing.assert_allclose(rebuilt, tiles[key], atol=1e-12)
        assert rebuilt.dtype == a.dtype


def test_persisted_tiles_are_read_not_made_again() -> None:
    x = RNG.standard_normal((20, 3))
    made = []

    def chunk(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        made.append(1)
        return block

    source = da.from_array(x, chunks=(5, 3)).map_blocks(chunk, dtype=float, meta=np.empty((0, 0)))
    a = encode(source, parity=1, adjoint=True).persist(scheduler="sync")
    before = len(made)
    for _ in range(2):
        np.testing.assert_allclose(computed(a @ np.ones(3)), x @ np.ones(3))
        np.testing.assert_allclose(computed(a.T @ np.ones(20)), x.T @ np.ones(20))
    np.testing.assert_allclose(computed(a.T.T @ np.ones(3)), x @ np.ones(3))
    np.testing.assert_array_equal(computed(a), x)
    assert len(made) == before


@pytest.mark.cluster
def test_optimized_by_hand() -> None:
    x = RNG.standard_normal((20, 3))
    with Client(n_workers=1, processes=False, dashboard_address=":0"):
        for a in (encode(x, parity=1), encode(x, parity=1).persist()):
            optimized, product = dask.optimize(a, a @ np.ones(3))
            np.testing.assert_allclose((optimized @ np.ones(3)).compute(), x @ np.ones(3))
            np.testing.assert_allclose(product.compute(), x @ np.ones(3))


def test_numpys_and_dasks_functions() -> None:
    x, v = RNG.standard_normal((9, 4)), RNG.standard_normal(4)
    a = encode(x, parity=1)
    for product in (np.matmul(a, v), np.dot(a, v), da.matmul(a, v), a @ da.from_array(v, chunks=2)):
        assert isinstance(product, da.Array)
        np.testing.assert_allclose(computed(product), x @ v)
    # Dask's own matmul has no hook: it takes the decoded matrix.
    assert np.matmul(a, v).name == np.dot(a, v).name == (a @ v).name
    for action in (lambda: np.add(a, 1), lambda: np.sum(a), lambda: np.matmul(a, v, out=v)):
        with pytest.raises(UnsupportedOperationError, match=r"A\.decode\(\)"):
            action()
    w = RNG.standard_normal((2, 9))
    for product in (w @ a, np.matmul(w, a), np.dot(w, a), da.from_array(w, chunks=1) @ a):
        assert isinstance(product, da.Array)
        np.testing.assert_allclose(computed(product), w @ x)
    np.testing.assert_allclose(computed(w[0] @ a), w[0] @ x)
    assert isinstance(w @ (a.T.T), da.Array)


def test_what_takes_numpys_arrays_gets_the_matrix() -> None:
    x = RNG.standard_normal((9, 4))
    a = encode(x, parity=1)
    np.testing.assert_array_equal(np.asarray(a), x)
    np.testing.assert_array_equal(np.asarray(a.T, dtype="f4"), x.T.astype("f4"))
    np.testing.assert_allclose(
        np.linalg.svd(np.array(a), compute_uv=False)[0], np.linalg.norm(x, 2)
    )
    np.testing.assert_allclose(computed(a.dot(x.T)), x @ x.T)
    with pytest.raises(ParameterError, match="copies"):
        np.asarray(a, copy=False)


@pytest.mark.filterwarnings("ignore:Passing an object to dask.array.from_array")
def test_what_an_encoded_matrix_has_not() -> None:
    a = encode(RNG.standard_normal((9, 4)), parity=1)
    assert not hasattr(a, "chunks")
    for action in (
        lambda: a.sum(),
        lambda: da.linalg.svd_compressed(a, 2),
        lambda: da.linalg.lstsq(a, a),
        lambda: a[0],
        lambda: list(a),
        lambda: computed(da.dot(a, np.ones(4))),
    ):
        with pytest.raises(UnsupportedOperationError, match=r"A\.decode\(\)"):
            action()
    for operands in ((a, np.ones(4)), (np.ones(9), a)):
        with pytest.raises(UnsupportedOperationError, match="encoded already"):
            coded_matmul(*operands)


@pytest.mark.parametrize("cut", [np.s_[:, :2], np.s_[:3]])
def test_chunks_of_another_shape_than_their_array_says(cut: Any) -> None:
    lie = da.ones((12, 4), chunks=(4, 4)).map_blocks(lambda block: block[cut], meta=np.ones((0, 0)))
    a = encode(lie, parity=1)
    for product in (a @ np.ones(4), a.T @ np.ones(12), a.decode()):
        with pytest.raises(BlockShapeError, match="its array says"):
            computed(product)


def test_products_are_groups_of_their_own_with_deterministic_keys() -> None:
    a = encode(np.ones((16, 2)), parity=2)
    first, again, other = a @ np.ones(2), a @ np.ones(2), a @ np.zeros(2)
    assert first.name == again.name != other.name
    assert encode(np.ones((16, 2)), parity=2).name == a.name
    assert encode(np.ones((16, 2)), parity=1).name != a.name
    groups = {spec.group for task in dict(first.dask).values() if (spec := spec_of(task))}
    assert len(groups) == 2, "the product, and the encoding below it"


def test_nan_does_not_spread_to_other_tiles() -> None:
    x = np.arange(32.0).reshape(16, 2)
    x[3, 1] = np.nan
    a = encode(x, parity=2)
    np.testing.assert_array_equal(computed(a @ np.ones(2)), x @ np.ones(2))
    np.testing.assert_array_equal(computed(a), x)


def test_repr_and_sizes() -> None:
    a = encode(np.ones((16, 2)), parity=2, adjoint=True)
    assert repr(a).startswith("EncodedArray<(16, 2), float64, rows in 1 stripe")
    assert repr(a.T).startswith("EncodedArray<(2, 16), float64, columns in 1 stripe")
    assert "any 8 of 10 shares suffice" in repr(a)
    assert (a.ndim, len(a), a.code.field) == (2, 16, PAIRED)
    # 16 x 2 numbers in 8 tiles and 2 parities, which serve the transpose too.
    assert a.nbytes == a.T.nbytes == 8 * 10 * 2 * 2
    assert encode(np.ones((16, 2)) * 1j, parity=2).code.field == COMPLEX
    assert encode(np.ones((16, 2)), parity=1).code.field == REAL


A = np.ones((8, 3))


@pytest.mark.parametrize(
    ("matrix", "options", "error", "match"),
    [
        (np.ones(3), {}, BlockShapeError, "takes a matrix"),
        (np.ones((0, 3)), {}, BlockShapeError, "empty"),
        (np.ones((4, 2), dtype=bool), {}, UnsupportedDtypeError, "float, complex or integer"),
        (np.ones((4, 2), dtype=object), {}, UnsupportedDtypeError, "object"),
        (A.astype("longdouble"), {}, UnsupportedDtypeError, "float, complex or integer"),
        (A, {"parity": -1}, ParameterError, "at least 0"),
        (A, {"tolerance": "1e-8"}, ParameterError, "positive number"),
        (A, {"tolerance": -1}, ParameterError, "positive number"),
        (A, {"code": "mds"}, ParameterError, "such as MDS"),
        (A, {"parity": 1, "code": MDS(5, 4)}, ParameterError, "give one"),
        (A, {"code": MatDot(5, 2)}, ParameterError, "systematic"),
        (A, {"code": LT(8, 4)}, ParameterError, "systematic"),
        (A, {"code": MDS(5, 4, field=PrimeField(257))}, ParameterError, "floating-point"),
        (A.astype(int), {"code": MDS(6, 4)}, UnsupportedDtypeError, "parity=1"),
    ],
)
def test_errors(
    matrix: np.ndarray, options: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        encode(matrix, **options)


def test_unknown_rows_are_refused() -> None:
    a = da.ones((6, 4), chunks=(2, 4))
    with pytest.raises(BlockShapeError, match="compute_chunk_sizes"):
        encode(a[a[:, 0] > 0])


def test_wrong_operands() -> None:
    a = encode(A, parity=1)
    with pytest.raises(BlockShapeError, match=r"got \(4,\)"):
        a @ np.ones(4)
    with pytest.raises(BlockShapeError, match=r"\(3, q\)"):
        a @ np.ones((3, 2, 2))
    with pytest.raises(UnsupportedOperationError, match="both operands"):
        a @ a
    with pytest.raises(UnsupportedOperationError, match=r"A\.H"):
        _ = encode(A * 1j, parity=1, adjoint=True).T
    assert isinstance(a, EncodedArray)
