"""coded_matmul against NumPy, without a cluster: whole, with losses, and what it refuses."""

import warnings
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.array.utils import assert_eq
from hypothesis import given, settings
from hypothesis import strategies as st
from losses import computed_without, loss_sets, specs
from operands import products

from dask_coded.array import coded_matmul, plan_matmul
from dask_coded.array._plan import choose_code, fitted
from dask_coded.codes import (
    LT,
    MDS,
    AbstractCode,
    Alloy,
    Entangled,
    GeneralizedPolyDot,
    Lagrange,
    MatDot,
    Polynomial,
    Product,
    Replication,
    Uncoded,
)
from dask_coded.errors import (
    BlockShapeError,
    ParameterError,
    UnsupportedDtypeError,
    UnsupportedOperationError,
)
from dask_coded.fields import COMPLEX, PAIRED, PrimeField

# Operands with as odd chunks as ours make Dask's own product warn.
pytestmark = pytest.mark.filterwarnings("ignore::dask.array.PerformanceWarning")

CODES: list[AbstractCode] = [
    MDS(5, 4),
    MDS(5, 3),
    MDS(6, 3, field=PAIRED),
    MDS(6, 3, field=COMPLEX),
    Replication(6, 3),
    Uncoded(3),
    LT(8, 4),
    Polynomial(6, 2, 2),
    MatDot(5, 2),
    Entangled(11, 2, 2, 2),
    GeneralizedPolyDot(11, 2, 2),
    Product(MDS(3, 2), MDS(3, 2)),
    Alloy(14),
    Alloy(16, n=2),
    Alloy(14, mixing="global"),
]


def computed(array: da.Array) -> Any:
    return array.compute(scheduler="sync")


def tolerance(dtype: np.dtype[Any]) -> float:
    """For sums of a few products of numbers up to 9, by codes that lose a few digits."""
    return 0 if dtype.kind in "iu" else float(np.finfo(dtype).eps) * 1e5


def check(result: da.Array, a: da.Array, b: da.Array) -> None:
    """Everything that can be seen of the lazy product, and its value."""
    reference = da.matmul(a, b)
    assert result.shape == reference.shape
    assert result.chunks == reference.chunks
    assert result.dtype == reference.dtype
    assert type(result._meta) is type(reference._meta)
    assert result._meta.dtype == reference._meta.dtype
    value = computed(result)
    assert value.dtype == result.dtype
    expected = np.matmul(computed(a), computed(b))
    np.testing.assert_allclose(value, expected, rtol=0, atol=tolerance(expected.dtype))


@given(products(), st.integers(1, 3))
def test_product_is_numpys(operands: tuple[da.Array, da.Array], parity: int) -> None:
    a, b = operands
    check(coded_matmul(a, b, parity=parity), a, b)


@pytest.mark.parametrize("code", CODES, ids=repr)
@settings(max_examples=20)
@given(operands=products())
def test_product_by_every_code(code: AbstractCode, operands: tuple[da.Array, da.Array]) -> None:
    a, b = operands
    try:
        result = coded_matmul(a, b, code=code)
    except (UnsupportedDtypeError, UnsupportedOperationError):
        dtype = np.result_type(a.dtype, b.dtype)
        stacked = max(a.ndim, b.ndim) > 2
        assert (
            (dtype.kind in "iu" and not np.array_equal(code.responses(), code.responses().round()))
            or (code.field == PAIRED and (stacked or dtype.kind == "c"))
            or (code.field == COMPLEX and dtype.kind != "c")
        )
        return
    check(result, a, b)


@pytest.mark.parametrize("code", [code for code in CODES if code.field != COMPLEX], ids=repr)
@settings(max_examples=15)
@given(operands=products(["float64"]))
def test_any_decodable_survivors_give_the_product(
    code: AbstractCode, operands: tuple[da.Array, da.Array]
) -> None:
    a, b = operands
    if code.field == PAIRED and max(a.ndim, b.ndim) > 2:
        return
    result = coded_matmul(a, b, code=code)
    expected = np.matmul(computed(a), computed(b))
    for lost in loss_sets(code, 3):
        # A code that was shortened has fewer shares, and the same number to spare.
        value = computed_without(
            result, lambda spec, lost=lost: [share for share in lost if share < spec.code.n_shares]
        )
        np.testing.assert_allclose(value, expected, atol=1e-7)


@given(products(["int64", "int32", "uint8"]))
def test_integers_are_exact_with_a_loss(operands: tuple[da.Array, da.Array]) -> None:
    a, b = operands
    for lost in ({0}, {1}):
        value = computed_without(coded_matmul(a, b, parity=1), lambda spec, lost=lost: lost)
        np.testing.assert_array_equal(value, np.matmul(computed(a), computed(b)))


def test_integers_that_overflow_decode_to_what_overflowed() -> None:
    x = np.full((6, 2), 2**62) + np.arange(12).reshape(6, 2)
    a = da.from_array(x, chunks=(2, 2))
    b = np.array([[3, 5], [7, -9]])
    value = computed_without(coded_matmul(a, b, parity=1), lambda spec: {1})
    np.testing.assert_array_equal(value, x @ b)


def test_small_integers_add_up_in_the_wide_dtype() -> None:
    x = np.full((4, 4), 100, dtype="uint8")
    a = da.from_array(x, chunks=(2, 2))
    product = coded_matmul(a, a, parity=1)
    assert product.dtype == da.matmul(a, a).dtype == np.uint64
    np.testing.assert_array_equal(computed(product), x.astype("uint64") @ x.astype("uint64"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_stay_where_they_are(value: float) -> None:
    x = np.arange(24.0).reshape(6, 4)
    x[1, 2] = value
    a = da.from_array(x, chunks=(2, 4))
    y = np.ones((4, 2))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(computed(coded_matmul(a, y, parity=1)), x @ y)
    other = np.ones((4, 3))
    other[0, 0] = value
    clean = da.from_array(np.arange(24.0).reshape(6, 4), chunks=(2, 4))
    with np.errstate(invalid="ignore"):
        expected = computed(clean) @ other
        np.testing.assert_array_equal(computed(coded_matmul(clean, other, parity=1)), expected)


def test_one_large_inner_dimension_is_multiplied_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dask_coded.array._plan._BYTES_PER_TASK", 2 * 8 * (3 + 2) * 2)
    x, y = np.random.default_rng(0).random((2, 6, 20))
    a, b = da.from_array(x, chunks=(3, 2)), da.from_array(y.T, chunks=(2, 2))
    product = coded_matmul(a, b, parity=1)
    parts = [key for key in dict(product.dask) if str(key[0]).endswith("-part")]
    assert parts
    np.testing.assert_allclose(computed_without(product, lambda spec: {0}), x @ y.T)


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    def refuse(block: np.ndarray) -> np.ndarray:
        raise AssertionError("computed")

    a = da.ones((6, 4), chunks=(2, 2)).map_blocks(refuse, meta=np.empty((0, 0)))
    product = coded_matmul(a, a.T, parity=1)
    assert product.shape == (6, 6)
    with pytest.raises(AssertionError, match="computed"):
        computed(product)


def test_keys_are_deterministic() -> None:
    a = da.ones((6, 4), chunks=(2, 2))
    keys = [set(dict(coded_matmul(a, a.T, parity=parity).dask)) for parity in (1, 1, 2)]
    assert keys[0] == keys[1]
    sources = set(dict(a.dask)) | set(dict(a.T.dask))
    assert not (keys[0] & keys[2]) - sources


def test_all_dask_schedulers() -> None:
    x = np.random.default_rng(1).random((6, 4))
    product = coded_matmul(da.from_array(x, chunks=(2, 2)), x.T, parity=1)
    for scheduler in ("sync", "threads"):
        assert_eq(product, x @ x.T, scheduler=scheduler)


@pytest.mark.parametrize("shapes", [((0, 3), (3, 4)), ((3, 0), (0, 4)), ((2, 3), (3, 0))])
def test_empty_operands_are_left_to_dask(shapes: tuple[tuple[int, ...], ...]) -> None:
    a, b = (da.ones(shape, chunks=2) for shape in shapes)
    assert plan_matmul(a, b, parity=1).code is None
    assert_eq(coded_matmul(a, b, parity=1), np.ones(shapes[0]) @ np.ones(shapes[1]))


def test_what_cannot_be_encoded_is_left_to_dask() -> None:
    x = np.eye(4, dtype=bool)
    for values in (x, x.astype(object), x.astype("longdouble"), x.astype("clongdouble")):
        a = da.from_array(values, chunks=2)
        plan = plan_matmul(a, a, parity=1)
        assert "cannot encode" in repr(plan)
        assert_eq(coded_matmul(a, a, parity=1), da.matmul(a, a))
    masked = da.ma.masked_equal(da.from_array(np.eye(4), chunks=2), 0)
    assert "MaskedArray" in repr(plan_matmul(masked, masked, parity=1))


def test_chunks_of_another_length_than_their_array_says() -> None:
    lie = M.rechunk((2, 4)).map_blocks(lambda block: block[:, :3], meta=np.ones((0, 0)))
    with pytest.raises(ValueError, match="mismatch in its core dimension"):
        computed(coded_matmul(lie, np.ones((4, 2)), parity=1))


def unknown() -> da.Array:
    a = da.ones((6, 4), chunks=(2, 4))
    return a[a[:, 0] > 0]


def test_unknown_chunks() -> None:
    assert "unknown" in repr(plan_matmul(unknown(), np.ones((4, 2)), parity=1))
    product = coded_matmul(unknown(), np.ones((4, 2)), parity=1)
    np.testing.assert_array_equal(computed(product), np.full((6, 2), 4.0))
    with pytest.raises(UnsupportedOperationError, match=r"compute_chunk_sizes\(\)"):
        coded_matmul(unknown(), np.ones((4, 2)), code=MDS(4, 3))


M = da.ones((6, 4), chunks=(2, 2))


@pytest.mark.parametrize(
    ("operands", "options", "error", "match"),
    [
        ((M, M.T), {"code": MDS(4, 3), "parity": 1}, ParameterError, "both code="),
        ((M, M.T), {"parity": -1}, ParameterError, "at least 0"),
        ((M, M.T), {"parity": 1.5}, ParameterError, "parity must be an int"),
        ((M, M.T), {"parity": True}, ParameterError, "parity must be an int"),
        ((M, M.T), {"parity": 1, "tolerance": 0.0}, ParameterError, "tolerance"),
        ((M, M.T), {"code": "mds"}, ParameterError, "is no code"),
        ((M, M.T), {"code": MDS(4, 3, field=PrimeField(257))}, UnsupportedOperationError, "prime"),
        ((M, M.T), {"code": Lagrange(9, 3, 2)}, UnsupportedOperationError, "single blocks"),
        ((M, M), {}, BlockShapeError, "inner dimensions differ"),
        ((M, 3.0), {}, BlockShapeError, "no scalars"),
        ((M, object()), {}, BlockShapeError, "from_delayed"),
        ((M, M.T), {"tolerance": "1e-8"}, ParameterError, "positive number"),
        ((M, M.T), {"code": MDS}, ParameterError, r"such as dask_coded\.MDS"),
        ((da.ones((2, 6, 4)), da.ones((3, 4, 2))), {}, BlockShapeError, "do not broadcast"),
        ((M.astype(int), M.T.astype(int)), {"code": MDS(5, 3)}, UnsupportedDtypeError, "exact"),
        ((M + 1j, M.T), {"code": MDS(5, 3, field=PAIRED)}, UnsupportedDtypeError, "COMPLEX"),
        ((M, M.T), {"code": MDS(5, 3, field=COMPLEX)}, UnsupportedDtypeError, "PAIRED"),
        ((M[None], M.T), {"code": MDS(5, 3, field=PAIRED)}, UnsupportedOperationError, "REAL"),
    ],
)
def test_errors(
    operands: tuple[Any, Any], options: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        coded_matmul(*operands, **options)


def test_plan_says_which_code_and_why() -> None:
    text = repr(plan_matmul(M, M.T, parity=2))
    assert "coded product (6, 4) @ (4, 6) by MDS(n_shares=5, k=3" in text
    assert "on the rows" in text
    assert "any 3 of 5 shares decode" in text
    assert "no cluster" in repr(plan_matmul(M, M.T))
    assert "no parity" in repr(plan_matmul(M, M.T, parity=0))
    assert plan_matmul(M[:2], M.T, parity=1).choice.side == "columns"


def test_default_codes() -> None:
    def chosen(rows: int, columns: int, dtype: str | None, **options: Any) -> Any:
        settings = {"parity": None, "n_workers": 10, "pairable": True} | options
        kind = None if dtype is None else np.dtype(dtype)
        return choose_code(rows, columns, kind, **settings)

    assert chosen(8, 1, "f8").code == MDS(10, 8, field=PAIRED)
    assert chosen(1, 8, "f8").code == MDS(10, 8)
    assert chosen(8, 1, "c16").code == MDS(10, 8, field=COMPLEX)
    assert chosen(8, 1, "i8").code == MDS(9, 8, parity="ones")
    assert chosen(8, 1, "i8", parity=2).code == Replication(24, 8)
    assert chosen(8, 1, None).code == MDS(10, 8)
    assert chosen(8, 1, None, parity=1).code == MDS(9, 8, parity="ones")
    assert chosen(8, 1, "f8", n_workers=4).code == MDS(4, 3)
    assert chosen(8, 1, "f8", n_workers=2).code is None
    # As few stripes as possible, and as even as possible.
    assert chosen(18, 1, "f8").code.k == 6
    # Only copies could be made of one chunk, which nobody asked for.
    assert chosen(1, 1, "f8").code is None
    assert chosen(1, 1, "f8", parity=1).code == Replication(2, 1)


def test_few_chunks_shorten_the_code() -> None:
    assert fitted(plan_matmul(M, M.T, code=MDS(10, 8)).choice, 3, 3) == MDS(5, 3)
    product = coded_matmul(M, M.T, code=MDS(10, 8))
    (code,) = {spec.code for spec in specs(dict(product.dask)).values()}
    assert code == MDS(5, 3)


def test_no_warnings() -> None:
    with warnings.catch_warnings(), dask.config.set(scheduler="sync"):
        warnings.simplefilter("error")
        coded_matmul(M.astype("f4"), M.T + 1j, parity=2).compute()
